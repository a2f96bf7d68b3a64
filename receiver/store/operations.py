"""What callers hand to the writer thread, one class per kind of change."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from receiver.model import DeliveryId, NewDelivery, NewEvent
from receiver.store.base import Finish, Recorded
from receiver.store.driver import sqlite3

BatchRow = tuple[Any, ...]
"""A row of the view `batch`: the operation's name, an id and nine values (`queries.sql`)."""


def rows_of(
    event: NewEvent,
    deliveries: Sequence[NewDelivery],
    next_number: Callable[[], int],
    *,
    claimed_by: int = 0,
) -> tuple[list[BatchRow], Recorded]:
    """An event and its deliveries as rows, and what its caller gets if it is no duplicate.

    With `claimed_by` the deliveries are that worker's, at their first attempt.
    """
    seq, now = next_number(), event.received_ms
    # `batch_view` in queries.sql says what stands for NULL, and why not None and bytes.
    rows: list[BatchRow] = [
        ("event", seq, event.id, event.source, event.type, now, bytearray(event.body),
         event.headers, event.message_id or "",
         -1 if event.secret_index is None else event.secret_index,
         bytearray(event.dedupe_key))
    ]  # fmt: skip
    if event.duplicates:
        rows.append(("seen", 0, event.id, event.source, event.duplicates, 0, 0, 0, 0, 0,
                     bytearray(event.dedupe_key)))  # fmt: skip
    attempts, started = (1, now) if claimed_by else (0, 0)
    ids: list[DeliveryId] = []
    for new in deliveries:
        delivery_id = DeliveryId(next_number())
        ids.append(delivery_id)
        steps_aside = new.steps_aside and new.key is not None
        rows.append(("aside" if steps_aside else "delivery", delivery_id, seq, new.kind,
                     new.name, attempts, new.max_attempts, new.key or "", now, started,
                     claimed_by))  # fmt: skip
        if steps_aside:
            rows.append(("turn", 0, 0, 0, new.name, 0, 0, new.key, now, 0, 0))
    return rows, Recorded(event.id, False, seq, ids)


class Awaited:
    """An operation whose caller awaits `future`."""

    __slots__ = ("error", "future", "result")

    def __init__(self, future: "asyncio.Future[Any]") -> None:
        self.future = future
        self.result: Any = None
        self.error: BaseException | None = None

    def done(self) -> None:
        """Resolve the future, unless its caller has gone away: the change stays committed."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class RecordOperation(Awaited):
    """Record one event and its deliveries; the result is a `Recorded`."""

    __slots__ = ("committed", "event", "fresh", "has_more", "rows")

    def __init__(
        self,
        future: "asyncio.Future[Recorded]",
        event: NewEvent,
        rows: list[BatchRow],
        result: Recorded,
        committed: Callable[[Recorded | None], None] | None,
    ) -> None:
        super().__init__(future)
        self.event = event
        self.rows = rows
        self.has_more = len(rows) > 1 + len(result.delivery_ids)
        """Whether it has more rows than its event and its deliveries: turns of their keys, or how
        often it was seen."""
        self.fresh = result
        """What the caller gets, unless the event turns out to be a duplicate."""
        self.result = result
        self.committed = committed

    def done(self) -> None:
        """Tell the dispatcher, even if the caller has gone away, then the caller."""
        if self.committed is not None:
            self.committed(None if self.error is not None else self.result)
        super().done()


class CallOperation(Awaited):
    """Run `call(connection)` inside the transaction; the result is what it returns."""

    __slots__ = ("call",)

    def __init__(
        self, future: "asyncio.Future[Any]", call: Callable[["sqlite3.Connection"], Any]
    ) -> None:
        super().__init__(future)
        self.call = call


class FinishOperation:
    """End an attempt; `callback` hears of it, no task waits."""

    __slots__ = ("callback", "error", "finish", "result")

    def __init__(self, finish: Finish, callback: Callable[[BaseException | None], None]) -> None:
        self.finish = finish
        self.callback = callback
        self.result: object = None
        self.error: BaseException | None = None

    def done(self) -> None:
        """Tell the callback whether the end was committed."""
        self.callback(self.error)
