"""Who blocks the event loop is named; who does not is not; an idle process is left asleep."""

import asyncio
import re
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog
from dispatch_parts import dispatching, handler_lane, in_state, send, until

from receiver.dispatch import watchdog as watchdog_module
from receiver.dispatch.run_handler import HandlerRunner
from receiver.dispatch.watchdog import Handlers, Watchdog
from receiver.store.sqlite import SqliteStore

pytestmark = pytest.mark.anyio

BLOCKED_SECONDS = 0.4


def _sleep(seconds: float = BLOCKED_SECONDS) -> None:
    time.sleep(seconds)


def _spin() -> None:
    end = time.thread_time() + BLOCKED_SECONDS
    while time.thread_time() < end:
        pass


def _hold_the_interpreter() -> None:
    """One call into C that lets no other thread run, the watchdog's neither; then a little more
    of its own, in which it can be seen.
    """
    begun = time.thread_time()
    sum(range(1_000_000))
    sum(range(int(1_000_000 * BLOCKED_SECONDS / (time.thread_time() - begun))))
    end = time.thread_time() + 0.05
    while time.thread_time() < end:
        pass


async def _deep(below: int, block: Callable[[], None]) -> None:
    if below:
        await _deep(below - 1, block)
    else:
        await asyncio.sleep(0)
        block()


@asynccontextmanager
async def watching(
    store: SqliteStore, func: Callable[..., Any], *, limit: int = 8
) -> AsyncIterator[tuple[Watchdog, list[Any]]]:
    """A dispatcher with this handler, watched; and what is logged."""
    watchdog = Watchdog([])
    lane = handler_lane(store, func, limit=limit, watchdog=watchdog)
    assert isinstance(lane.run, HandlerRunner)
    watchdog._handlers = Handlers([lane.run.handler])
    watchdog.start()
    with structlog.testing.capture_logs() as logs:
        async with dispatching(store, lane):
            yield watchdog, logs
    watchdog.stop()


def blocks(logs: list[Any]) -> list[Any]:
    return [each for each in logs if each["event"].endswith(("blocks_the_loop", "loop.blocked"))]


@pytest.mark.parametrize("block", [_sleep, _spin, _hold_the_interpreter])
async def test_a_handler_that_blocks_the_loop_is_named(
    store: SqliteStore, block: Callable[[], None]
) -> None:
    """Also from deep below, in coroutines that it awaits and in plain functions."""

    async def handle(_event: dict[str, Any]) -> None:
        await _deep(20, block)

    async with watching(store, handle) as (_, logs):
        await in_state(store, await send(store, "h.test"))
        await until(lambda: blocks(logs))
    (told,) = blocks(logs)
    assert (told["event"], told["name"]) == ("handler.blocks_the_loop", "h.test")
    assert told["log_level"] == "warning"
    assert re.fullmatch(rf"test_dispatch_watchdog\.py:\d+ in {block.__name__}", told["at"])
    assert 250 <= told["blocked_ms"] < 20_000
    assert told["goes_on"] is False


async def test_a_task_that_a_handler_has_started_is_its_own(store: SqliteStore) -> None:
    async def handle(_event: dict[str, Any]) -> None:
        await asyncio.gather(_deep(0, _sleep), asyncio.sleep(0))

    async with watching(store, handle) as (_, logs):
        await in_state(store, await send(store, "h.test"))
        await until(lambda: blocks(logs))
    assert blocks(logs)[0]["name"] == "h.test"


async def test_what_is_no_handlers_doing_is_told_without_a_name(store: SqliteStore) -> None:
    release = asyncio.Event()

    async def handle(_event: dict[str, Any]) -> None:
        await release.wait()

    async with watching(store, handle) as (watchdog, logs):
        watchdog._handlers = Handlers([])  # as if this file were none of handlers
        delivery_id = await send(store, "h.test")
        await until(lambda: watchdog._running == 1)
        _sleep()
        release.set()
        await in_state(store, delivery_id)
        # On a busy machine the loop may stand still elsewhere, too.
        await until(lambda: any(each["at"].endswith(" in _sleep") for each in blocks(logs)))
    for told in blocks(logs):
        assert told["event"] == "loop.blocked"
        assert "name" not in told


