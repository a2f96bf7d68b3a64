"""What is dead is told of: by an event that is planned and routed like any other, and no loop."""

import json
import re
import textwrap
import tomllib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from dispatch_parts import event, until

from receiver.dispatch import claiming
from receiver.engine import Engine, load_registry
from receiver.events import DeliveryDead
from receiver.model import Event, State, format_delivery_id
from receiver.settings import load_settings
from receiver.store.base import EventFilter
from receiver.store.configured import open_store

pytestmark = pytest.mark.anyio

DEAD = "clarihook.delivery.dead"
SECRET = "planted-secret-0123456789"
DOCS = Path(__file__).parents[2] / "docs"

StartEngine = Callable[..., AbstractAsyncContextManager[Engine]]

HANDLERS = f"""
    from receiver import Context, on
    from receiver.events import DeliveryDead

    @on("sync.*")
    async def fail(event: dict, ctx: Context) -> None:
        raise ValueError("no luck with {SECRET}, nor with " + event["data"]["payload"][:0])

    @on("{DEAD}")
    async def tell(event: DeliveryDead, ctx: Context) -> None:
        await ctx.store.set("told", event.model_dump(mode="json"))
        ctx.notify("log", title=f"{{event.data.name}} is dead")
    """


@pytest.fixture
def start_engine(tmp_path: Path) -> StartEngine:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "clarihook.toml").touch()
    (tmp_path / "handlers").mkdir()
    write(tmp_path, HANDLERS)

    @asynccontextmanager
    async def start(**more: Any) -> AsyncIterator[Engine]:
        overrides = {
            "channels": {"log": {"urls": ["file://log.jsonl"]}},
            "dispatch": {"schedule": ["1ms"], "attempts": 2},
            "sources": {"claribi": {"scheme": "claribi", "secrets": [SECRET]}},
            **more,
        }
        settings = load_settings(tmp_path, {}, overrides)
        engine = Engine(settings, open_store(settings, role="owner"), load_registry(settings))
        await engine.start()
        try:
            yield engine
        finally:
            await engine.stop(2.0)

    return start


def write(home: Path, code: str) -> None:
    (home / "handlers" / "syncs.py").write_text(textwrap.dedent(code))


async def accept(engine: Engine, event_type: str = "sync.failed") -> str:
    body = {"event": event_type, "data": {"payload": "nobody's business"}}
    return (await engine.intake.accept(event(body, type=event_type), body)).event_id


async def all_over(engine: Engine) -> None:
    async def is_over() -> bool:
        return not set(await engine.store.count_states()) - {State.SUCCEEDED, State.DEAD}

    await until(is_over, seconds=20)


async def told(engine: Engine) -> list[Event]:
    return await engine.store.events(EventFilter(types=[DEAD]), limit=99, newest=False)


async def test_a_dead_delivery_is_told_with_its_facts_and_without_payload_or_secret(
    start_engine: StartEngine, tmp_path: Path
) -> None:
    async with start_engine() as engine:
        event_id = await accept(engine)
        await all_over(engine)
        (dead,) = await engine.store.deliveries_of(event_id)
        (stored,) = await told(engine)
        read = DeliveryDead.model_validate_json(stored.body)
        assert (stored.source, stored.secret_index, stored.headers) == ("clarihook", None, ())
        assert stored.body.count(b"nobody's business") == 0
        assert SECRET.encode() not in stored.body
        assert read.data.model_dump() == {
            "delivery_id": format_delivery_id(dead.id),
            "kind": "handler",
            "name": "syncs.fail",
            "event_id": event_id,
            "event_type": "sync.failed",
            "source": "claribi",
            "attempts": 2,
            "reason": "failed at attempt 2 of 2: ValueError: no luck with ***, nor with ",
            "error_class": "ValueError",
            "error": "no luck with ***, nor with ",
            "channel": None,
        }
        assert dead.finalized_at is not None
        assert abs((read.timestamp - dead.finalized_at).total_seconds()) < 1
        tell, message = await engine.store.deliveries_of(stored.id)
        assert (tell.name, tell.state) == ("syncs.tell", State.SUCCEEDED)
        assert (message.name, message.state) == ("log/1-file", State.SUCCEEDED)
        kept = await engine.store.value("syncs.tell", "told")
        assert kept is not None
        assert json.loads(kept) == json.loads(stored.body)
        assert engine.dispatcher.backlog.count == 0
    (line,) = (tmp_path / "log.jsonl").read_text().splitlines()
    assert json.loads(line)["title"] == "syncs.fail is dead"


async def test_a_dead_message_names_its_channel(start_engine: StartEngine) -> None:
    broken = {"urls": ["json://127.0.0.1:9/"], "schedule": ["1ms"], "attempts": 1}
    async with start_engine(
        channels={"log": {"urls": ["file://log.jsonl"]}, "broken": broken},
        routes=[{"match": "report.*", "notify": "broken"}],
    ) as engine:
        await accept(engine, "report.generated")
        await all_over(engine)
        (stored,) = await told(engine)
    data = stored.json["data"]
    assert (data["kind"], data["name"], data["channel"]) == ("target", "broken/1-json", "broken")
    assert data["event_type"] == "report.generated"


