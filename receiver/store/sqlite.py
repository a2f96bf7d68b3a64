"""The Store on one SQLite file: WAL, `synchronous=FULL`, one writer, several readers.

Four ways to open it. The *owner* (a server, or a command when no server runs) holds the lock
beside the file; a *worker* does not, and runs deliveries beside an owner or without one. Both
take up what dead ones left running. A *guest* writes beside them: commands that add deliveries
or change them. A *reader* only looks.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

import structlog

from receiver.errors import StoreError, StoreLocked
from receiver.holds import Hold
from receiver.model import (
    Acknowledgement,
    DeliveryId,
    EventId,
    NewDelivery,
    NewEvent,
    Silence,
    Token,
)
from receiver.store import acknowledging, changes, holding, pruning, silencing, tokens
from receiver.store.alive import LifeLock
from receiver.store.base import (
    Acknowledged,
    CancelHeld,
    Claims,
    FallBack,
    Finish,
    HeldGroup,
    MakeDigest,
    OnDead,
    OpenCircuit,
    Recorded,
    Rejection,
)
from receiver.store.batch import BatchWriter
from receiver.store.claims import claim_due, load_claims, take_lane
from receiver.store.dead_events import DeadEvents
from receiver.store.driver import sqlite3
from receiver.store.files import OWNER_PATIENCE_SECONDS, OwnerLock, create_private
from receiver.store.finishing import Finisher
from receiver.store.ids import Numbers, first_id_at
from receiver.store.opening import check_readable, connect_reader, connect_writer, explain_open
from receiver.store.operations import CallOperation, FinishOperation, RecordOperation, rows_of
from receiver.store.ownership import already_served
from receiver.store.queries import Queries
from receiver.store.reads import SqliteReads
from receiver.store.sharing import can_share, why_alone
from receiver.store.workers import LEASE_SECONDS, Leases
from receiver.store.writer import GroupWriter

T = TypeVar("T")

Role = Literal["owner", "worker", "guest", "reader"]

log = structlog.get_logger("receiver.store")

READERS = 2


class SqliteStore(SqliteReads):
    """See `receiver.store.base.Store` for the contract of each method."""

    def __init__(
        self,
        path: Path,
        *,
        role: Role = "owner",
        max_rejections: int = 1000,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self.path = path
        self.role = role
        self._max_rejections = max_rejections
        self._lease_seconds = lease_seconds
        self.on_fatal: Callable[[BaseException], None] | None = None
        """Called on the loop when the disk fails so that nothing can be trusted any more."""
        self.on_dead: OnDead | None = None
        self.fall_back: FallBack | None = None
        self.on_dead_told: Callable[[int], None] | None = None
        self.on_full: Callable[[], None] = lambda: None
        """Called on the writer's thread when a write finds the disk full; set before `open`."""
        self._queries = Queries.load("queries.sql")
        self._lock = OwnerLock(path)
        self._life = LifeLock(self._lock.path)
        self._leases: Leases | None = None
        self._numbers = self._writers_numbers = Numbers(0)
        self._writer: GroupWriter | None = None
        self._batches: BatchWriter | None = None
        self._connection: sqlite3.Connection | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._next_slice = 0
        super().__init__(
            ThreadPoolExecutor(READERS, thread_name_prefix="store-reader"),
            partial(connect_reader, path),
            Queries.load("reads.sql"),
        )

    # -- opening and closing ------------------------------------------------------------------

    async def open(self) -> None:
        """Open; see `Store.open`."""
        self._loop = asyncio.get_running_loop()
        if self.role == "reader":
            await asyncio.to_thread(check_readable, self.path)
            return
        try:
            writer = await asyncio.to_thread(self._open_writer)
            writer.start()
            number, largest = await self.write(self._take_part)
        except BaseException:
            await self.close()
            raise
        self._numbers = Numbers(number, after=largest)

    def _open_writer(self) -> GroupWriter:
        try:
            create_private(self.path)
            has_lock = self._choose_role()
        except OSError as error:
            raise StoreError(explain_open(self.path, error)) from error
        self._connection = connect_writer(self.path, may_migrate=has_lock)
        if self._may_share:
            self._lock.release()  # it kept a server from starting while the schema changed
        dead_events = DeadEvents(
            self._queries,
            on_dead=lambda: self.on_dead,
            fall_back=lambda: self.fall_back,
            next_number=self._next_number,
            told=self._tell_of_dead,
        )
        self._leases = Leases(
            self._queries, self._life, dead_events.tell_of, lease_seconds=self._lease_seconds
        )
        finisher = Finisher(
            self._connection,
            self._queries,
            worker=lambda: self.worker_id,
            next_number=self._next_number,
            dead_events=dead_events,
        )
        self._batches = BatchWriter(
            self._connection,
            self._queries,
            finisher=finisher,
            dead_events=dead_events,
            on_fatal=self._fatal,
            on_full=self.on_full,
        )
        self._writer = GroupWriter(self._batches.apply, name="store-writer")
        return self._writer

    def _choose_role(self) -> bool:
        """Take the lock if it is free, which an owner needs; whether it was.

        Without it only those go on who may write beside its holder.
        """
        patience = OWNER_PATIENCE_SECONDS if self.role == "owner" else 0.0
        has_lock = self._lock.take(patience_seconds=patience)
        if has_lock or self._may_share:
            return has_lock
        if self.role == "owner":
            raise StoreLocked(already_served(self.path, self._lock))
        pid = self._lock.owner_pid()
        raise StoreLocked(f"{self.path}: process {pid} is writing to this database, {why_alone()}")

    @property
    def _may_share(self) -> bool:
        if self.role == "owner":
            return False
        return can_share(runs_deliveries=self.role == "worker")

    def _take_part(self, db: "sqlite3.Connection") -> tuple[int, int]:
        """Become a worker, as the owner; the number that keeps our ids apart from others', and
        the largest one that was given before.
        """
        assert self._leases is not None, "whoever writes has leases"
        is_guest = self.role == "guest"
        number = self._leases.draw_number(db) if is_guest else self._leases.register(db)
        # Before the rescue: what it finds dead is told by events, which have numbers.
        ((largest,),) = db.execute(self._queries["largest_number"]).fetchall()
        self._writers_numbers = Numbers(number, even=False, after=largest)
        if self.role == "owner":
            self._leases.rescue_as_owner(db)
        return number, largest

    async def close(self) -> None:
        """Close; see `Store.close`. Harmless when it is closed, or has failed to open."""
        try:
            if self._writer is not None:
                await self._stop_writing(self._writer)
        finally:
            # The last connection to close moves the WAL into the database, and readers may not.
            await self.close_readers()
            connection, self._connection = self._connection, None
            if connection is not None:
                await asyncio.to_thread(connection.close)
            self._life.release()
            self._lock.release()

    async def _stop_writing(self, writer: GroupWriter) -> None:
        try:
            if self._leases is not None and self.worker_id:
                await self.write(self._leases.unregister)
        except StoreError as error:
            # Not fatal: the next owner takes up what a dead one had.
            log.warning("store.not_unregistered", error=str(error))
        finally:
            await writer.stop()

    def _next_number(self) -> int:
        """For the writer's thread alone; `_numbers` is the loop's."""
        return self._writers_numbers.next()

    def _tell_of_dead(self, deliveries: int) -> None:
        if self.on_dead_told is not None and self._loop is not None:
            # A loop that is closed already has nobody left to be told.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self.on_dead_told, deliveries)

    def _fatal(self, error: BaseException) -> None:
        if self.on_fatal is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self.on_fatal, error)

    # -- writing ------------------------------------------------------------------------------

    @property
    def worker_id(self) -> int:
        """This process's number among the workers; 0 when it may not claim."""
        return self._leases.worker_id if self._leases is not None else 0

    def record(
        self,
        event: NewEvent,
        deliveries: Sequence[NewDelivery],
        *,
        claimed: bool = False,
        committed: Callable[[Recorded | None], None] | None = None,
    ) -> Awaitable[Recorded]:
        """Commit an event; see `Store.record`."""
        assert self._loop is not None, "open() first"
        assert self._writer is not None, "a reader can't record"
        rows, result = rows_of(
            event, deliveries, self._numbers.next, claimed_by=self.worker_id if claimed else 0
        )
        future: asyncio.Future[Recorded] = self._loop.create_future()
        self._writer.put(RecordOperation(future, event, rows, result, committed))
        return future

    def finish(self, finish: Finish, done: Callable[[BaseException | None], None]) -> None:
        """Commit an attempt's end; see `Store.finish`."""
        assert self._writer is not None, "a reader can't finish"
        self._writer.put(FinishOperation(finish, done))

    async def write(self, call: Callable[["sqlite3.Connection"], T]) -> T:
        """Run `call` on the writer's connection, inside a transaction with others."""
        assert self._loop is not None, "open() first"
        assert self._writer is not None, "a reader can't write"
        future: asyncio.Future[T] = self._loop.create_future()
        self._writer.put(CallOperation(future, call))
        return await future

    async def shrink_log(self) -> None:
        """Move the write-ahead log into the database, and give back its room if nobody reads."""
        assert self._batches is not None, "a reader has no log to shrink"
        self._batches.shrink_log()
        await self.write(lambda _db: None)

    async def claim(
        self,
        wants: Mapping[str, int],
        *,
        now_ms: int,
        alone: Collection[str] = (),
        replays: Mapping[str, int] | None = None,
    ) -> Claims:
        """Claim due deliveries; see `Store.claim`."""
        worker, queries = self.worker_id, self._queries
        ids, elsewhere = await self.write(
            lambda db: claim_due(
                db,
                queries,
                worker=worker,
                wants=wants,
                now_ms=now_ms,
                alone=alone,
                replays=wants if replays is None else replays,
            )
        )
        if not ids:
            return Claims(elsewhere=elsewhere)
        # Committed: what follows only reads, so it need not hold up the writer.
        try:
            claims = await self.read(lambda db: load_claims(db, queries, ids))
        except Exception:
            await self.release(ids)  # or they would be nobody's as long as we live
            raise
        return Claims(claims, elsewhere=elsewhere)

    async def release(self, ids: Sequence[int], *, due_ms: int | None = None) -> None:
        """Give claims back; see `Store.release`."""
        worker, queries = self.worker_id, self._queries
        await self.write(
            lambda db: changes.release(db, queries, worker=worker, ids=ids, due_ms=due_ms)
        )

    async def heartbeat(self) -> int:
        """Extend the lease, rescue from the dead; see `Store.heartbeat`."""
        assert self._leases is not None, "a reader has no lease"
        return await self.write(self._leases.beat)

    async def has_dead_workers(self) -> bool:
        """Look for the dead; see `Store.has_dead_workers`."""
        assert self._leases is not None, "a reader knows no worker"
        return bool(await self.read(self._leases.find_dead))

    async def take_lane(self, name: str) -> bool:
        """Take a lane for this worker alone; see `Store.take_lane`."""
        worker, queries = self.worker_id, self._queries
        return await self.write(lambda db: take_lane(db, queries, name, worker=worker))

    async def save_circuit(self, circuit: OpenCircuit) -> None:
        """Keep how a circuit stands; see `Store.save_circuit`."""
        queries = self._queries
        await self.write(lambda db: db.execute(queries["save_circuit"], circuit))

    async def reject(self, rejection: Rejection) -> None:
        """Keep a refused request; see `Store.reject`."""
        queries, keep = self._queries, self._max_rejections
        await self.write(lambda db: changes.reject(db, queries, rejection, keep=keep))

    async def replay(
        self,
        *,
        author: str,
        selection: str,
        deliveries: Iterable[tuple[EventId, Sequence[NewDelivery]]] = (),
        rest: str | None = None,
        is_quiet: bool = False,
        now_ms: int | None = None,
    ) -> int:
        """Record a replay; see `Store.replay`."""
        queries, now = self._queries, now_ms or int(time.time() * 1000)
        rows = list(deliveries)
        return await self.write(
            lambda db: changes.replay(
                db,
                queries,
                author=author,
                selection=selection,
                deliveries=rows,
                rest=rest,
                is_quiet=is_quiet,
                now_ms=now,
                next_number=self._next_number,
            )
        )

    async def extend_replay(
        self,
        replay_id: int,
        *,
        was: str,
        rest: str | None,
        is_open: bool = True,
        deliveries: Iterable[tuple[EventId, Sequence[NewDelivery]]] = (),
        now_ms: int | None = None,
    ) -> bool:
        """Add to a replay; see `Store.extend_replay`."""
        queries, now = self._queries, now_ms or int(time.time() * 1000)
        rows = list(deliveries)
        return await self.write(
            lambda db: changes.extend_replay(
                db,
                queries,
                replay_id,
                was=was,
                rest=rest,
                is_open=is_open,
                deliveries=rows,
                now_ms=now,
                next_number=self._next_number,
            )
        )

    async def take_over_replay(self, replay_id: int, *, before_ms: int, now_ms: int) -> bool:
        """Add to a replay from now on; see `Store.take_over_replay`."""
        sql = self._queries["take_over_replay"]
        return await self.write(
            lambda db: db.execute(sql, (replay_id, before_ms, now_ms)).rowcount == 1
        )

    async def link_key(self) -> bytes:
        """The key of the links; see `Store.link_key`."""
        return await self.write(acknowledging.link_key)

    async def acknowledge(self, new: Acknowledgement) -> Acknowledged | None:
        """Keep who takes care of an event; see `Store.acknowledge`."""
        return await self.write(lambda db: acknowledging.acknowledge(db, new))

    async def add_token(self, new: Token, digest: bytes) -> int | None:
        """Keep a new token; see `Store.add_token`."""
        return await self.write(lambda db: tokens.add(db, new, digest))

    async def revoke_token(self, number: int, *, now_ms: int) -> bool:
        """End a token; see `Store.revoke_token`."""
        return await self.write(lambda db: tokens.revoke(db, number, now_ms=now_ms))

    async def use_token(self, number: int, *, now_ms: int) -> None:
        """Note that a token was used; see `Store.use_token`."""
        await self.write(lambda db: tokens.use(db, number, now_ms=now_ms))

    async def prune(self, *, events_before_ms: int, keys_before_ms: int, limit: int) -> int:
        """Delete what is too old; see `Store.prune`."""
        queries, slice_number = self._queries, self._next_slice
        self._next_slice = (slice_number + 1) % pruning.KEY_SLICES
        # Looked for by a reader: events that are kept for a person may be many to skip.
        rows = await self._rows("old_events", (first_id_at(events_before_ms), limit))

        def prune(db: "sqlite3.Connection") -> int:
            holding.forget_timers(db, before_ms=events_before_ms)
            silencing.forget(db, before_ms=events_before_ms)
            pruning.prune_dedupe_keys(
                db, queries, before_ms=keys_before_ms, slice_number=slice_number
            )
            return pruning.prune_events(db, queries, [seq for (seq,) in rows])

        return await self.write(prune)

    async def accept_rejection(self, rejection_id: int, event_id: EventId) -> None:
        """Note what a refused request has become; see `Store.accept_rejection`."""
        sql = self._queries["accept_rejection"]
        await self.write(lambda db: db.execute(sql, (rejection_id, event_id)))

    async def prune_rejections(self, *, before_ms: int) -> int:
        """Delete old refused requests; see `Store.prune_rejections`."""
        sql = self._queries["delete_old_rejections"]
        return await self.write(lambda db: db.execute(sql, (before_ms,)).rowcount)

    async def retry(self, ids: Sequence[int], *, now_ms: int) -> list[DeliveryId]:
        """Make deliveries due at once; see `Store.retry`."""
        queries = self._queries
        return await self.write(lambda db: changes.retry(db, queries, ids, now_ms=now_ms))

    async def release_held(
        self, group: HeldGroup, ids: Sequence[int], digest: MakeDigest, *, now_ms: int
    ) -> bool:
        """Let held deliveries go; see `Store.release_held`."""
        return await self.write(
            lambda db: holding.release(
                db, group, ids, digest, now_ms=now_ms, next_number=self._next_number
            )
        )

    async def hold_on(self, ids: Sequence[int], hold: Hold) -> None:
        """Hold deliveries for longer; see `Store.hold_on`."""
        await self.write(lambda db: holding.hold_on(db, ids, hold))

    async def add_silence(self, silence: Silence) -> int:
        """Keep messages back; see `Store.add_silence`."""
        return await self.write(lambda db: silencing.add(db, silence))

    async def end_silence(self, number: int, *, by: str, now_ms: int) -> int | None:
        """End a silence; see `Store.end_silence`."""
        return await self.write(lambda db: silencing.end(db, number, by=by, now_ms=now_ms))

    async def cancel_held(self, which: CancelHeld, *, now_ms: int) -> list[DeliveryId]:
        """Cancel held deliveries; see `Store.cancel_held`."""
        return await self.write(lambda db: holding.cancel_held(db, which, now_ms=now_ms))

    async def discard(self, ids: Sequence[int], *, reason: str, now_ms: int) -> list[DeliveryId]:
        """Cancel deliveries; see `Store.discard`."""
        queries = self._queries
        return await self.write(
            lambda db: changes.discard(db, queries, ids, reason=reason, now_ms=now_ms)
        )
