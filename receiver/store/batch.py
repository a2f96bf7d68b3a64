"""Applies a batch of operations as one SQLite transaction.

The frequent operations, recording events and succeeding plainly, become one multi-row
statement each: sqlite3 lets go of the interpreter lock once per statement, and every hand-over
of that lock makes the event loop and this thread wait for each other.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

from receiver.errors import LeaseLost, StoreError, StoreUnavailable
from receiver.model import Outcome, State
from receiver.store.base import Finish, Recorded, StagedMessage
from receiver.store.driver import sqlite3
from receiver.store.operations import CallOperation, FinishOperation, RecordOperation
from receiver.store.queries import Queries
from receiver.store.writer import Operation

ROWS_PER_STATEMENT = 64
"""Rows in one multi-row insert at most: one cached statement per count, none too long to parse."""

_OUTAGES = {
    "SQLITE_FULL": "the disk is full; free some space",
    "SQLITE_BUSY": "the database is locked by another program; end it",
    "SQLITE_LOCKED": "the database is locked by another program; end it",
    "SQLITE_NOMEM": "memory is exhausted",
    "SQLITE_READONLY": "the database is read-only; check its permissions",
    "SQLITE_CANTOPEN": "the database can't be opened; check its folder's permissions",
}


class _LeaseLostInBatch(Exception):  # noqa: N818 - a signal inside this module
    """Some delivery of a multi-row success is no longer ours; find out which, one by one."""


class BatchWriter:
    """Owns the writing connection; used by the writer thread alone."""

    def __init__(
        self,
        connection: "sqlite3.Connection",
        queries: Queries,
        *,
        worker: Callable[[], int],
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self._db = connection
        self._q = queries
        self._worker = worker
        self._on_fatal = on_fatal
        self._failed: BaseException | None = None

    def apply(self, batch: Sequence[Operation]) -> None:
        """Commit the batch, or set each operation's `error`; raises nothing of SQLite's.

        A batch that fails because of one operation is tried again one by one, so that the
        fault stays with the one that has it.
        """
        try:
            self._transaction(batch)
        except Exception as error:
            self._roll_back()
            refusal = self._refusal(error)
            if refusal is None and len(batch) > 1:
                for operation in batch:
                    operation.error = None
                    self.apply([operation])
                return
            for operation in batch:
                operation.error = refusal or _as_store_error(error)

    def _transaction(self, batch: Sequence[Operation]) -> None:
        if self._failed is not None:
            raise sqlite3.OperationalError(str(self._failed)) from self._failed
        records: list[RecordOperation] = []
        finishes: list[FinishOperation] = []
        calls: list[CallOperation] = []
        for operation in batch:
            if isinstance(operation, RecordOperation):
                records.append(operation)
            elif isinstance(operation, FinishOperation):
                finishes.append(operation)
            else:
                assert isinstance(operation, CallOperation), "the only three kinds"
                calls.append(operation)
        self._db.execute("BEGIN IMMEDIATE")
        if records:
            self._record(records)
        if finishes:
            self._finish(finishes)
        for call in calls:
            self._call(call)
        self._db.execute("COMMIT")

    def _roll_back(self) -> None:
        # SQLite has already rolled back by itself after some errors (disk full, I/O).
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def _refusal(self, error: BaseException) -> StoreUnavailable | None:
        """What to answer when the fault is the machine's, not the operation's."""
        if self._failed is None and not isinstance(error, sqlite3.Error):
            return None
        name = getattr(error, "sqlite_errorname", None) or ""
        if self._failed is None and name.startswith("SQLITE_IOERR"):
            # After a failed fsync nobody knows what is on the disk; trying again would hide it
            # (https://lwn.net/Articles/752063/). The process has to end and start anew.
            self._failed = error
            self._on_fatal(error)
        if self._failed is not None:
            return StoreUnavailable(f"the store failed: {self._failed}")
        for prefix, remedy in _OUTAGES.items():
            if name.startswith(prefix):
                return StoreUnavailable(f"store: {remedy} ({error})")
        return None

    # -- events -------------------------------------------------------------------------------

    def _record(self, records: list[RecordOperation]) -> None:
        keys = [(op.event.source, op.event.dedupe_key, op.event.id, op.event.received_ms)
                for op in records]  # fmt: skip
        inserted = self._insert("insert_dedupe_keys", keys)
        if inserted != len(keys):
            records = self._without_duplicates(records)
            if not records:
                return
        # A NewEvent is, field by field, the row.
        last = self._insert_rows("insert_events", [operation.event for operation in records])
        seq = last - len(records)
        rows: list[tuple[Any, ...]] = []
        worker = self._worker()
        for operation in records:
            seq += 1
            event = operation.event
            now = event.received_ms
            for new in operation.deliveries:
                state: tuple[Any, ...]
                if operation.claimed:
                    state = ("running", 1, new.max_attempts, new.key, now, now, now, worker, None)
                else:
                    state = ("pending", 0, new.max_attempts, new.key, now, now, None, None, None)
                rows.append((seq, new.kind, new.name, *state))
            operation.result = Recorded(event.id, False, seq, range(0))
        if not rows:
            return
        last_delivery = self._insert_rows("insert_deliveries", rows)
        next_id = last_delivery - len(rows) + 1
        self._queue_behind_keys(next_id, rows)
        for operation in records:
            if operation.deliveries:
                ids = range(next_id, next_id + len(operation.deliveries))
                next_id = ids.stop
                operation.result = operation.result._replace(delivery_ids=ids)

    def _without_duplicates(self, records: list[RecordOperation]) -> list[RecordOperation]:
        """Answer those whose key another event holds; return the others."""
        fresh: list[RecordOperation] = []
        for operation in records:
            event = operation.event
            (first_id,) = self._db.execute(
                self._q["find_dedupe_key"], (event.source, event.dedupe_key)
            ).fetchone()
            if first_id == event.id:
                fresh.append(operation)
            else:
                self._db.execute(self._q["count_duplicate"], (event.source, event.dedupe_key))
                operation.result = Recorded(first_id, True, 0, range(0))
        return fresh

    def _queue_behind_keys(self, first_id: int, rows: Sequence[tuple[Any, ...]]) -> None:
        keyed = [first_id + index for index, row in enumerate(rows) if row[6] is not None]
        if keyed:
            self._db.execute(self._q["queue_behind_key"], (json.dumps(keyed),))

    # -- attempts -----------------------------------------------------------------------------

    def _finish(self, operations: list[FinishOperation]) -> None:
        now = int(time.time() * 1000)
        plain: list[Finish] = []
        for operation in operations:
            if _is_plain(operation.finish):
                plain.append(operation.finish)
            else:
                self._finish_one(operation, now)
        if plain:
            moved = self._db.execute(
                self._q["succeed"],
                (now, json.dumps([finish.delivery_id for finish in plain]), self._worker()),
            ).rowcount
            if moved != len(plain):
                if len(operations) > 1:
                    raise _LeaseLostInBatch
                operations[0].error = _lease_lost(plain[0])
                return
            # delivery_id, number, started_ms, duration_ms, and an outcome for each.
            self._insert(
                "insert_attempts", [(*finish[:4], Outcome.DELIVERED.value) for finish in plain]
            )

    def _finish_one(self, operation: FinishOperation, now: int) -> None:
        finish = operation.finish
        finalized = now if finish.state.is_final else None
        parameters = (finish.state.value, finalized, finish.due_ms, finish.reason,
                      finish.delivery_id, self._worker(), finish.number)  # fmt: skip
        if self._db.execute(self._q["finish"], parameters).rowcount != 1:
            # Nothing was changed, so the rest of the batch may go on.
            operation.error = _lease_lost(finish)
            return
        self._db.execute(
            self._q["insert_attempt"],
            (finish.delivery_id, finish.number, finish.started_ms, finish.duration_ms,
             finish.outcome.value, finish.error_class, finish.error, finish.traceback,
             finish.status_code),
        )  # fmt: skip
        if finish.messages or finish.values:
            self._keep_what_was_staged(finish, now)
        if finish.key is not None and finish.state.is_final:
            self._pass_turn(finish.delivery_id)

    def _keep_what_was_staged(self, finish: Finish, now: int) -> None:
        event_seq, name, priority, replay_id = self._db.execute(
            self._q["delivery_of_message"], (finish.delivery_id,)
        ).fetchone()
        for staged in finish.messages:
            message_id = self._insert_message(finish.delivery_id, staged)
            for new in staged.deliveries:
                self._db.execute(
                    self._q["insert_message_delivery"],
                    (event_seq, new.name, priority, new.max_attempts, new.key,
                     now, now, message_id, replay_id),
                )  # fmt: skip
        for key, value in finish.values.items():
            if value is None:
                self._db.execute(self._q["delete_value"], (name, key))
            else:
                self._db.execute(self._q["set_value"], (name, key, value, now))

    def _insert_message(self, delivery_id: int, staged: StagedMessage) -> int:
        message = staged.message
        message_id = self._db.execute(
            self._q["insert_message"],
            (delivery_id, message.channel, message.title, message.body,
             message.severity.value, message.format),
        ).lastrowid  # fmt: skip
        assert message_id is not None, "an insert has a row id"
        for position, attachment in enumerate(message.attachments):
            self._db.execute(
                self._q["insert_attachment"],
                (message_id, position, attachment.name, attachment.content_type,
                 attachment.content),
            )  # fmt: skip
        return message_id

    def _pass_turn(self, delivery_id: int) -> None:
        name, key = self._db.execute(self._q["name_and_key"], (delivery_id,)).fetchone()
        self._db.execute(self._q["pass_turn_of_key"], (name, key))

    # -- the rest -----------------------------------------------------------------------------

    def _call(self, operation: CallOperation) -> None:
        self._db.execute("SAVEPOINT call")
        try:
            operation.result = operation.call(self._db)
        except StoreError as error:
            self._db.execute("ROLLBACK TO call")
            operation.error = error
        self._db.execute("RELEASE call")

    def _insert(self, name: str, rows: Sequence[tuple[Any, ...]]) -> int:
        """Insert rows by multi-row statements; how many went in."""
        return sum(cursor.rowcount for cursor in self._statements(name, rows))

    def _insert_rows(self, name: str, rows: Sequence[tuple[Any, ...]]) -> int:
        """Insert rows; the id of the last. Ids of one transaction's inserts are consecutive."""
        last: int | None = None
        for cursor in self._statements(name, rows):
            last = cursor.lastrowid
        assert last is not None, "there is at least one row"
        return last

    def _statements(self, name: str, rows: Sequence[tuple[Any, ...]]) -> Iterator["sqlite3.Cursor"]:
        for start in range(0, len(rows), ROWS_PER_STATEMENT):
            some = rows[start : start + ROWS_PER_STATEMENT]
            yield self._db.execute(self._q.rows(name, len(some)), list(chain.from_iterable(some)))


def _is_plain(finish: Finish) -> bool:
    """Whether nothing but the first attempt's success is to be written."""
    return (
        finish.state is State.SUCCEEDED
        and finish.number == 1
        and finish.key is None
        and finish.reason is None
        and not finish.messages
        and not finish.values
        and finish.status_code is None
    )


def _lease_lost(finish: Finish) -> LeaseLost:
    return LeaseLost(
        f"delivery {finish.delivery_id}, attempt {finish.number}: taken over by another worker "
        "or by hand while it ran; this run's result is void"
    )


def _as_store_error(error: BaseException) -> StoreError:
    return error if isinstance(error, StoreError) else StoreError(f"store: {error}")
