"""The whole way from an accepted event to the messages at their targets: engine, channels, HTTP."""

import json
import textwrap
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from dispatch_parts import TYPE, event, until

from receiver.engine import Engine, load_registry
from receiver.model import Outcome, State
from receiver.settings import load_settings
from receiver.store.configured import open_store

pytestmark = pytest.mark.anyio

StartEngine = Callable[..., AbstractAsyncContextManager[Engine]]

HANDLER = """
    from receiver import Context, on

    @on("data_source.sync_failed")
    async def tell(event: dict, ctx: Context) -> None:
        ctx.notify("ops", title=f"failed: {event['data']['id']}", body="it did")
        if ctx.attempt < event["data"].get("succeeds_at", 1):
            raise ValueError("not yet")
    """


class Sink(ThreadingHTTPServer):
    """Takes JSON messages; answers with the statuses it was given, then with 200."""

    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Take)
        self.statuses: list[tuple[int, dict[str, str]]] = []
        self.requests: list[str] = []
        self.taken: list[str] = []
        """Titles of the messages that it has accepted."""
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def stop(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Take(BaseHTTPRequestHandler):
    server: Sink

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, headers = self.server.statuses.pop(0) if self.server.statuses else (200, {})
        self.server.requests.append(body["title"])
        if status == 200:
            self.server.taken.append(body["title"])
        self.send_response(status)
        for name, value in {**headers, "Content-Length": "0"}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_args: Any) -> None:
        """Quiet."""


@pytest.fixture
def sink() -> Iterator[Sink]:
    server = Sink()
    yield server
    server.stop()


@pytest.fixture
def start_engine(tmp_path: Path, sink: Sink) -> StartEngine:
    """An engine with a handler that tells `ops`: two files, and the sink between them."""
    for folder in ("config", "handlers"):
        (tmp_path / folder).mkdir()
    (tmp_path / "config" / "clarihook.toml").touch()
    (tmp_path / "handlers" / "syncs.py").write_text(textwrap.dedent(HANDLER))

    @asynccontextmanager
    async def start(**more: Any) -> AsyncIterator[Engine]:
        channel = {
            "urls": ["file://one.jsonl", f"json://127.0.0.1:{sink.server_port}/",
                     "file://three.jsonl"],
            "schedule": ["5ms"],
            "rate": "1000/s",
            "attempts": 5,
        }  # fmt: skip
        overrides = {"channels": {"ops": channel}, "dispatch": {"schedule": ["5ms"]}, **more}
        settings = load_settings(tmp_path, {}, overrides)
        engine = Engine(settings, open_store(settings, role="owner"), load_registry(settings))
        await engine.start()
        try:
            yield engine
        finally:
            await engine.stop(2.0)

    return start


async def all_over(engine: Engine) -> None:
    async def is_over() -> bool:
        return not set(await engine.store.count_states()) - {State.SUCCEEDED, State.DEAD}

    await until(is_over, seconds=20)


def titles(path: Path) -> list[str]:
    return [json.loads(line)["title"] for line in path.read_text().splitlines()]


async def accept(engine: Engine, number: int, **data: Any) -> str:
    body = {"event": TYPE, "data": {"id": number, **data}}
    return (await engine.intake.accept(event(body), body)).event_id


async def test_one_target_of_three_that_fails_three_times_each_gets_the_message_once(
    start_engine: StartEngine, sink: Sink, tmp_path: Path
) -> None:
    sink.statuses = [(500, {}), (503, {}), (502, {})]
    async with start_engine() as engine:
        event_id = await accept(engine, 1)
        await all_over(engine)
        made = await engine.store.deliveries_of(event_id)
        assert [(each.name, each.attempts, each.state) for each in made] == [
            ("syncs.tell", 1, State.SUCCEEDED),
            ("ops/1-file", 1, State.SUCCEEDED),
            ("ops/2-json", 4, State.SUCCEEDED),
            ("ops/3-file", 1, State.SUCCEEDED),
        ]
        attempts = await engine.store.attempts(made[2].id)
        assert [each.status_code for each in attempts] == [500, 503, 502, 200]
        assert [each.outcome for each in attempts] == [Outcome.TRANSIENT] * 3 + [Outcome.DELIVERED]
    assert titles(tmp_path / "one.jsonl") == ["failed: 1"]
    assert sink.taken == ["failed: 1"]
    assert titles(tmp_path / "three.jsonl") == ["failed: 1"]
    assert len(sink.requests) == 4


