"""How a handler's runs end, and what is kept of them."""

import asyncio
import contextlib
import doctest
import sys
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

import pytest
from dispatch_parts import (
    SECRET,
    TARGET,
    dispatching,
    handler_lane,
    in_state,
    run_one,
    send,
    until,
)

from receiver import Context, Reject, Retry, Skip, retry
from receiver.dispatch import ending, policies
from receiver.dispatch.threads import HandlerThreads
from receiver.model import Outcome, State
from receiver.store.sqlite import SqliteStore

pytestmark = pytest.mark.anyio


@dataclass
class Payload:
    data: dict[str, int]


async def test_a_return_is_success(store: SqliteStore) -> None:
    seen: list[dict[str, Any]] = []

    async def handle(event: dict[str, Any], ctx: Context) -> None:
        seen.append(event)
        assert ctx.attempt == 1

    delivery, attempts = await run_one(store, handle)
    assert (delivery.state, delivery.reason) == (State.SUCCEEDED, None)
    assert [each.outcome for each in attempts] == [Outcome.DELIVERED]
    assert seen == [{"event": "data_source.sync_failed", "data": {}}]


@pytest.mark.parametrize(("reason", "kept"), [("quiet day", "skipped: quiet day"), ("", "skipped")])
async def test_a_skip_is_success_with_its_reason(
    store: SqliteStore, reason: str, kept: str
) -> None:
    async def handle(_event: dict[str, Any], ctx: Context) -> None:
        ctx.notify("ops", title="said before the skip")
        raise Skip(reason)

    delivery, attempts = await run_one(store, handle)
    assert (delivery.state, delivery.reason) == (State.SUCCEEDED, kept)
    assert attempts[0].outcome is Outcome.DELIVERED
    assert len(await store.deliveries_of(delivery.event_id)) == 2


async def test_a_skips_reason_holds_no_secret_and_has_an_end(store: SqliteStore) -> None:
    async def handle(_event: dict[str, Any]) -> None:
        raise Skip(f"{SECRET} \udce9" + "x" * 9000)

    delivery, _ = await run_one(store, handle)
    assert delivery.reason is not None
    assert delivery.reason.startswith("skipped: *** ?xxx")
    assert len(delivery.reason) == 2048


@pytest.mark.parametrize("after", [3600, "1h", timedelta(hours=1)])
async def test_a_retry_waits_as_long_as_it_says(
    store: SqliteStore, after: float | str | timedelta
) -> None:
    async def handle(_event: dict[str, Any], ctx: Context) -> None:
        if ctx.attempt == 1:
            raise Retry("not ready", after=after)

    async with dispatching(store, handler_lane(store, handle)):
        before = time.time()
        delivery_id = await send(store, "h.test")
        waiting = await in_state(store, delivery_id, State.RETRYING)
        assert before + 3599 < waiting.due_at.timestamp() < time.time() + 3601
        await store.retry([delivery_id], now_ms=int(time.time() * 1000))
        assert (await in_state(store, delivery_id)).state is State.SUCCEEDED
    assert [each.error for each in await store.attempts(delivery_id)] == ["not ready", None]


@pytest.mark.parametrize("after", [None, float("nan"), -5, 0])
async def test_a_retry_with_no_usable_wait_still_comes(
    store: SqliteStore, after: float | None
) -> None:
    async def handle(_event: dict[str, Any], ctx: Context) -> None:
        if ctx.attempt == 1:
            raise Retry(after=after)

    delivery, attempts = await run_one(store, handle)
    assert (delivery.state, len(attempts)) == (State.SUCCEEDED, 2)


async def test_a_reject_is_dead_at_once(store: SqliteStore) -> None:
    async def handle(_event: dict[str, Any]) -> None:
        raise Reject("unknown tenant")

    delivery, attempts = await run_one(store, handle)
    assert (delivery.state, delivery.attempts) == (State.DEAD, 1)
    assert delivery.reason == "Reject: unknown tenant"
    assert attempts[0].outcome is Outcome.PERMANENT


async def test_an_exception_is_retried_until_it_is_dead_with_a_reason(store: SqliteStore) -> None:
    async def handle(_event: dict[str, Any]) -> None:
        raise ValueError(f"no row for {SECRET}")

    delivery, attempts = await run_one(store, handle, attempts=3)
    assert (delivery.state, delivery.attempts) == (State.DEAD, 3)
    assert delivery.reason == "failed at attempt 3 of 3: ValueError: no row for ***"
    assert [each.number for each in attempts] == [1, 2, 3]
    assert {each.outcome for each in attempts} == {Outcome.TRANSIENT}
    assert all(each.traceback and SECRET not in each.traceback for each in attempts)


async def test_a_traceback_begins_in_the_handlers_own_code(store: SqliteStore) -> None:
    async def handle(_event: dict[str, Any]) -> None:
        raise ValueError("here")

    _, attempts = await run_one(store, handle, attempts=1)
    text = attempts[0].traceback
    assert text is not None
    assert text.splitlines()[1].strip().startswith(f'File "{__file__}"')


