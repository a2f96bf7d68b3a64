"""RELIABILITY.md R1, R2 and R5, as far as they can be seen from inside the process."""

import asyncio
from pathlib import Path

import pytest
from store_data import OpenSqlite, claim_one, die, end, event, finish, handler, record_one

from receiver.model import State
from receiver.store import opening
from receiver.store.driver import sqlite3
from receiver.store.sqlite import SqliteStore

pytestmark = pytest.mark.anyio


def commits(path: Path) -> int:
    """How many transactions the write-ahead log holds: frames that end one name a size."""
    log = path.with_name(path.name + "-wal").read_bytes()
    page = int.from_bytes(log[8:12], "big")
    salts, starts = log[16:24], range(32, len(log), 24 + page)
    frames = [log[start : start + 24] for start in starts]
    return sum(int.from_bytes(frame[4:8], "big") > 0 for frame in frames if frame[8:16] == salts)


def ids_seen_from_outside(path: Path) -> set[str]:
    connection = opening.connect_reader(path)
    try:
        return {row[0] for row in connection.execute("SELECT id FROM events")}
    finally:
        connection.close()


async def test_r1_whoever_is_answered_finds_the_event_committed(
    opened: OpenSqlite, database: Path
) -> None:
    """Asked of a second connection at the moment that each future resolves."""
    async with opened() as store:
        missing = []

        async def send() -> None:
            recorded = await store.record(event(), [handler()])
            if recorded.event_id not in ids_seen_from_outside(database):
                missing.append(recorded.event_id)

        await asyncio.gather(*(send() for _ in range(50)))
        assert missing == []


async def test_r1_the_writer_waits_for_the_disk(opened: OpenSqlite) -> None:
    async with opened() as store:
        pragmas = await store.write(
            lambda db: [
                db.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("journal_mode", "synchronous", "foreign_keys")
            ]
        )
        assert pragmas == ["wal", 2, 1], "2 is FULL"


async def test_r1_what_was_answered_survives_the_process(
    opened: OpenSqlite, database: Path, tmp_path: Path
) -> None:
    """A copy of the files, taken at the answer, is what a crash would leave."""
    async with opened() as store:
        recorded = await store.record(event(), [handler()])
        crashed = tmp_path / "crashed.db"
        for suffix in ("", "-wal"):
            copy = database.with_name(database.name + suffix).read_bytes()
            crashed.with_name(crashed.name + suffix).write_bytes(copy)
    after = SqliteStore(crashed)
    await after.open()
    assert await after.event(recorded.event_id) is not None
    assert len(await after.deliveries_of(recorded.event_id)) == 1
    await after.close()


async def test_r2_at_no_moment_is_an_event_there_without_its_deliveries(
    opened: OpenSqlite, database: Path
) -> None:
    """Every commit, seen from outside, has as many deliveries as two per event."""
    async with opened() as store:
        connection = opening.connect_reader(database)
        sending = [
            asyncio.ensure_future(store.record(event(), [handler("a"), handler("b")]))
            for _ in range(300)
        ]
        seen = set()
        while not all(each.done() for each in sending):
            seen.add(
                connection.execute(
                    "SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM deliveries)"
                ).fetchone()
            )
            await asyncio.sleep(0)
        connection.close()
        await asyncio.gather(*sending)
        assert all(deliveries == 2 * events for events, deliveries in seen)
        assert await store.count_states() == {State.PENDING: 600}


async def test_r5_requests_in_flight_together_share_commits(
    opened: OpenSqlite, database: Path
) -> None:
    async with opened() as store:
        before = commits(database)
        await asyncio.gather(*(store.record(event(), [handler()]) for _ in range(500)))
        assert 1 <= commits(database) - before <= 10


async def test_r5_one_after_the_other_costs_a_commit_each(
    opened: OpenSqlite, database: Path
) -> None:
    """So that the count above counts what it says."""
    async with opened() as store:
        before = commits(database)
        for _ in range(5):
            await record_one(store)
        assert commits(database) - before == 5


async def test_r5_a_batch_larger_than_one_statement_is_still_one_transaction(
    opened: OpenSqlite, database: Path
) -> None:
    async with opened() as store:
        before = commits(database)
        many = [handler(f"h{n}") for n in range(700)]
        recorded = await store.record(event(), many)
        assert commits(database) - before == 1
        assert len(await store.deliveries_of(recorded.event_id)) == 700


async def test_r5_every_reader_can_only_read(opened: OpenSqlite) -> None:
    async with opened() as store:
        await record_one(store)
        await store.change_count()
        barrier = asyncio.gather(*(store.count_states() for _ in range(20)))
        await barrier

        assert len(store._open_readers) >= 2
        for connection in store._open_readers:
            assert connection.execute("PRAGMA query_only").fetchone() == (1,)
            assert connection.execute("PRAGMA wal_autocheckpoint").fetchone() == (0,)
            for statement in ("DELETE FROM events", "CREATE TABLE t (a)", "PRAGMA user_version=1"):
                with pytest.raises(sqlite3.OperationalError, match="readonly"):
                    connection.execute(statement)


async def test_r5_a_reader_cannot_write_even_without_its_pragma(opened: OpenSqlite) -> None:
    async with opened() as store:
        await store.count_states()
        connection = store._open_readers[0]
        connection.execute("PRAGMA query_only = OFF")
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute("DELETE FROM events")


async def test_r6_the_attempt_is_counted_on_disk_before_anything_runs(
    opened: OpenSqlite, database: Path
) -> None:
    async with opened() as store:
        delivery_id = await record_one(store)
        await claim_one(store)
        connection = opening.connect_reader(database)
        row = connection.execute(
            "SELECT state, attempts FROM deliveries WHERE id = ?", (delivery_id,)
        ).fetchone()
        connection.close()
        assert row == ("running", 1)


async def test_change_count_differs_after_each_commit_and_only_then(opened: OpenSqlite) -> None:
    async with opened() as store:
        counts = []
        for _ in range(5):
            counts += [await store.change_count() for _ in range(4)]
            await record_one(store)
        assert [counts.count(each) for each in dict.fromkeys(counts)] == [4] * 5


async def test_the_file_is_whole_after_all_kinds_of_changes(
    opened: OpenSqlite, database: Path
) -> None:
    async with opened() as store:
        for state in (State.SUCCEEDED, State.DEAD, State.RETRYING):
            await record_one(store, handler(key="7"))
            await finish(store, end(await claim_one(store), state))
        await die(store)
    connection = sqlite3.connect(database)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()
