"""What callers hand to the writer thread, one class per kind of change."""

import asyncio
from collections.abc import Callable
from typing import Any

from receiver.model import NewEvent
from receiver.store.base import Finish, Recorded
from receiver.store.driver import sqlite3

BatchRow = tuple[Any, ...]
"""A row of the view `batch`: the operation's name, an id and nine values (`queries.sql`)."""


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

    __slots__ = ("committed", "event", "fresh", "has_turns", "rows")

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
        self.has_turns = len(rows) > 1 + len(result.delivery_ids)
        """Whether it has more rows than its event and its deliveries: turns of their keys."""
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