async def test_many_events_reach_each_target_once_each(
    start_engine: StartEngine, sink: Sink, tmp_path: Path
) -> None:
    """Handlers that fail twice first say nothing twice; a target that fails gets nothing twice."""
    sink.statuses = [(500, {}), (200, {})] * 3
    async with start_engine() as engine:
        for number in range(10):
            await accept(engine, number, succeeds_at=1 + number % 3)
        await all_over(engine)
        assert await engine.store.count_states() == {State.SUCCEEDED: 40}
    expected = Counter(f"failed: {number}" for number in range(10))
    assert Counter(titles(tmp_path / "one.jsonl")) == expected
    assert Counter(sink.taken) == expected
    assert Counter(titles(tmp_path / "three.jsonl")) == expected


async def test_a_target_that_is_over_is_dead_alone(
    start_engine: StartEngine, sink: Sink, tmp_path: Path
) -> None:
    sink.statuses = [(500, {})] * 5
    async with start_engine() as engine:
        event_id = await accept(engine, 1)
        await all_over(engine)
        made = await engine.store.deliveries_of(event_id)
        assert [each.state for each in made] == [
            State.SUCCEEDED, State.SUCCEEDED, State.DEAD, State.SUCCEEDED,
        ]  # fmt: skip
        assert made[2].reason is not None
        assert made[2].reason.startswith("failed at attempt 5 of 5: ")
    assert titles(tmp_path / "three.jsonl") == ["failed: 1"]


def in_20_minutes() -> str:
    return format_datetime(datetime.now(UTC) + timedelta(minutes=20), usegmt=True)


@pytest.mark.parametrize(
    ("status", "asked", "obeyed"),
    [
        (429, lambda: "1200", 1200),
        (503, lambda: "1200", 1200),
        (429, in_20_minutes, 1200),
        (429, lambda: "9" * 300, 3600),
        (503, lambda: "Fri, 31 Dec 9999 23:59:59 GMT", 3600),
    ],
    ids=["seconds", "seconds-503", "date", "huge", "huge-date"],
)
async def test_a_targets_retry_after_holds_it_back_and_nobody_else(
    start_engine: StartEngine, sink: Sink, status: int, asked: Callable[[], str], obeyed: float
) -> None:
    sink.statuses = [(status, {"Retry-After": asked()})]
    async with start_engine() as engine:
        event_id = await accept(engine, 1)

        async def is_waiting() -> bool:
            states = [each.state for each in await engine.store.deliveries_of(event_id)]
            return states.count(State.SUCCEEDED) == 3 and State.RETRYING in states

        await until(is_waiting, seconds=20)
        waiting = (await engine.store.deliveries_of(event_id))[2]
        (attempt,) = await engine.store.attempts(waiting.id)
        wait_seconds = (waiting.due_at - attempt.started_at).total_seconds()
        assert obeyed - 2 < wait_seconds < obeyed + 30, "a date has whole seconds"
        assert attempt.status_code == status


@pytest.mark.parametrize("garbage", ["soon", "-5", "1e9", "12 s", "\xff", ""])
async def test_a_retry_after_that_means_nothing_is_no_wait(
    start_engine: StartEngine, sink: Sink, garbage: str
) -> None:
    sink.statuses = [(429, {"Retry-After": garbage})]
    async with start_engine() as engine:
        event_id = await accept(engine, 1)
        await all_over(engine)  # by the schedule, within milliseconds
        made = await engine.store.deliveries_of(event_id)
    assert (made[2].state, made[2].attempts) == (State.SUCCEEDED, 2)


async def test_a_failing_handler_sends_nothing(
    start_engine: StartEngine, sink: Sink, tmp_path: Path
) -> None:
    async with start_engine(dispatch={"schedule": ["5ms"], "attempts": 2}) as engine:
        event_id = await accept(engine, 1, succeeds_at=99)
        await all_over(engine)
        (only,) = await engine.store.deliveries_of(event_id)
        assert (only.state, only.attempts) == (State.DEAD, 2)
    assert sink.requests == []
    assert not (tmp_path / "one.jsonl").exists()


async def test_what_a_stopped_engine_left_is_taken_up_by_the_next(
    start_engine: StartEngine, sink: Sink, tmp_path: Path
) -> None:
    async with start_engine(dispatch={"enabled": False}) as engine:
        await accept(engine, 1)
    assert not (tmp_path / "one.jsonl").exists()
    async with start_engine() as engine:
        await all_over(engine)
    assert (titles(tmp_path / "one.jsonl"), sink.taken) == (["failed: 1"], ["failed: 1"])


