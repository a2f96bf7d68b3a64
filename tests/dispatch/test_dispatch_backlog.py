"""The backlog's bound: with and without a dispatcher, and with other processes at work."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from dispatch_parts import event, intake_of, lane, send, succeed, until
from structlog.testing import capture_logs

from receiver.dispatch import Dispatcher, DispatchIntake
from receiver.dispatch import backlog as backlog_module
from receiver.dispatch.backlog import Backlog
from receiver.errors import StoreError, StoreUnavailable
from receiver.model import State
from receiver.store.sqlite import SqliteStore

pytestmark = pytest.mark.anyio


def on_test() -> Callable[..., Any]:
    from receiver import on  # noqa: PLC0415 - beside its only use

    def test(event: dict[str, Any]) -> None: ...

    return on("*", name="h.test")(test)


def receiving_only(store: SqliteStore, most: int) -> tuple[DispatchIntake, Backlog]:
    """An intake as in a process that only receives."""
    dispatcher = Dispatcher(store, [lane(succeed)])
    planner = intake_of(store, dispatcher, on_test()).planner
    backlog = Backlog(store, most=most)
    return DispatchIntake(store, planner, None, backlog), backlog


async def test_without_a_dispatcher_events_past_the_bound_are_refused(store: SqliteStore) -> None:
    intake, backlog = receiving_only(store, 3)
    for _ in range(3):
        await intake.accept(event(), {})
    with pytest.raises(
        StoreUnavailable, match=r"3 deliveries wait, store\.max_backlog is 3"
    ) as got:
        intake.accept(event(), {})
    assert got.value.retry_after_seconds > 0
    assert (await store.count_states()) == {State.PENDING: 3}
    assert backlog.is_full


async def test_what_makes_no_deliveries_is_taken_all_the_same(store: SqliteStore) -> None:
    intake, backlog = receiving_only(store, 1)
    await intake.accept(event(), {})
    assert backlog.is_full
    assert (await intake.accept(event(), None)).event_id


async def test_what_other_processes_add_and_finish_is_known_soon(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog_module, "COUNT_SECONDS", 0.01)
    monkeypatch.setattr(backlog_module, "NEAR_SECONDS", 0.01)
    monkeypatch.setattr(backlog_module, "_REST", 1)
    intake, backlog = receiving_only(store, 2)
    counting = asyncio.ensure_future(backlog.keep_counting(lambda: 0))
    ids = [await send(store, "h.test") for _ in range(2)]  # another process's
    await until(lambda: backlog.is_full)
    with pytest.raises(StoreUnavailable):
        intake.accept(event(), {})
    await store.discard(ids, reason="done elsewhere", now_ms=1)
    await until(lambda: not backlog.is_full)
    await intake.accept(event(), {})
    counting.cancel()
    await asyncio.gather(counting, return_exceptions=True)


async def test_what_changes_while_it_counts_is_not_forgotten(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    backlog = Backlog(store, most=10)
    counted, go_on = asyncio.Event(), asyncio.Event()
    count = store.backlog

    async def slow() -> int:
        found = await count()
        counted.set()
        await go_on.wait()
        return found

    monkeypatch.setattr(store, "backlog", slow)
    counting = asyncio.ensure_future(backlog.refresh(running=2))
    await counted.wait()
    backlog.change(3)
    go_on.set()
    await counting
    assert backlog.count == 5


async def test_a_duplicate_is_not_counted(store: SqliteStore) -> None:
    intake, backlog = receiving_only(store, 10)
    same = event()
    await intake.accept(same, {})
    assert (await intake.accept(same._replace(id="evt_other"), {})).is_duplicate  # type: ignore[arg-type]
    assert backlog.count == 1


async def test_an_outage_of_the_store_is_told_once(store: SqliteStore) -> None:
    backlog = Backlog(store, most=1)
    with capture_logs() as logs:
        for _ in range(3):
            backlog.note_uncounted(StoreError("gone"))
        backlog.note_counted()
        backlog.note_uncounted(StoreError("gone again"))
    assert [line["error"] for line in logs] == ["gone", "gone again"]
