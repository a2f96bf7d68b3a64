"""Forwards: the event itself, posted on and signed anew, as a delivery like any other."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks
import svix.webhooks
from dispatch_parts import event, until
from forward_sink import SECRET, ForwardSink, forward_sink

from receiver.dispatch import forwarding
from receiver.engine import Engine, load_registry
from receiver.errors import ConfigError
from receiver.model import Delivery, Outcome, State
from receiver.notify.routes import HOPS_HEADER, MAX_HOPS
from receiver.replay import Selection
from receiver.retry import RetryPolicy
from receiver.settings import Settings, load_settings
from receiver.store.configured import open_store

pytestmark = pytest.mark.anyio

BODY = b'{"event": "data_source.sync_failed",\n  "data": {"id": 7, "name": "M\xc3\xbcller"} }\n'
HEADERS = (
    "content-type: application/json; charset=utf-8\r\nx-claribi-signature: t=1,v1=00\r\n"
    "x-topic: syncs\r\nx-forwarded-for: 10.1.2.3\r\nauthorization: (masked)\r\nhost: old.example"
)
StartEngine = Callable[..., AbstractAsyncContextManager[Engine]]


@pytest.fixture
def sink() -> Iterator[ForwardSink]:
    with forward_sink() as server:
        yield server


@pytest.fixture
def start_engine(tmp_path: Path, sink: ForwardSink) -> StartEngine:
    """An engine with one route, which forwards to the sink."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "clarihook.toml").touch()
    (tmp_path / "handlers").mkdir()

    @asynccontextmanager
    async def start(**more: Any) -> AsyncIterator[Engine]:
        route = {"name": "audit", "match": "data_source.*", "forward": sink.url,
                 "forward_secret": SECRET, **more}  # fmt: skip
        source = {"scheme": "claribi", "secrets": ["made-up-secret-for-tests"]}
        overrides = {"routes": [route], "sources": {"claribi": source}}
        settings = load_settings(tmp_path, {}, overrides)
        engine = Engine(settings, open_store(settings, role="owner"), load_registry(settings))
        await engine.start()
        try:
            yield engine
        finally:
            await engine.stop(2.0)

    return start


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarding, "POLICY", RetryPolicy(attempts=4, waits=(0.005,)))


async def accept(engine: Engine, **changes: Any) -> str:
    new = event()._replace(**{"body": BODY, "headers": HEADERS, **changes})
    return (await engine.intake.accept(new, json.loads(BODY))).event_id


async def forwarded(engine: Engine, event_id: str) -> Delivery:
    """The forward's delivery, once it is over."""

    async def is_over() -> Delivery | None:
        made = await engine.store.deliveries_of(event_id)
        return next((e for e in made if e.name == "forward/audit" and e.state.is_final), None)

    await until(is_over, seconds=20)
    found = await is_over()
    assert found is not None
    return found


async def test_the_exact_body_goes_out_signed_so_that_others_can_verify_it(
    start_engine: StartEngine, sink: ForwardSink
) -> None:
    async with start_engine(allow_private=True) as engine:
        event_id = await accept(engine)
        delivery = await forwarded(engine, event_id)
        (attempt,) = await engine.store.attempts(delivery.id)
    assert delivery.state is State.SUCCEEDED
    assert (attempt.outcome, attempt.status_code) == (Outcome.DELIVERED, 204)
    ((headers, body),) = sink.taken
    assert body == BODY
    assert headers["webhook-id"] == event_id
    assert standardwebhooks.Webhook(SECRET).verify(body, headers) == json.loads(BODY)
    svix.webhooks.Webhook(SECRET).verify(body, headers)  # raises if it does not
    assert headers["content-type"] == "application/json; charset=utf-8"
    assert headers["x-topic"] == "syncs"
    assert headers["user-agent"].startswith("clarihook/")
    assert headers[HOPS_HEADER] == "1"
    assert headers["host"] == f"127.0.0.1:{sink.server_port}"
    gone = {"x-claribi-signature", "x-forwarded-for", "authorization"}
    assert not gone & headers.keys()


async def test_each_attempt_has_a_signature_of_its_own_and_the_same_id(
    start_engine: StartEngine, sink: ForwardSink
) -> None:
    sink.answers = [(503, {}), (500, {})]
    async with start_engine(allow_private=True) as engine:
        event_id = await accept(engine)
        delivery = await forwarded(engine, event_id)
        attempts = await engine.store.attempts(delivery.id)
    assert [each.status_code for each in attempts] == [503, 500, 204]
    assert [headers["webhook-id"] for headers, _ in sink.taken] == [event_id] * 3
    for headers, body in sink.taken:
        standardwebhooks.Webhook(SECRET).verify(body, headers)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://169.254.169.254/latest/meta-data"])
async def test_a_private_address_is_refused_and_nothing_is_sent(
    start_engine: StartEngine, sink: ForwardSink, url: str
) -> None:
    async with start_engine(forward=url) as engine:
        delivery = await forwarded(engine, await accept(engine))
    assert (delivery.state, delivery.attempts) == (State.DEAD, 1)
    assert delivery.reason is not None
    assert "if meant, set allow_private = true" in delivery.reason
    assert sink.taken == []


