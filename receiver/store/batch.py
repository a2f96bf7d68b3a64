"""Applies a batch of operations as one SQLite transaction.

Recording an event and plain success are rows of one multi-row INSERT (`batch_view` in
`queries.sql` says why and how). When a batch has nothing else, that statement is the whole
transaction.
"""

import time
from collections.abc import Callable, Sequence
from itertools import chain

from receiver.errors import LeaseLost, StoreError, StoreUnavailable
from receiver.model import State
from receiver.store.base import Finish, Recorded
from receiver.store.dead_events import DeadEvents
from receiver.store.driver import sqlite3
from receiver.store.finishing import Finisher
from receiver.store.opening import BUSY_TIMEOUT_SECONDS
from receiver.store.operations import BatchRow, CallOperation, FinishOperation, RecordOperation
from receiver.store.queries import Queries
from receiver.store.writer import Operation

ROWS_PER_STATEMENT = 256
_BUSY_LOOK_SECONDS = 0.0005
_STEP = 8
"""Rows are filled up to a multiple of this, so that few statements are ever compiled."""
_NO_ROW: BatchRow = ("", *(0,) * 10)

_DISK_FULL = "the disk is full; free some space"
_OUTAGES = {
    "SQLITE_FULL": _DISK_FULL,
    "SQLITE_IOERR_SHMSIZE": _DISK_FULL,
    "SQLITE_IOERR_NOMEM": "memory is exhausted",
    "SQLITE_BUSY": "the database is locked by another program; end it",
    "SQLITE_LOCKED": "the database is locked by another program; end it",
    "SQLITE_PROTOCOL": "the database is locked by another program; end it",
    "SQLITE_NOMEM": "memory is exhausted",
    "SQLITE_READONLY": "the database is read-only; check its permissions",
    "SQLITE_CANTOPEN": "the database can't be opened; check its folder's permissions",
}
"""Faults that pass, each with its remedy."""

_FATAL = ("SQLITE_IOERR", "SQLITE_CORRUPT", "SQLITE_NOTADB")
"""After a failed fsync nobody knows what is on the disk, and trying again would hide it
(https://lwn.net/Articles/752063/): the process has to end and start anew."""

CHECKPOINT_SECONDS = 60.0
"""How often a statement of ours moves the WAL in. SQLite's own checkpoints, after a commit, keep
their errors to themselves: on a disk that fails in them the WAL would grow, and nobody know."""