async def test_each_attempt_keeps_its_account_without_a_secret(store: SqliteStore) -> None:
    """Also where the secret is in what came before, in a note, in a group, in an argument."""

    async def handle(_event: dict[str, Any]) -> None:
        try:
            raise KeyError(SECRET)
        except KeyError as error:
            error.add_note(f"beside {SECRET}")
            raise ExceptionGroup(f"with {SECRET}", [ValueError([SECRET])]) from error

    before = datetime.now(UTC) - timedelta(milliseconds=1)
    _, attempts = await run_one(store, handle, attempts=2)
    assert len(attempts) == 2
    for attempt in attempts:
        assert before <= attempt.started_at <= datetime.now(UTC)
        assert attempt.duration_ms > 0
        assert (attempt.outcome, attempt.error_class) == (Outcome.TRANSIENT, "ExceptionGroup")
        assert attempt.error == "with *** (1 sub-exception)"
        assert attempt.traceback is not None
        assert SECRET not in attempt.traceback
        for told in ("KeyError: '***'", "beside ***", "direct cause", "ValueError: ['***']"):
            assert told in attempt.traceback


async def test_of_an_error_of_100_mb_a_little_is_kept(store: SqliteStore) -> None:
    async def handle(_event: dict[str, Any]) -> None:
        raise type("E" * 10_000, (Exception,), {})("x" * 100_000_000)

    delivery, (attempt,) = await run_one(store, handle, attempts=1)
    assert attempt.error == "x" * 2048
    assert attempt.error_class == "E" * 200
    assert delivery.reason is not None
    assert len(delivery.reason) == 2048
    assert attempt.traceback is not None
    assert len(attempt.traceback) <= 8192


async def test_a_payload_that_does_not_fit_is_dead_with_reason_schema(store: SqliteStore) -> None:
    async def handle(_event: Payload) -> None:
        raise AssertionError("it must not run")

    delivery, attempts = await run_one(store, handle, body={"data": {"n": "x"}})
    assert delivery.state is State.DEAD
    assert delivery.reason is not None
    assert delivery.reason.startswith("schema: the payload does not fit Payload: data.n:")
    assert attempts[0].error_class == "SchemaError"


async def test_a_timeout_is_a_failure(store: SqliteStore) -> None:
    async def handle(_event: dict[str, Any]) -> None:
        await asyncio.Event().wait()

    delivery, attempts = await run_one(store, handle, attempts=2, timeout_seconds=0.02)
    assert delivery.state is State.DEAD
    assert [(each.error_class, each.error) for each in attempts] == [
        ("TimeoutError", "the handler did not end within 0.02 s")
    ] * 2


async def test_a_timeout_of_the_handlers_own_is_told_as_its_own(store: SqliteStore) -> None:
    async def handle(_event: dict[str, Any]) -> None:
        async with asyncio.timeout(0.001):
            await asyncio.Event().wait()

    _, attempts = await run_one(store, handle, attempts=1)
    assert (attempts[0].error_class, attempts[0].error) == ("TimeoutError", "")


async def test_a_handler_that_swallows_its_timeout_has_still_failed(store: SqliteStore) -> None:
    async def handle(_event: dict[str, Any]) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    _, attempts = await run_one(store, handle, attempts=1, timeout_seconds=0.02)
    assert attempts[0].error_class == "TimeoutError"


def _leave() -> None:
    sys.exit(3)


def _stop_iteration() -> None:
    next(iter(()))


def _no_text() -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise ValueError("a bug in a bug")

    raise MuteError


def _undecodable() -> None:
    raise FileNotFoundError("caf\udce9\0")


def _cancel_something() -> None:
    raise asyncio.CancelledError


def _interrupt() -> None:
    raise KeyboardInterrupt


def _misuse_a_generator() -> None:
    raise GeneratorExit


def _use_up_memory() -> None:
    bytearray(2**62)


def _recurse() -> None:
    _recurse()


def _recurse_in_a_repr() -> None:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    repr(nested)


@pytest.mark.parametrize("is_async", [True, False], ids=["async", "sync"])
@pytest.mark.parametrize(
    ("fault", "error_class"),
    [
        (_leave, "SystemExit"),
        (_stop_iteration, "RuntimeError"),
        (_no_text, "MuteError"),
        (_undecodable, "FileNotFoundError"),
        (_cancel_something, "CancelledError"),
        (_interrupt, "KeyboardInterrupt"),
        (_misuse_a_generator, "GeneratorExit"),
        (_use_up_memory, "MemoryError"),
        (_recurse, "RecursionError"),
        (_recurse_in_a_repr, "RecursionError"),
    ],
)
async def test_nothing_that_a_handler_raises_escapes_or_is_lost(
    store: SqliteStore, fault: Any, error_class: str, is_async: bool
) -> None:
    async def handle(_event: dict[str, Any]) -> None:
        fault()

    def handle_in_thread(_event: dict[str, Any]) -> None:
        fault()

    delivery, attempts = await run_one(store, handle if is_async else handle_in_thread, attempts=2)
    assert delivery.state is State.DEAD
    assert [each.error_class for each in attempts] == [error_class] * 2


