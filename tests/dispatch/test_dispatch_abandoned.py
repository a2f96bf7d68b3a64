"""Runs that do not end: their attempt ends all the same, they are counted, and their number is
bounded.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any

import pytest
import structlog
from dispatch_parts import dispatching, handler_lane, in_state, lane, send, succeed, until

from receiver import Context
from receiver.dispatch import dispatcher as dispatcher_module
from receiver.dispatch import run_handler
from receiver.dispatch.threads import HandlerThreads
from receiver.model import Outcome, State
from receiver.store.sqlite import SqliteStore

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def quick_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_handler, "GRACE_SECONDS", 0.02)


class Stubborn:
    """An async handler that swallows every cancellation until it is released."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.runs = 0

    def handler(self) -> Callable[..., Any]:
        async def handle(_event: dict[str, Any], ctx: Context) -> None:
            self.runs += 1
            ctx.notify("ops", title="said too early to know better")
            await ctx.store.set("ran", ctx.attempt)
            give_up_at = asyncio.get_running_loop().time() + 20  # or a failed test never ends
            while not self.release.is_set() and asyncio.get_running_loop().time() < give_up_at:
                with contextlib.suppress(asyncio.CancelledError, TimeoutError):
                    async with asyncio.timeout_at(give_up_at):
                        await self.release.wait()
            ctx.notify("ops", title="said too late")

        return handle