async def test_it_is_the_address_connected_to_that_counts_at_each_attempt(
    start_engine: StartEngine, sink: ForwardSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that was public when somebody looked, and is not when the connection is made."""
    url = f"http://hooks.example:{sink.server_port}/"
    async with start_engine(forward=url) as engine:
        looked_up: list[str] = []

        async def getaddrinfo(host: str, port: int, **_options: Any) -> list[Any]:
            looked_up.append(host)
            return [(2, 1, 6, "", ("127.0.0.1", port))]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo, raising=False)
        delivery = await forwarded(engine, await accept(engine))
    assert looked_up == ["hooks.example"]
    assert delivery.state is State.DEAD
    assert sink.taken == []


async def test_a_redirect_is_not_followed(start_engine: StartEngine, sink: ForwardSink) -> None:
    sink.answers = [(307, {"Location": "/elsewhere"})]
    async with start_engine(allow_private=True) as engine:
        delivery = await forwarded(engine, await accept(engine))
    assert len(sink.taken) == 1
    assert delivery.state is State.DEAD
    assert delivery.reason is not None
    assert "redirects are not followed" in delivery.reason


async def test_no_token_of_the_address_is_told(
    start_engine: StartEngine, sink: ForwardSink, tmp_path: Path
) -> None:
    sink.answers = [(400, {})]
    async with start_engine(allow_private=True) as engine:
        event_id = await accept(engine)
        delivery = await forwarded(engine, event_id)
        assert await engine.store.attempts(delivery.id)
    assert delivery.state is State.DEAD
    stored = b"".join(path.read_bytes() for path in (tmp_path / "data").glob("clarihook.db*"))
    assert b"forwarded to 127.0.0.1" in stored
    assert b"hunter2" not in stored
    assert SECRET.encode() not in stored


async def test_a_ring_of_deployments_comes_to_an_end(
    start_engine: StartEngine, sink: ForwardSink
) -> None:
    async with start_engine(allow_private=True) as engine:
        last = await accept(engine, headers=f"{HOPS_HEADER}: {MAX_HOPS - 1}")
        await forwarded(engine, last)
        over = await accept(engine, headers=f"{HOPS_HEADER}: {MAX_HOPS}", body=BODY + b" ")

        async def is_over() -> list[Delivery]:
            made = await engine.store.deliveries_of(over)
            return made if all(each.state.is_final for each in made) else []

        await until(is_over)
        (routes,) = await is_over()
    assert [headers[HOPS_HEADER] for headers, _ in sink.taken] == [str(MAX_HOPS)]
    assert routes.reason == (
        "route audit: its forward was left out: it has been forwarded 5 times; "
        "do they go in a ring?"
    )


@pytest.mark.parametrize("quiet", [False, True])
async def test_a_replay_forwards_again_unless_it_is_quiet(
    start_engine: StartEngine, sink: ForwardSink, *, quiet: bool
) -> None:
    async with start_engine(allow_private=True) as engine:
        event_id = await accept(engine)
        await forwarded(engine, event_id)
        selection = Selection(ids=(event_id,), quiet=quiet)
        replayer = engine.replayer()
        begun = await replayer.begin(selection, author="test", now_ms=int(time.time() * 1000))
        await replayer.run(begun.replay.id, lambda _progress: None)

        async def is_over() -> bool:
            made = await engine.store.deliveries_of(event_id)
            return len(made) == 4 and all(each.state.is_final for each in made)

        await until(is_over)
        again = (await engine.store.deliveries_of(event_id))[-1]
    assert again.name == "forward/audit"
    assert again.state is (State.CANCELLED if quiet else State.SUCCEEDED)
    assert [headers["webhook-id"] for headers, _ in sink.taken] == [event_id] * (2 - quiet)


async def test_a_rest_that_was_asked_for_outlives_a_restart(
    start_engine: StartEngine, sink: ForwardSink
) -> None:
    """Retry-After is for all that goes there, not for what was refused alone."""
    sink.answers = [(429, {"Retry-After": "3000"})]

    async def forward_of(engine: Engine, event_id: str) -> Delivery | None:
        made = await engine.store.deliveries_of(event_id)
        return next((each for each in made if each.name == "forward/audit"), None)

    async with start_engine(allow_private=True) as engine:
        refused = await accept(engine)

        async def is_refused() -> bool:
            found = await forward_of(engine, refused)
            return found is not None and found.state is State.RETRYING

        await until(is_refused, seconds=20)
    async with start_engine(allow_private=True) as engine:
        lane = engine.dispatcher.lane("forward/audit")
        assert lane is not None
        assert lane.pace is not None
        wait = lane.pace.take(time.monotonic())
        assert 2900 < wait <= 3000
        other = await accept(engine, dedupe_key=b"other")
        await until(lambda: lane.slot_at is not None, seconds=20)
        waits = await forward_of(engine, other)
        assert waits is not None
        assert (waits.state, waits.attempts) == (State.PENDING, 0)
    assert len(sink.taken) == 1


@pytest.mark.parametrize("secret", ["whsec_not/base64!!", "whpk_" + "A" * 43 + "="])
async def test_a_secret_that_cannot_sign_stops_the_start(tmp_path: Path, secret: str) -> None:
    route = {"forward": "https://example.com/", "forward_secret": secret}
    (tmp_path / "handlers").mkdir()
    settings = Settings.from_dict({"routes": [route]}, home=tmp_path)
    with pytest.raises(ConfigError, match=r"routes\[0\]\.forward_secret: "):
        Engine(settings, open_store(settings, role="owner"), load_registry(settings))