async def _work() -> None:
    raise AssertionError("nobody runs it")


def _yields() -> Any:
    yield


@pytest.mark.parametrize(("work", "kind"), [(_work, "coroutine"), (_yields, "generator")])
@pytest.mark.parametrize("is_async", [True, False], ids=["async", "sync"])
async def test_work_that_is_returned_and_not_done_is_no_success(
    store: SqliteStore, work: Any, kind: str, is_async: bool
) -> None:
    async def handle(_event: dict[str, Any]) -> Any:
        return work()

    def handle_in_thread(_event: dict[str, Any]) -> Any:
        return work()

    delivery, attempts = await run_one(store, handle if is_async else handle_in_thread, attempts=1)
    assert delivery.state is State.DEAD
    assert attempts[0].error == (
        f"the handler returned a {kind} that nobody runs: await it, in an `async def` handler"
    )


async def test_any_other_result_is_success(store: SqliteStore) -> None:
    async def handle(_event: dict[str, Any]) -> Any:
        return {"done": True}

    assert (await run_one(store, handle))[0].state is State.SUCCEEDED


async def test_a_sync_handler_runs_in_a_thread(store: SqliteStore) -> None:
    threads: list[str] = []

    def handle(_event: dict[str, Any], ctx: Context) -> None:
        threads.append(threading.current_thread().name)
        ctx.notify("ops", title="from a thread")

    delivery, _ = await run_one(store, handle)
    assert delivery.state is State.SUCCEEDED
    assert threads != [threading.main_thread().name]
    assert len(await store.deliveries_of(delivery.event_id)) == 2


async def test_a_wait_for_a_free_thread_does_not_count_as_running(store: SqliteStore) -> None:
    release = threading.Event()

    def handle(_event: dict[str, Any]) -> None:
        release.wait(5)

    one = HandlerThreads(1)
    blocked = one.submit(release.wait, 5)
    async with dispatching(
        store, handler_lane(store, handle, timeout_seconds=0.2, threads=one)
    ) as dispatcher:
        delivery_id = await send(store, "h.test")
        await until(lambda: dispatcher.running == 1)
        begun = asyncio.get_running_loop().time()
        await until(lambda: asyncio.get_running_loop().time() > begun + 0.25)
        release.set()
        assert (await in_state(store, delivery_id)).state is State.SUCCEEDED
    assert blocked.result()
    one.shutdown()


async def test_a_sync_handler_that_took_too_long_has_failed(store: SqliteStore) -> None:
    def handle(_event: dict[str, Any]) -> None:
        threading.Event().wait(0.03)

    _, attempts = await run_one(store, handle, attempts=1, timeout_seconds=0.01)
    assert attempts[0].error_class == "TimeoutError"


async def test_what_a_failing_run_staged_is_never_sent(store: SqliteStore) -> None:
    async def handle(_event: dict[str, Any], ctx: Context) -> None:
        ctx.notify("ops", title=f"attempt {ctx.attempt}")
        await ctx.store.set("attempts", ctx.attempt)
        if ctx.attempt < 3:
            raise ValueError("not yet")

    delivery, _ = await run_one(store, handle)
    said = (await store.deliveries_of(delivery.event_id))[1:]
    assert [each.name for each in said] == [TARGET]
    assert said[0].message_id is not None
    message = await store.message(said[0].message_id)
    assert message is not None
    assert message.title == "attempt 3"
    assert await store.value("h.test", "attempts") == "3"


async def test_text_that_no_database_can_hold_is_sent_without_it(store: SqliteStore) -> None:
    async def handle(_event: dict[str, Any], ctx: Context) -> None:
        ctx.notify("ops", title="caf\udce9", body="a\0b")

    delivery, _ = await run_one(store, handle)
    said = (await store.deliveries_of(delivery.event_id))[1]
    assert said.message_id is not None
    message = await store.message(said.message_id)
    assert message is not None
    assert (message.title, message.body) == ("caf?", "a\ufffdb")


async def test_an_end_that_cannot_be_stored_is_dead_and_not_stuck(store: SqliteStore) -> None:
    async def handle(_event: dict[str, Any], ctx: Context) -> None:
        await ctx.store.set("caf\udce9", 1)

    delivery, attempts = await run_one(store, handle)
    assert delivery.state is State.DEAD
    assert delivery.reason == ("NotStorable: what the run left can't be stored: UnicodeEncodeError")
    assert len(attempts) == 1


@pytest.mark.parametrize("module", [ending, policies, retry], ids=lambda each: each.__name__)
async def test_examples_in_docstrings_hold(module: ModuleType) -> None:
    assert doctest.testmod(module).failed == 0