async def test_deliveries_of_a_channel_that_was_taken_out_are_counted(
    start_engine: StartEngine, sink: Sink
) -> None:
    sink.statuses = [(429, {"Retry-After": "1200"})]
    async with start_engine() as engine:
        await accept(engine, 1)
        await until(lambda: sink.requests)

        async def is_waiting() -> bool:
            counts = await engine.store.count_states()
            return counts == {State.SUCCEEDED: 3, State.RETRYING: 1}

        await until(is_waiting, seconds=20)
    async with start_engine(channels={}) as engine:
        assert engine.dispatcher.without_lane == {"ops/2-json": 1}


BROKEN = """
    from receiver import Context, on
    import a_package_that_is_not_there

    @on("data_source.*", key="data.id")
    async def late(event: dict, ctx: Context) -> None:
        ctx.notify("ops", title=f"late: {event['data']['id']} replaying={ctx.replaying}")

    @on("report.*")
    async def other(event: dict, ctx: Context) -> None: ...
    """


async def test_what_came_while_a_handler_file_was_broken_runs_once_it_is_mended(
    start_engine: StartEngine, sink: Sink, tmp_path: Path
) -> None:
    """Nobody can know what a broken file's handlers are for, so it keeps every event."""
    file = tmp_path / "handlers" / "broken.py"
    file.write_text(textwrap.dedent(BROKEN))
    async with start_engine(handlers={"on_error": "skip"}) as engine:
        event_ids = [await accept(engine, number) for number in (1, 2)]
        await until(lambda: len(sink.taken) == 2, seconds=20)  # the other file's handler ran
        assert (await engine.store.waiting())["broken.*"] == 2
    async with start_engine(handlers={"on_error": "skip"}) as engine:
        assert engine.dispatcher.without_lane["broken.*"] == 2

    file.write_text(textwrap.dedent(BROKEN).replace("import a_package_that_is_not_there", ""))
    async with start_engine() as engine:
        assert not engine.dispatcher.without_lane
        await until(lambda: len(sink.taken) == 4, seconds=20)
        await all_over(engine)
        made = {each.name: each for each in await engine.store.deliveries_of(event_ids[0])}
    assert made["broken.*"].reason == "the file is mended: broken.late"
    assert (made["broken.late"].state, made["broken.late"].key) == (State.SUCCEEDED, "1")
    assert "broken.other" not in made
    async with start_engine() as engine:
        await all_over(engine)
    assert sorted(sink.taken) == [
        "failed: 1", "failed: 2", "late: 1 replaying=False", "late: 2 replaying=False",
    ]  # fmt: skip


async def test_a_stand_in_does_not_repeat_what_a_file_of_the_same_name_did(
    start_engine: StartEngine, sink: Sink, tmp_path: Path
) -> None:
    (tmp_path / "more").mkdir()
    file = tmp_path / "more" / "syncs.py"
    file.write_text("this is no Python")
    paths = {"paths": ["handlers", "more"], "on_error": "skip"}
    async with start_engine(handlers=paths) as engine:
        event_id = await accept(engine, 1)
        await until(lambda: sink.taken == ["failed: 1"], seconds=20)
    file.write_text("")
    async with start_engine(handlers=paths) as engine:
        await all_over(engine)
        made = await engine.store.deliveries_of(event_id)
    stand_in = next(each for each in made if each.name == "syncs.*")
    assert stand_in.reason == "the file is mended: no handler of it is for this event"
    assert sink.taken == ["failed: 1"]


LIMITED = """
    from receiver import Context, on

    @on("data_source.sync_failed", rate="1/h burst 2", concurrency=1)
    async def tell(event: dict, ctx: Context) -> None:
        ctx.notify("ops", title=f"failed: {event['data']['id']}", body="it did")
    """


async def test_a_handlers_rate_holds_its_events_back_without_an_attempt(
    start_engine: StartEngine, sink: Sink, tmp_path: Path
) -> None:
    (tmp_path / "handlers" / "syncs.py").write_text(textwrap.dedent(LIMITED))
    async with start_engine() as engine:
        lanes = [engine.dispatcher.lane(name) for name in ("syncs.tell", "ops/2-json", "routes")]
        assert [each is not None and each.is_limited for each in lanes] == [True, True, False]
        ids = [await accept(engine, number) for number in range(5)]
        await until(lambda: len(sink.taken) == 2, seconds=20)
        found = [(await engine.store.deliveries_of(each))[0] for each in ids]
        assert sorted((each.state, each.attempts) for each in found) == [
            *[(State.PENDING, 0)] * 3, *[(State.SUCCEEDED, 1)] * 2,
        ]  # fmt: skip
    assert sink.taken == ["failed: 0", "failed: 1"], "nothing overtakes what waits"