async def test_a_block_is_told_while_it_lasts_and_the_same_one_only_counted(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog_module, "TELL_SECONDS", 0.2)

    async def handle(_event: dict[str, Any]) -> None:
        _sleep()

    async with watching(store, handle) as (watchdog, logs):
        await in_state(store, await send(store, "h.test"))
        await until(lambda: [each for each in blocks(logs) if not each["goes_on"]])
        assert [each for each in blocks(logs) if each["goes_on"]]
        monkeypatch.setattr(watchdog_module, "TELL_SECONDS", 3600.0)
        told = len(blocks(logs))
        for number in (1, 2):
            await in_state(store, await send(store, "h.test"))
            await until(lambda number=number: [each.again for each in watchdog._told.values()]
                        == [number])  # fmt: skip
        assert len(blocks(logs)) == told
        monkeypatch.setattr(watchdog_module, "TELL_SECONDS", 0.0)
        await in_state(store, await send(store, "h.test"))
        await until(lambda: blocks(logs)[-1]["and_others"] == 2)


async def test_many_short_runs_at_once_name_nobody(store: SqliteStore) -> None:
    """Twenty runs of 30 ms block the loop together, but none of them does."""
    release = asyncio.Event()

    async def handle(_event: dict[str, Any]) -> None:
        await release.wait()
        _sleep(0.03)

    async with watching(store, handle, limit=20) as (watchdog, logs):
        ids = [await send(store, "h.test") for _ in range(20)]
        await until(lambda: watchdog._running == 20)
        release.set()
        for each in ids:
            await in_state(store, each)
        await until(lambda: blocks(logs))
    assert {each["event"] for each in blocks(logs)} == {"loop.blocked"}


async def test_ordinary_work_raises_no_alarm(store: SqliteStore) -> None:
    async def handle(_event: dict[str, Any]) -> None:
        await asyncio.sleep(0.001)
        sum(range(10_000))

    async with watching(store, handle) as (_, logs):
        ids = [await send(store, "h.test") for _ in range(300)]
        for each in ids:
            await in_state(store, each)
    assert blocks(logs) == []


async def test_it_sleeps_while_no_handler_runs(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    beat = Watchdog._beat

    def count(self: Watchdog, loop: Any) -> None:
        asked.append(time.monotonic())
        beat(self, loop)

    monkeypatch.setattr(Watchdog, "_beat", count)
    release = asyncio.Event()

    async def handle(_event: dict[str, Any]) -> None:
        await release.wait()

    async with watching(store, handle) as (watchdog, _):
        assert asked == []
        delivery_id = await send(store, "h.test")
        await until(lambda: len(asked) >= 3)
        release.set()
        await in_state(store, delivery_id)
        await until(lambda: watchdog._beat_at is None)
        before = len(asked)
        await asyncio.sleep(4 * watchdog_module.TICK_SECONDS)
        assert len(asked) == before
    assert "loop-watchdog" not in [each.name for each in threading.enumerate() if not each.daemon]


def test_it_ends_with_the_loops_thread() -> None:
    """As of a server inside another program: stopped, or not even that."""

    def watchers() -> list[threading.Thread]:
        return [each for each in threading.enumerate() if each.name == "loop-watchdog"]

    async def run(watchdog: Watchdog, stops: bool) -> None:
        watchdog.start()
        watchdog.begin()
        if stops:
            watchdog.stop()

    before = watchers()
    for stops in (True, False):
        thread = threading.Thread(target=lambda stops=stops: asyncio.run(run(Watchdog([]), stops)))
        thread.start()
        thread.join(10)
    for each in watchers():
        if each not in before:
            each.join(10)
            assert not each.is_alive()
