"""Full disks, locks, damage, and callers that come too late: never half an event, never a hang."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from store_data import OpenSqlite, claim_one, end, event, finish, handler, now_ms, record_one

from receiver.errors import LeaseLost, StoreError, StoreUnavailable
from receiver.model import State
from receiver.store.base import Recorded, Rejection
from receiver.store.driver import sqlite3
from receiver.store.sqlite import SqliteStore
from receiver.store.writer import GroupWriter

pytestmark = pytest.mark.anyio


async def limit_pages(store: SqliteStore, spare: int | None) -> None:
    """Let the file grow by only so many pages more, as on a full disk; None ends that."""

    def limit(db: "sqlite3.Connection") -> None:
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        most = 1_000_000_000 if spare is None else pages + spare
        db.execute(f"PRAGMA max_page_count = {most}")

    await store.write(limit)


async def test_a_full_disk_refuses_and_stores_nothing_then_goes_on(opened: OpenSqlite) -> None:
    async with opened() as store:
        kept = await record_one(store)
        await limit_pages(store, 0)
        big = event(body=b"x" * 200_000)
        with pytest.raises(StoreUnavailable, match="disk is full; free some space"):
            await store.record(big, [handler()])
        assert await store.event(big.id) is None
        assert await store.count_states() == {State.PENDING: 1}

        await limit_pages(store, None)
        await store.record(big, [handler()])

        assert await store.event(big.id) is not None
        assert (await store.delivery(kept)) is not None


async def test_a_full_disk_refuses_a_whole_batch(opened: OpenSqlite) -> None:
    async with opened() as store:
        await limit_pages(store, 3)
        results = await asyncio.gather(
            *(store.record(event(body=b"x" * 9000), [handler()]) for _ in range(20)),
            return_exceptions=True,
        )
        accepted = [each for each in results if isinstance(each, Recorded)]
        refused = [each for each in results if isinstance(each, StoreUnavailable)]
        assert len(accepted) + len(refused) == 20
        assert refused
        assert await store.count_states() in ({}, {State.PENDING: len(accepted)})
        assert len({id(each) for each in refused}) == len(refused), "one exception each"


async def test_a_full_disk_keeps_an_attempts_end_whole(opened: OpenSqlite) -> None:
    async with opened() as store:
        await record_one(store)
        claim = await claim_one(store)
        await limit_pages(store, 0)
        ended = end(claim, values={"a": "x" * 100_000})
        with pytest.raises(StoreUnavailable):
            await finish(store, ended)
        assert await store.attempts(claim.delivery_id) == []

        await limit_pages(store, None)
        await finish(store, ended)
        assert len(await store.attempts(claim.delivery_id)) == 1


async def test_a_lock_of_another_program_refuses_then_it_works_again(
    opened: OpenSqlite, database: Path
) -> None:
    async with opened() as store:
        assert store._writer is not None
        store._writer._apply.__self__.busy_seconds = 0.02  # type: ignore[attr-defined]
        other = sqlite3.connect(database, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        new = event()
        for call in (store.record(new, [handler()]), store.heartbeat()):
            with pytest.raises(StoreUnavailable, match="locked by another program"):
                await call
        assert await store.count_states() == {}, "who reads is not locked out"

        other.execute("ROLLBACK")
        other.close()

        assert not (await store.record(new, [handler()])).is_duplicate
        assert await store.count_states() == {State.PENDING: 1}


class _FailingDisk:
    """A connection whose next statements fail as SQLite's do when the disk does."""

    def __init__(self, connection: Any, errorname: str, statements: tuple[str, ...]) -> None:
        self._connection = connection
        self._errorname = errorname
        self._statements = statements

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, sql: str, *parameters: Any) -> Any:
        if sql.startswith(self._statements):
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorname = self._errorname
            raise error
        return self._connection.execute(sql, *parameters)


def break_disk(store: SqliteStore, errorname: str, *statements: str) -> None:
    assert store._writer is not None
    batches = store._writer._apply.__self__  # type: ignore[attr-defined]
    batches._db = _FailingDisk(batches._db, errorname, statements)


@pytest.mark.parametrize(
    "errorname", ["SQLITE_IOERR_FSYNC", "SQLITE_IOERR_WRITE", "SQLITE_CORRUPT", "SQLITE_NOTADB"]
)
async def test_r10_a_failed_disk_is_fatal_and_nothing_is_accepted_after_it(
    opened: OpenSqlite, errorname: str
) -> None:
    async with opened() as store:
        told: list[BaseException] = []
        store.on_fatal = told.append
        break_disk(store, errorname, "INSERT INTO batch")
        with pytest.raises(StoreUnavailable, match="the store failed"):
            await store.record(event(), [])
        store._writer._apply.__self__._db = store._connection  # type: ignore[union-attr]
        with pytest.raises(StoreUnavailable, match="the store failed"):
            await store.record(event(), [])
        assert len(told) == 1


