"""The Store on one SQLite file: WAL, `synchronous=FULL`, one writer, several readers.

Three ways to open it. The *owner* (a server, or a command when no server runs) holds the lock
beside the file, claims deliveries and takes up what a dead owner left running. A *guest* writes
beside a live owner: commands that add deliveries or change them. A *reader* only looks.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, TypeVar

from sqlite_utils import Database

from receiver.errors import SchemaTooNew, StoreError, StoreLocked
from receiver.model import DeliveryId, EventId, NewDelivery, NewEvent
from receiver.store import changes
from receiver.store.base import Claim, Finish, Recorded, Rejection
from receiver.store.batch import BatchWriter
from receiver.store.claims import claim_due, load_claims
from receiver.store.driver import SQLITE_VERSION, has_wal_reset_race, sqlite3
from receiver.store.files import OwnerLock, create_private
from receiver.store.finishing import Finisher
from receiver.store.ids import Numbers
from receiver.store.migrations import migrations
from receiver.store.operations import BatchRow, CallOperation, FinishOperation, RecordOperation
from receiver.store.queries import Queries
from receiver.store.reads import SqliteReads
from receiver.store.workers import Leases
from receiver.store.writer import GroupWriter

T = TypeVar("T")

Role = Literal["owner", "guest", "reader"]

BUSY_TIMEOUT_SECONDS = 5.0
READERS = 2


class SqliteStore(SqliteReads):
    """See `receiver.store.base.Store` for the contract of each method."""

    def __init__(
        self,
        path: Path,
        *,
        role: Role = "owner",
        max_rejections: int = 1000,
    ) -> None:
        self.path = path
        self.role = role
        self._max_rejections = max_rejections
        self.on_fatal: Callable[[BaseException], None] | None = None
        """Called on the loop when the disk fails so that nothing can be trusted any more."""
        self._queries = Queries.load("queries.sql")
        self._lock = OwnerLock(path)
        self._leases: Leases | None = None
        self._numbers = Numbers(0)
        self._writer: GroupWriter | None = None
        self._connection: sqlite3.Connection | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        super().__init__(
            ThreadPoolExecutor(READERS, thread_name_prefix="store-reader"),
            self._connect_reader,
            Queries.load("reads.sql"),
        )

    # -- opening and closing ------------------------------------------------------------------

    async def open(self) -> None:
        """Open; see `Store.open`."""
        self._loop = asyncio.get_running_loop()
        if self.role == "reader":
            await asyncio.to_thread(self._check_readable)
            return
        await asyncio.to_thread(self._open_writer)
        assert self._writer is not None, "_open_writer makes it"
        self._writer.start()
        if self.role == "owner":
            await self.write(self._own)
        self._numbers = Numbers(self.worker_id or os.getpid())

    def _open_writer(self) -> None:
        create_private(self.path)
        self._choose_role()
        connection = self._connect(self.path.as_posix())
        try:
            for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON",
                           "journal_size_limit = 67108864"):  # fmt: skip
                connection.execute(f"PRAGMA {pragma}")
            self._migrate(connection)
        except BaseException as error:
            connection.close()
            self._lock.release()
            if isinstance(error, sqlite3.DatabaseError):
                raise StoreError(_explain_open(self.path, error)) from error
            raise
        self._connection = connection
        self._leases = Leases(self._queries)
        finisher = Finisher(
            connection,
            self._queries,
            worker=lambda: self.worker_id,
            next_number=lambda: self._numbers.next(),  # noqa: PLW0108 - replaced once the worker is known
        )
        batches = BatchWriter(connection, self._queries, finisher=finisher, on_fatal=self._fatal)
        self._writer = GroupWriter(batches.apply, name="store-writer")

    def _choose_role(self) -> None:
        """Take the lock; without it a guest may write only where SQLite allows two writers."""
        taken = self._lock.take()
        if taken or (self.role == "guest" and not has_wal_reset_race()):
            return
        pid = self._lock.owner_pid()
        if self.role == "guest":
            version = ".".join(map(str, SQLITE_VERSION))
            raise StoreLocked(
                f"{self.path}: process {pid} is writing to this database, and SQLite {version} "
                "can lose a commit when two processes write (fixed in 3.51.3). Stop the server, "
                "or install pysqlite3, which carries a newer SQLite."
            )
        raise StoreLocked(
            f"{self.path}: process {pid} is serving this database already. Stop it first, or "
            "give this one another store.url."
        )

    def _migrate(self, connection: "sqlite3.Connection") -> None:
        db = Database(connection, execute_plugins=False)
        _refuse_newer(self.path, db)
        if migrations.pending(db):
            migrations.apply(db)

    def _own(self, db: "sqlite3.Connection") -> int:
        assert self._leases is not None, "an owner has leases"
        self._leases.register(db)
        return self._leases.rescue_all_others(db)

    async def close(self) -> None:
        """Close; see `Store.close`."""
        if self._writer is not None:
            if self._leases is not None and self._leases.worker_id:
                leases = self._leases
                await self.write(leases.unregister)
            await self._writer.stop()
            self._writer = None
        if self._connection is not None:
            await asyncio.to_thread(self._connection.close)
            self._connection = None
        await self.close_readers()
        self._lock.release()

    def _connect(self, database: str, *, uri: bool = False) -> "sqlite3.Connection":
        return sqlite3.connect(
            database,
            uri=uri,
            isolation_level=None,  # we say BEGIN IMMEDIATE ourselves
            check_same_thread=False,  # opened on one thread, used by just one other
            timeout=BUSY_TIMEOUT_SECONDS,
            cached_statements=512,
        )

    def _connect_reader(self) -> "sqlite3.Connection":
        connection = self._connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True)
        # No reader may ever write or checkpoint (docs/store.md, the WAL-reset race).
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        return connection

    def _check_readable(self) -> None:
        if not self.path.exists():
            raise StoreError(
                f"{self.path}: no database here yet. Start `clarihook serve` once, or check "
                "--home and store.url."
            )
        try:
            connection = self._connect_reader()
            try:
                db = Database(connection, execute_plugins=False)
                _refuse_newer(self.path, db)
                if migrations.pending(db):
                    raise StoreError(
                        f"{self.path}: written by an older clarihook. Start `clarihook serve` "
                        "once: it brings the database up to date."
                    )
            finally:
                connection.close()
        except sqlite3.DatabaseError as error:
            raise StoreError(_explain_open(self.path, error)) from error

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
        number, now = self._numbers.next, event.received_ms
        seq = number()
        # `batch_view` in queries.sql says what stands for NULL, and why not None and bytes.
        rows: list[BatchRow] = [
            ("event", seq, event.id, event.source, event.type, now, bytearray(event.body),
             event.headers, event.message_id or "",
             -1 if event.secret_index is None else event.secret_index,
             bytearray(event.dedupe_key))
        ]  # fmt: skip
        if claimed:
            attempts, started, worker = 1, now, self.worker_id
        else:
            attempts = started = worker = 0
        ids: list[DeliveryId] = []
        for new in deliveries:
            delivery_id = DeliveryId(number())
            ids.append(delivery_id)
            rows.append(("delivery", delivery_id, seq, new.kind, new.name, attempts,
                         new.max_attempts, new.key or "", now, started, worker))  # fmt: skip
        future: asyncio.Future[Recorded] = self._loop.create_future()
        result = Recorded(event.id, False, seq, ids)
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

    async def claim(self, wants: Mapping[str, int], *, now_ms: int) -> list[Claim]:
        """Claim due deliveries; see `Store.claim`."""
        worker, queries = self.worker_id, self._queries
        ids = await self.write(
            lambda db: claim_due(db, queries, worker=worker, wants=wants, now_ms=now_ms)
        )
        # Committed: what follows only reads, so it need not hold up the writer.
        return await self.read(lambda db: load_claims(db, queries, ids)) if ids else []

    async def release(self, ids: Sequence[DeliveryId], *, due_ms: int | None = None) -> None:
        """Give claims back; see `Store.release`."""
        worker, queries = self.worker_id, self._queries
        await self.write(
            lambda db: changes.release(db, queries, worker=worker, ids=ids, due_ms=due_ms)
        )

    async def heartbeat(self) -> int:
        """Extend the lease, rescue from the dead; see `Store.heartbeat`."""
        assert self._leases is not None, "a reader has no lease"
        return await self.write(self._leases.beat)

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
                now_ms=now,
                next_number=self._numbers.next,
            )
        )

    async def extend_replay(
        self,
        replay_id: int,
        *,
        was: str,
        rest: str | None,
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
                deliveries=rows,
                now_ms=now,
                next_number=self._numbers.next,
            )
        )

    async def retry(self, ids: Sequence[int], *, now_ms: int) -> list[DeliveryId]:
        """Make deliveries due at once; see `Store.retry`."""
        queries = self._queries
        return await self.write(lambda db: changes.retry(db, queries, ids, now_ms=now_ms))

    async def discard(self, ids: Sequence[int], *, reason: str, now_ms: int) -> list[DeliveryId]:
        """Cancel deliveries; see `Store.discard`."""
        queries = self._queries
        return await self.write(
            lambda db: changes.discard(db, queries, ids, reason=reason, now_ms=now_ms)
        )


def _refuse_newer(path: Path, db: Database) -> None:
    applied = {migration.name for migration in migrations.applied(db)}
    newer = sorted(applied - _names_of_ours())
    if newer:
        raise SchemaTooNew(
            f"{path}: written by a newer clarihook (it has {newer[-1]}, which this version does "
            "not know). Install that version or a later one."
        )


def _names_of_ours() -> set[str]:
    # On an empty database every migration of ours is pending: the public way to list them.
    return {migration.name for migration in migrations.pending(Database(memory=True))}


def _explain_open(path: Path, error: "sqlite3.Error") -> str:
    name = getattr(error, "sqlite_errorname", "")
    if name == "SQLITE_NOTADB":
        return f"{path} is not a SQLite database. Move it away, or change store.url."
    if name == "SQLITE_CORRUPT":
        return (
            f"{path} is damaged ({error}). Keep a copy, then recover it with "
            f"`sqlite3 {path} .recover` or restore a backup."
        )
    if not os.access(path.parent, os.W_OK):
        return f"{path}: the folder can't be written to. Check its owner and permissions."
    return f"{path} can't be opened: {error}"