class Stuck:
    """A sync handler that hangs until it is released."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.begun = threading.Semaphore(0)

    def handler(self) -> Callable[..., Any]:
        def handle(_event: dict[str, Any], ctx: Context) -> None:
            self.begun.release()
            assert self.release.wait(20)
            ctx.notify("ops", title="said too late")

        return handle


async def test_a_run_that_swallows_its_cancellation_is_abandoned_and_void(
    store: SqliteStore,
) -> None:
    stubborn = Stubborn()
    one = handler_lane(store, stubborn.handler(), timeout_seconds=0.02)
    with structlog.testing.capture_logs() as logs:
        async with dispatching(store, one) as dispatcher:
            delivery_id = await send(store, "h.test", attempts=1)
            dead = await in_state(store, delivery_id)
            assert dead.state is State.DEAD
            assert (dispatcher.abandoned, dispatcher.running, one.running) == (1, 0, 0)
            stubborn.release.set()
            await until(lambda: dispatcher.abandoned == 0)
            assert (one.running, one.abandoned) == (0, 0)
    (attempt,) = await store.attempts(delivery_id)
    assert (attempt.outcome, attempt.error_class) == (Outcome.UNKNOWN, "TimeoutError")
    assert attempt.error is not None
    assert "ignored its cancellation and still runs" in attempt.error
    assert len(await store.deliveries_of(dead.event_id)) == 1, "nothing it staged is kept"
    assert await store.value("h.test", "ran") is None
    (told,) = [each for each in logs if each["event"] == "handler.abandoned"]
    assert (told["name"], told["abandoned"], told["log_level"]) == ("h.test", 1, "error")
    assert "handler.ended_late" in [each["event"] for each in logs]


async def test_a_delivery_is_tried_again_beside_its_abandoned_run(store: SqliteStore) -> None:
    """And the late end of the first run takes nothing from the second."""
    stubborn = Stubborn()
    go_on = asyncio.Event()
    first = stubborn.handler()

    async def handle(event: dict[str, Any], ctx: Context) -> None:
        if ctx.attempt == 1:
            await first(event, ctx)
        else:
            await go_on.wait()

    one = handler_lane(store, handle, timeout_seconds=0.1)
    async with dispatching(store, one) as dispatcher:
        delivery_id = await send(store, "h.test", attempts=100)
        await until(lambda: dispatcher.abandoned == 1 and dispatcher.running == 1)
        stubborn.release.set()
        await until(lambda: dispatcher.abandoned == 0)
        go_on.set()
        done = await in_state(store, delivery_id)
        await until(lambda: (dispatcher.running, one.running, one.abandoned) == (0, 0, 0))
    assert done.state is State.SUCCEEDED
    attempts = await store.attempts(delivery_id)
    assert attempts[0].outcome is Outcome.UNKNOWN
    assert attempts[1].possible_duplicate


async def test_a_run_that_cleans_up_within_the_grace_is_not_abandoned(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_handler, "GRACE_SECONDS", 60.0)
    cleaned = []

    async def handle(_event: dict[str, Any]) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.02)
            cleaned.append(True)

    async with dispatching(store, handler_lane(store, handle, timeout_seconds=0.02)) as dispatcher:
        delivery_id = await send(store, "h.test", attempts=1)
        await in_state(store, delivery_id)
        assert (dispatcher.abandoned, cleaned) == (0, [True])
    (attempt,) = await store.attempts(delivery_id)
    assert attempt.outcome is Outcome.TRANSIENT


async def test_a_leaky_handler_stops_alone_and_goes_on_when_a_run_ends(store: SqliteStore) -> None:
    stubborn = Stubborn()
    leaky = handler_lane(store, stubborn.handler(), limit=3, timeout_seconds=0.02)
    with structlog.testing.capture_logs() as logs:
        async with dispatching(store, leaky, lane(succeed, "other")) as dispatcher:
            for _ in range(8):
                await send(store, "h.test", attempts=1)
            await until(lambda: dispatcher.stopped_lanes == ["h.test"])
            assert (dispatcher.abandoned, stubborn.runs) == (3, 3)
            assert not dispatcher.reserve([leaky]), "nor by hand-over"
            # Another one goes on, and rounds of claims pass in which the leaky one gets nothing.
            for _ in range(3):
                await in_state(store, await send(store, "other"), State.SUCCEEDED)
            assert stubborn.runs == 3
            stubborn.release.set()
            await until(lambda: stubborn.runs == 8)
            assert dispatcher.stopped_lanes == []
    names = [each["event"] for each in logs]
    assert names.count("handler.stopped") == 1
    assert names.count("handler.goes_on") == 1
    (told,) = [each for each in logs if each["event"] == "handler.stopped"]
    assert (told["name"], told["abandoned"]) == ("h.test", 3)


async def test_a_sync_handlers_timeout_is_told_while_its_thread_goes_on(store: SqliteStore) -> None:
    stuck, threads = Stuck(), HandlerThreads(2)
    one = handler_lane(store, stuck.handler(), timeout_seconds=0.05, threads=threads)
    async with dispatching(store, one) as dispatcher:
        delivery_id = await send(store, "h.test", attempts=1)
        dead = await in_state(store, delivery_id)
        assert not stuck.release.is_set()
        assert (dispatcher.abandoned, one.running) == (1, 0)
        stuck.release.set()
        await until(lambda: dispatcher.abandoned == 0)
    (attempt,) = await store.attempts(delivery_id)
    assert (attempt.outcome, attempt.error_class) == (Outcome.UNKNOWN, "TimeoutError")
    assert attempt.error is not None
    assert "can't be cancelled and still runs" in attempt.error
    assert 50 <= attempt.duration_ms < 5000
    assert len(await store.deliveries_of(dead.event_id)) == 1
    threads.shutdown()


async def test_abandoned_threads_starve_no_other_sync_handler(store: SqliteStore) -> None:
    """A handler that always hangs never has more than as many threads as there are."""
    stuck, threads = Stuck(), HandlerThreads(2)
    leaky = handler_lane(store, stuck.handler(), limit=2, timeout_seconds=0.03, threads=threads)
    async with dispatching(store, leaky, lane(succeed, "other")) as dispatcher:
        for _ in range(6):
            await send(store, "h.test", attempts=1)
        await until(lambda: dispatcher.stopped_lanes == ["h.test"])
        await in_state(store, await send(store, "other"), State.SUCCEEDED)
        assert (dispatcher.abandoned, leaky.running) == (2, 0)
        together = threading.Barrier(2)
        others = [asyncio.wrap_future(threads.submit(together.wait, 10)) for _ in range(2)]
        assert sorted(await asyncio.gather(*others)) == [0, 1], "both threads are replaced"
        stuck.release.set()
        await until(lambda: dispatcher.abandoned == 0)
        assert dispatcher.stopped_lanes == []

        async def has_gone_on() -> bool:
            return "h.test" not in await store.waiting()

        await until(has_gone_on)
    threads.shutdown()


@pytest.mark.parametrize("is_async", [True, False], ids=["async", "sync"])
async def test_abandoned_runs_keep_no_stop_and_tell_the_store_nothing(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, is_async: bool
) -> None:
    monkeypatch.setattr(dispatcher_module, "CANCEL_SECONDS", 60.0)
    stubborn, stuck, threads = Stubborn(), Stuck(), HandlerThreads(1)
    func = stubborn.handler() if is_async else stuck.handler()
    one = handler_lane(store, func, timeout_seconds=0.02, threads=threads)
    async with dispatching(store, one) as dispatcher:
        delivery_id = await send(store, "h.test", attempts=1)
        await in_state(store, delivery_id)
        async with asyncio.timeout(10):
            assert await dispatcher.stop(60.0) == 0
    await store.close()
    stubborn.release.set()
    stuck.release.set()
    await until(lambda: dispatcher.abandoned == 0)
    threads.shutdown()
    after = SqliteStore(store.path)
    await after.open()
    assert await after.count_states() == {State.DEAD: 1}
    await after.close()