async def test_r10_a_disk_that_fails_only_in_checkpoints_is_found_out(
    opened: OpenSqlite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite keeps the errors of its own checkpoints to itself, and the WAL would grow."""
    monkeypatch.setattr("receiver.store.batch.CHECKPOINT_SECONDS", 0.0)
    async with opened() as store:
        told: list[BaseException] = []
        store.on_fatal = told.append
        break_disk(store, "SQLITE_IOERR_FSYNC", "PRAGMA wal_checkpoint")
        await store.record(event(), [])
        with pytest.raises(StoreUnavailable, match="the store failed"):
            await store.record(event(), [])
        assert len(told) == 1


@pytest.mark.parametrize("errorname", ["SQLITE_IOERR_NOMEM", "SQLITE_IOERR_SHMSIZE"])
async def test_io_errors_that_pass_are_not_fatal(opened: OpenSqlite, errorname: str) -> None:
    async with opened() as store:
        store.on_fatal = pytest.fail
        break_disk(store, errorname, "INSERT INTO batch")
        with pytest.raises(StoreUnavailable):
            await store.record(event(), [])
        store._writer._apply.__self__._db = store._connection  # type: ignore[union-attr]
        await record_one(store)


async def test_a_transaction_that_cannot_be_rolled_back_is_fatal(opened: OpenSqlite) -> None:
    """Else the next event would be written into it, acknowledged, and never committed."""
    async with opened() as store:
        told: list[BaseException] = []
        store.on_fatal = told.append
        break_disk(store, "SQLITE_BUSY", "ROLLBACK", "RELEASE")
        with pytest.raises(StoreError):
            await store.write(lambda db: db.execute("SELECT 1"))
        with pytest.raises(StoreUnavailable, match="the store failed"):
            await store.record(event(), [])
        assert len(told) == 1


async def test_only_the_operation_with_a_fault_fails(opened: OpenSqlite) -> None:
    async with opened() as store:
        results = await asyncio.gather(
            *(
                store.record(event(type="\udce9" if n == 7 else "fine"), [handler()])
                for n in range(40)
            ),
            return_exceptions=True,
        )
        assert [n for n, each in enumerate(results) if isinstance(each, StoreError)] == [7]
        assert await store.count_states() == {State.PENDING: 39}


async def test_a_lost_lease_fails_alone_in_a_batch_of_successes(opened: OpenSqlite) -> None:
    async with opened() as store:
        for _ in range(5):
            await record_one(store)
        claims = await store.claim({"sync_failed.alert": 5}, now_ms=now_ms())
        await store.release([claims[2].delivery_id])
        results = await asyncio.gather(
            *(finish(store, end(each)) for each in claims),
            store.record(event(), [handler()]),
            return_exceptions=True,
        )
        assert [isinstance(each, LeaseLost) for each in results] == [False, False, True] + [
            False
        ] * 3
        assert await store.count_states() == {State.SUCCEEDED: 4, State.PENDING: 2}


async def test_a_claim_that_cannot_be_loaded_is_given_back(
    opened: OpenSqlite, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened() as store:
        delivery_id = await record_one(store)

        def fail(*_args: object) -> None:
            raise sqlite3.OperationalError("no")

        with monkeypatch.context() as patch:
            patch.setattr("receiver.store.sqlite.load_claims", fail)
            with pytest.raises(StoreError, match="can't be read"):
                await claim_one(store)
        assert (await claim_one(store)).delivery_id == delivery_id


async def test_whoever_comes_after_the_close_is_refused(opened: OpenSqlite) -> None:
    async with opened() as store:
        await record_one(store)
        claim = await claim_one(store)
    heard: list[object] = []
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.record(event(), [], committed=heard.append)
    assert heard == [None]
    with pytest.raises(StoreUnavailable, match="closed"):
        await finish(store, end(claim))


async def test_whoever_comes_during_the_close_is_answered(opened: OpenSqlite) -> None:
    async with opened() as store:
        closing = asyncio.ensure_future(store.close())
        answers = []
        while not closing.done():
            answers.append(asyncio.ensure_future(store.record(event(), [])))
            await asyncio.sleep(0)
        await closing
        async with asyncio.timeout(5):
            results = await asyncio.gather(*answers, return_exceptions=True)
    assert all(isinstance(each, Recorded | StoreUnavailable) for each in results)


async def test_one_callback_that_fails_keeps_no_news_from_the_others(opened: OpenSqlite) -> None:
    async with opened() as store:
        caught: list[dict[str, Any]] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: caught.append(context))

        def fail(_recorded: Recorded | None) -> None:
            raise ValueError("a bug")

        first = store.record(event(), [], committed=fail)
        second = store.record(event(), [])
        async with asyncio.timeout(5):
            await second
        assert [str(each["exception"]) for each in caught] == ["a bug"]
        asyncio.ensure_future(first).cancel()


async def test_a_writer_whose_loop_has_gone_ends_quietly() -> None:
    applied: list[int] = []
    writer = GroupWriter(lambda batch: applied.append(len(batch)), name="test-writer")

    async def use() -> None:
        writer.start()

    await asyncio.to_thread(asyncio.run, use())
    writer.put(_Silent())
    await writer.stop()
    assert applied == [1]
    assert not writer._thread.is_alive()


class _Silent:
    error: BaseException | None = None

    def done(self) -> None:
        raise AssertionError("there is no loop to call it on")


async def test_the_log_of_rejections_is_bounded(opened: OpenSqlite) -> None:
    async with opened(max_rejections=3) as store:
        for number in range(10):
            await store.reject(
                Rejection(received_ms=number, source="a", status=401, reason="missing",
                          headers="", body=b"", body_bytes=0)
            )  # fmt: skip
        assert [each.received_ms for each in await store.rejections(limit=99)] == [9, 8, 7]