class BatchWriter:
    """Owns the writing connection; used by the writer thread alone."""

    def __init__(
        self,
        connection: "sqlite3.Connection",
        queries: Queries,
        *,
        finisher: Finisher,
        dead_events: DeadEvents,
        on_fatal: Callable[[BaseException], None],
        on_full: Callable[[], None] = lambda: None,
    ) -> None:
        self._db = connection
        self._q = queries
        self._finisher = finisher
        self._dead_events = dead_events
        self._on_fatal = on_fatal
        self._on_full = on_full
        self._failed: BaseException | None = None
        self._mode = "PASSIVE"
        self._checkpoint_at = time.monotonic() + CHECKPOINT_SECONDS
        self.busy_seconds = BUSY_TIMEOUT_SECONDS
        """How long a batch waits while another process writes."""
        for name in ("batch_view", "batch_event", "batch_seen", "batch_delivery", "batch_turn",
                     "batch_success"):  # fmt: skip
            connection.execute(queries[name])

    def apply(self, batch: Sequence[Operation]) -> None:
        """Commit the batch, or set each operation's `error`; raises nothing of SQLite's.

        A batch that fails because of one operation is tried again in halves, so that the fault
        stays with the one that has it.
        """
        self._apply(batch)
        if time.monotonic() >= self._checkpoint_at:
            self._checkpoint()

    def shrink_log(self) -> None:
        """With the next batch move the WAL in, and cut it to nothing if no reader needs it."""
        self._mode = "TRUNCATE"
        self._checkpoint_at = 0.0

    def _checkpoint(self) -> None:
        self._checkpoint_at = time.monotonic() + CHECKPOINT_SECONDS
        mode, self._mode = self._mode, "PASSIVE"
        try:
            self._db.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()
        except sqlite3.Error as error:
            self._refusal(error)  # what is no failure of the disk may pass: the WAL holds it all

    def _apply(self, batch: Sequence[Operation]) -> None:
        try:
            self._transaction_in_turn(batch)
        except Exception as error:
            self._roll_back()
            refusal = self._refusal(error)
            if refusal is None and len(batch) > 1:
                self._apply_in_halves(batch)
                return
            for operation in batch:
                # One exception each: who raises it adds its own frames to it.
                operation.error = (
                    _as_store_error(error) if refusal is None else StoreUnavailable(refusal)
                )

    def _transaction_in_turn(self, batch: Sequence[Operation]) -> None:
        """`_transaction`, as soon as no other process writes.

        SQLite's own way to wait sleeps for up to 100 ms at a time: behind a busy process a
        writer would come to nothing. A transaction that has begun is never refused as busy, so
        nothing is done twice.
        """
        give_up_at: float | None = None
        while True:
            try:
                self._transaction(batch)
            except sqlite3.OperationalError as error:
                if not _errorname(error).startswith("SQLITE_BUSY"):
                    raise
                now = time.monotonic()
                give_up_at = give_up_at or now + self.busy_seconds
                if now >= give_up_at:
                    raise
                self._roll_back()
                time.sleep(_BUSY_LOOK_SECONDS)
            else:
                return

    def _apply_in_halves(self, batch: Sequence[Operation]) -> None:
        for operation in batch:
            operation.error = None
            if isinstance(operation, RecordOperation):
                # It may have been the duplicate of one that is rolled back now.
                operation.result = operation.fresh
        middle = len(batch) // 2
        self._apply(batch[:middle])
        self._apply(batch[middle:])

    def _transaction(self, batch: Sequence[Operation]) -> None:
        if self._failed is not None:
            raise sqlite3.OperationalError(str(self._failed)) from self._failed
        records: list[RecordOperation] = []
        successes: list[FinishOperation] = []
        others: list[FinishOperation | CallOperation] = []
        for operation in batch:
            if isinstance(operation, RecordOperation):
                records.append(operation)
            elif isinstance(operation, FinishOperation) and _is_plain(operation.finish):
                successes.append(operation)
            else:
                assert isinstance(operation, FinishOperation | CallOperation), "the only kinds"
                others.append(operation)
        rows = self._rows(records, successes)
        is_alone = not others and len(rows) <= ROWS_PER_STATEMENT
        if not is_alone:
            self._db.execute("BEGIN IMMEDIATE")
        changes = self._db.total_changes
        for start in range(0, len(rows), ROWS_PER_STATEMENT):
            self._insert(rows[start : start + ROWS_PER_STATEMENT])
        expected = len(rows) + len(records) + len(successes)
        has_more = any(operation.has_more for operation in records)
        if has_more or self._db.total_changes - changes != expected:
            # An event and a success change two rows each; something was not new, or not ours.
            # A turn of a key may change none, or two, which would hide that; so may a count.
            self._find_duplicates(records)
            self._find_lost(successes)
        self._dead_events.begin()
        for other in others:
            self._apply_other(other)
        if not is_alone:
            self._db.execute("COMMIT")
            self._dead_events.committed()

    def _rows(
        self, records: Sequence[RecordOperation], successes: Sequence[FinishOperation]
    ) -> list[BatchRow]:
        rows = list(chain.from_iterable([operation.rows for operation in records]))
        now, worker = int(time.time() * 1000), self._finisher.worker()
        rows += [
            # delivery_id; number, started_ms and duration_ms
            ("success", *operation.finish[:4], now, worker, 0, 0, 0, 0)
            for operation in successes
        ]
        return rows

    def _insert(self, rows: list[BatchRow]) -> None:
        rows += [_NO_ROW] * (-len(rows) % _STEP)
        self._db.execute(self._q.rows("insert_batch", len(rows)), list(chain.from_iterable(rows)))

    def _find_duplicates(self, records: Sequence[RecordOperation]) -> None:
        for operation in records:
            event = operation.event
            row = self._db.execute(
                self._q["find_dedupe_key"], (event.source, event.dedupe_key)
            ).fetchone()
            if row is not None and row[0] != event.id:
                operation.result = Recorded(row[0], True, 0, ())

    def _find_lost(self, successes: Sequence[FinishOperation]) -> None:
        for operation in successes:
            finish = operation.finish
            row = self._db.execute(
                self._q["find_attempt"], (finish.delivery_id, finish.number, finish.started_ms)
            ).fetchone()
            if row is None:
                operation.error = lease_lost(finish)

    def _apply_other(self, operation: FinishOperation | CallOperation) -> None:
        if isinstance(operation, FinishOperation):
            if not self._finisher.finish(operation.finish):
                # Nothing was changed, so the rest of the batch may go on.
                operation.error = lease_lost(operation.finish)
            return
        self._db.execute("SAVEPOINT call")
        try:
            operation.result = operation.call(self._db)
        except StoreError as error:
            self._db.execute("ROLLBACK TO call")
            operation.error = error
        self._db.execute("RELEASE call")

    def _roll_back(self) -> None:
        # SQLite has already rolled back by itself after some errors (disk full, I/O).
        if not self._db.in_transaction:
            return
        try:
            self._db.execute("ROLLBACK")
        except sqlite3.Error as error:
            # Else the next batch would be written, and acknowledged, in a transaction that
            # nobody commits.
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if self._failed is None:
            self._failed = error
            self._on_fatal(error)

    def _refusal(self, error: BaseException) -> str | None:
        """What to answer when the fault is the machine's, not the operation's."""
        name = "SQLITE_NOMEM" if isinstance(error, MemoryError) else _errorname(error)
        outage = next((_OUTAGES[each] for each in _OUTAGES if name.startswith(each)), None)
        if outage is None and name.startswith(_FATAL):
            self._fail(error)
        if outage == _DISK_FULL:
            self._on_full()
        if self._failed is not None:
            return f"the store failed: {self._failed}"
        return None if outage is None else f"store: {outage} ({error})"


def _is_plain(finish: Finish) -> bool:
    """Whether nothing but the first attempt's success is to be written."""
    return (
        finish.state is State.SUCCEEDED
        and finish.number == 1
        and finish.key is None
        and finish.reason is None
        and not finish.messages
        and not finish.deliveries
        and not finish.cancels
        and not finish.values
        and finish.rest_until_ms is None
        and finish.status_code is None
    )


def lease_lost(finish: Finish) -> LeaseLost:
    """The error for an attempt whose delivery is another's by now."""
    return LeaseLost(
        f"delivery {finish.delivery_id}, attempt {finish.number}: taken over by another worker "
        "or by hand while it ran; this run's result is void"
    )


def _errorname(error: BaseException) -> str:
    return getattr(error, "sqlite_errorname", None) or ""


def _as_store_error(error: BaseException) -> StoreError:
    if isinstance(error, StoreError):
        return error
    wrapped = StoreError(f"store: {error}")
    wrapped.__cause__ = error
    return wrapped