async def test_what_fails_at_every_event_comes_to_an_end(
    start_engine: StartEngine, tmp_path: Path
) -> None:
    """`*` includes the event of its own death; that it dies of that too is told to nobody."""
    write(
        tmp_path,
        """
        from receiver import on

        @on("*")
        async def fail(event: dict) -> None:
            raise ValueError("always")

        @on("clarihook.*")
        async def fail_too(event: dict) -> None:
            raise ValueError("always")
        """,
    )
    broken = {"urls": ["json://127.0.0.1:9/"], "schedule": ["1ms"], "attempts": 1}
    async with start_engine(
        channels={"broken": broken}, routes=[{"match": "*", "notify": "broken"}]
    ) as engine:
        await accept(engine)
        await all_over(engine)
        events = await told(engine)
        # The handler and the route's message of the one event; of these two, nothing further.
        assert sorted(each.json["data"]["name"] for each in events) == [
            "broken/1-json", "syncs.fail",
        ]  # fmt: skip
        for each in events:
            made = await engine.store.deliveries_of(each.id)
            assert {(one.name, one.state) for one in made} == {
                ("syncs.fail", State.DEAD),
                ("syncs.fail_too", State.DEAD),
                ("routes", State.SUCCEEDED),
                ("broken/1-json", State.DEAD),
            }
        assert await engine.store.count_events(EventFilter()) == 3
        assert engine.dispatcher.backlog.count == 0


async def test_it_is_stored_though_nothing_matches_it(
    start_engine: StartEngine, tmp_path: Path
) -> None:
    write(
        tmp_path,
        """
        from receiver import on, Reject

        @on("sync.*")
        async def fail(event: dict) -> None:
            raise Reject("not ours")
        """,
    )
    async with start_engine() as engine:
        await accept(engine)
        await all_over(engine)
        (stored,) = await told(engine)
        assert stored.json["data"]["reason"] == "Reject: not ours"
        assert await engine.store.deliveries_of(stored.id) == []


async def test_what_tells_of_it_runs_at_once(
    start_engine: StartEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dispatcher hears of its deliveries; it need not look for them."""
    monkeypatch.setattr(claiming, "POLL_SECONDS", 3600)
    async with start_engine(dispatch={"attempts": 1}) as engine:
        await accept(engine)
        await all_over(engine)
        assert len(await told(engine)) == 1


async def test_what_died_while_nobody_ran_it_is_told_by_the_next(
    start_engine: StartEngine, tmp_path: Path
) -> None:
    """The rescue at the start finds it dead; what tells of it runs then."""
    async with start_engine(dispatch={"enabled": False, "attempts": 1}) as engine:
        await accept(engine)
        (claim,) = await engine.store.claim({"syncs.fail": 1}, now_ms=10**13)
        assert engine.store._leases is not None
        engine.store._leases.worker_id = 0  # as a killed process: nothing is given back
    async with start_engine() as engine:
        await all_over(engine)
        (stored,) = await told(engine)
        assert stored.json["data"]["delivery_id"] == format_delivery_id(claim.delivery_id)
        assert stored.json["data"]["error_class"] == "WorkerDied"
        tell, _ = await engine.store.deliveries_of(stored.id)
        assert tell.state is State.SUCCEEDED


async def test_the_route_in_the_docs_tells_of_it(start_engine: StartEngine, tmp_path: Path) -> None:
    page = (DOCS / "configuration.md").read_text()
    (example,) = re.findall(r"^```toml\n(\[\[routes\]\]\nmatch = \"clarihook.*?)^```", page,
                            re.DOTALL | re.MULTILINE)  # fmt: skip
    route = tomllib.loads(example)["routes"][0]
    async with start_engine(
        channels={"ops": {"urls": ["file://ops.jsonl"]}, "log": {"urls": ["file://log.jsonl"]}},
        routes=[route],
    ) as engine:
        await accept(engine)
        await all_over(engine)
        (stored,) = await told(engine)
    (line,) = (tmp_path / "ops.jsonl").read_text().splitlines()
    message = json.loads(line)
    assert message["title"] == "Dead after 2 attempts: syncs.fail"
    assert message["severity"] == "critical"
    data = stored.json["data"]
    assert message["body"].splitlines() == [
        f"Why: {data['reason']}",
        f"Event: sync.failed from {data['source']}, {data['event_id']}",
        f"Look: clarihook deliveries show {data['delivery_id']}",
        f"Again: clarihook deliveries retry {data['delivery_id']}",
    ]


def test_the_event_in_the_docs_has_every_field() -> None:
    page = (DOCS / "handlers.md").read_text()
    (example,) = re.findall(r"^```json\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    read = DeliveryDead.model_validate_json(example)
    assert list(json.loads(example)["data"]) == list(type(read.data).model_fields)
