"""Opening and closing: permissions, locks, roles, and files that are not ours to open."""

# ruff: noqa: ASYNC240 - the test itself is all that runs on this loop

import asyncio
import os
import threading
from pathlib import Path

import pytest
from sqlite_utils import Database
from store_data import OpenSqlite, claim_one, die, event, handler, now_ms, record_one

from receiver.errors import SchemaTooNew, StoreError, StoreLocked, StoreUnavailable
from receiver.model import State
from receiver.store.driver import has_wal_reset_race, sqlite3
from receiver.store.files import OwnerLock
from receiver.store.migrations import migrations
from receiver.store.opening import LATEST_MIGRATION
from receiver.store.schema import migration_steps
from receiver.store.sqlite import Role, SqliteStore

pytestmark = pytest.mark.anyio

needs_fixed_sqlite = pytest.mark.skipif(
    has_wal_reset_race(), reason="this SQLite has the WAL-reset race: no second writer"
)


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


async def test_h4_folder_and_files_are_private_whatever_the_umask(
    opened: OpenSqlite, database: Path
) -> None:
    before = os.umask(0)
    try:
        async with opened() as store:
            await record_one(store)
            assert mode_of(database.parent) == 0o700
            files = sorted(each.name for each in database.parent.iterdir())
            assert files == [f"clarihook.db{end}" for end in ("", "-shm", "-wal", ".lock")]
            assert {mode_of(each) for each in database.parent.iterdir()} == {0o600}
    finally:
        os.umask(before)


async def test_a12_a_second_owner_is_refused_with_the_first_ones_number(
    opened: OpenSqlite, database: Path
) -> None:
    async with opened():
        second = SqliteStore(database)
        with pytest.raises(StoreLocked, match=f"process {os.getpid()} is serving this database"):
            await second.open()
        await second.close()
    async with opened() as third:
        await record_one(third)


async def test_the_lock_goes_with_its_process(opened: OpenSqlite) -> None:
    async with opened() as store:
        await record_one(store)
        await die(store)
        async with opened() as after:
            assert await after.count_states() == {State.PENDING: 1}


async def test_a_full_disk_does_not_keep_the_lock(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number in the lock file serves only messages."""
    database.parent.mkdir()

    def full(*_args: object) -> int:
        raise OSError(28, "No space left on device")

    lock = OwnerLock(database)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        assert lock.take()
    lock.release()
    assert OwnerLock(database).take()


@needs_fixed_sqlite
async def test_a_guest_works_beside_an_owner(opened: OpenSqlite, database: Path) -> None:
    async with opened() as owner:
        dead = await record_one(owner)
        async with opened(role="guest") as guest:
            assert guest.worker_id == 0
            new = event()
            await guest.record(new, [handler("other")])
            await guest.replay(author="me", selection="it", deliveries=[(new.id, [handler()])])
            assert await guest.discard([dead], reason="by a guest", now_ms=now_ms()) == [dead]
        claims = await owner.claim({"sync_failed.alert": 9, "other": 9}, now_ms=now_ms())
        assert len(claims) == 2


@needs_fixed_sqlite
async def test_an_owner_may_start_beside_a_guest(opened: OpenSqlite) -> None:
    async with opened(role="guest") as guest, opened() as owner:
        await asyncio.gather(*(record_one(each) for each in (guest, owner) * 20))
        assert await owner.count_states() == {State.PENDING: 40}


async def test_a_guest_takes_nothing_from_the_owner(opened: OpenSqlite) -> None:
    if has_wal_reset_race():
        pytest.skip("this SQLite has the WAL-reset race: no second writer")
    async with opened() as owner:
        delivery_id = await record_one(owner)
        claim = await claim_one(owner)
        async with opened(role="guest"):
            pass
        found = await owner.delivery(delivery_id)
        assert found is not None
        assert (found.state, claim.delivery_id) == (State.RUNNING, delivery_id)


async def test_with_the_race_a_guest_is_refused_beside_an_owner(
    opened: OpenSqlite, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.store.sharing.has_wal_reset_race", lambda: True)
    async with opened():
        with pytest.raises(StoreLocked, match="can lose a commit when two processes write"):
            await SqliteStore(database, role="guest").open()


async def test_with_the_race_a_guest_keeps_owners_out(
    opened: OpenSqlite, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.store.sharing.has_wal_reset_race", lambda: True)
    async with opened(role="guest"):
        with pytest.raises(StoreLocked):
            await SqliteStore(database).open()


async def test_a_reader_looks_beside_an_owner_and_alone(opened: OpenSqlite) -> None:
    async with opened() as owner:
        await record_one(owner)
        async with opened(role="reader") as reader:
            assert await reader.count_states() == {State.PENDING: 1}
    async with opened(role="reader") as reader:
        assert await reader.count_states() == {State.PENDING: 1}


async def test_a_reader_looks_at_what_a_crash_left(opened: OpenSqlite, database: Path) -> None:
    async with opened() as owner:
        await record_one(owner)
        await die(owner)
        async with opened(role="reader") as reader:
            assert await reader.count_states() == {State.PENDING: 1}


async def test_a_reader_needs_a_database(opened: OpenSqlite) -> None:
    with pytest.raises(StoreError, match=r"no database here yet\. Start `clarihook serve` once"):
        async with opened(role="reader"):
            pass


def _write_newer(database: Path) -> None:
    connection = sqlite3.connect(database)
    db = Database(connection, execute_plugins=False)
    migrations.apply(db)
    connection.execute(
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) "
        "VALUES ('clarihook', '9999_from_the_future', '2030-01-01')"
    )
    connection.commit()
    connection.close()


@pytest.mark.parametrize("role", ["owner", "guest", "reader"])
async def test_a_newer_database_is_refused(opened: OpenSqlite, database: Path, role: str) -> None:
    database.parent.mkdir()
    _write_newer(database)
    with pytest.raises(
        SchemaTooNew, match=r"9999_from_the_future.*Install that version or a later"
    ):
        async with opened(role=role):
            pass


async def test_an_older_database_is_brought_up_to_date(opened: OpenSqlite, database: Path) -> None:
    database.parent.mkdir()
    connection = sqlite3.connect(database)
    migrations.apply(Database(connection, execute_plugins=False), stop_before="0002_views")
    connection.close()
    with pytest.raises(StoreError, match="written by an older clarihook"):
        async with opened(role="reader"):
            pass
    async with opened() as store:
        await record_one(store)


@pytest.mark.parametrize("failing", ["CREATE VIEW v_sync_failed", "CREATE INDEX deliveries_held"])
def test_a11_a_migration_that_is_cut_off_leaves_nothing_of_itself(
    database: Path, failing: str
) -> None:
    database.parent.mkdir()
    connection = sqlite3.connect(database, isolation_level=None)
    cut = _CutOff(connection, failing)
    with pytest.raises(KeyboardInterrupt):
        migrations.apply(Database(cut, execute_plugins=False))  # type: ignore[arg-type]
    db = Database(connection, execute_plugins=False)
    done = {each.name for each in migrations.applied(db)}
    assert ("deliveries" in db.table_names()) == ("0001_events_and_deliveries" in done)
    assert db.view_names() == []
    migrations.apply(db)
    assert "v_sync_failed" in db.view_names()
    connection.close()


class _CutOff:
    def __init__(self, connection: "sqlite3.Connection", statement: str) -> None:
        self._connection = connection
        self._statement = statement

    def __getattr__(self, name: str) -> object:
        return getattr(self._connection, name)

    def execute(self, sql: str, *parameters: object) -> object:
        if sql.strip().startswith(self._statement):
            raise KeyboardInterrupt
        return self._connection.execute(sql, *parameters)


@pytest.mark.parametrize("role", ["owner", "reader"])
async def test_a_file_that_is_no_database_is_told_as_such(
    opened: OpenSqlite, database: Path, role: str
) -> None:
    database.parent.mkdir()
    database.write_bytes(b"a letter to the editor " * 100)
    with pytest.raises(StoreError, match=r"is not a SQLite database\. Move it away"):
        async with opened(role=role):
            pass
    assert database.read_bytes().startswith(b"a letter")


async def test_a_damaged_database_is_told_with_the_way_out(
    opened: OpenSqlite, database: Path
) -> None:
    async with opened() as store:
        await record_one(store)
    damaged = bytearray(database.read_bytes())
    damaged[100:4096] = b"\xff" * 3996  # the schema's own page
    database.write_bytes(damaged)
    with pytest.raises(StoreError, match=r"is damaged .*\.recover"):
        async with opened():
            pass


async def test_a_sqlite_that_is_too_old_is_told_with_the_way_out(
    opened: OpenSqlite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.store.opening.SQLITE_VERSION", (3, 37, 2))
    with pytest.raises(StoreError, match=r"has SQLite 3\.37\.2; 3\.38\.0 is the oldest"):
        async with opened():
            pass


async def test_a_folder_in_the_files_place_is_told_without_a_traceback(
    opened: OpenSqlite, database: Path
) -> None:
    database.mkdir(parents=True)
    with pytest.raises(StoreError, match="can't be opened"):
        async with opened():
            pass


async def test_a_file_in_the_folders_place_is_told_without_a_traceback(
    opened: OpenSqlite, database: Path
) -> None:
    database.parent.write_text("in the way")
    with pytest.raises(StoreError, match="can't be opened"):
        async with opened():
            pass


async def test_a_locked_file_is_told_when_it_is_opened(
    opened: OpenSqlite, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.store.opening.BUSY_TIMEOUT_SECONDS", 0.02)
    async with opened():
        pass
    other = sqlite3.connect(database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked by another program"):
        async with opened():
            pass
    other.close()
    async with opened() as store:
        await record_one(store)


async def test_closing_twice_and_after_a_failed_open_is_harmless(
    opened: OpenSqlite, database: Path
) -> None:
    async with opened() as store:
        await store.close()
        await store.close()
    await SqliteStore(database).close()
    database.write_bytes(b"no database" * 100)
    broken = SqliteStore(database)
    with pytest.raises(StoreError):
        await broken.open()
    await broken.close()


async def test_nothing_is_left_behind_by_a_store_that_was_closed(
    opened: OpenSqlite, database: Path
) -> None:
    async with opened() as store:
        await record_one(store)
        await store.count_states()
    assert not [each.name for each in threading.enumerate() if each.name.startswith("store-")]
    assert not [name for name in _open_files() if name.startswith(str(database.parent))]


def _open_files() -> list[str]:
    return [os.path.realpath(each) for each in Path("/proc/self/fd").iterdir()]


async def test_a_close_that_cannot_unregister_still_closes(opened: OpenSqlite) -> None:
    async with opened() as store:
        await record_one(store)
        claim = await claim_one(store)
        assert store._writer is not None
        store._writer._apply.__self__._failed = OSError("dead disk")  # type: ignore[attr-defined]
        with pytest.raises(StoreUnavailable):
            await store.heartbeat()
    async with opened() as after:
        found = await after.delivery(claim.delivery_id)
        assert found is not None
        assert found.state is State.RETRYING


async def test_a_close_takes_up_what_still_runs(opened: OpenSqlite) -> None:
    """Left behind by a dispatcher that could not end it: its attempt counts."""
    async with opened() as store:
        delivery_id = await record_one(store)
        await claim_one(store)
    async with opened(role="reader") as reader:
        found = await reader.delivery(delivery_id)
        assert found is not None
        assert (found.state, found.attempts) == (State.RETRYING, 1)


@pytest.mark.parametrize("role", ["reader", "owner", "guest"])
async def test_another_programs_database_is_not_touched(database: Path, role: Role) -> None:
    database.parent.mkdir()
    db = Database(database)
    db["books"].insert({"title": "Moby-Dick"})
    db.close()
    before = database.read_bytes()
    with pytest.raises(StoreError, match=r"another program's.*it has a table 'books'.*store\.url"):
        await SqliteStore(database, role=role).open()
    with pytest.raises(StoreError, match="another program's"):
        migration_steps(database)
    assert "books" in database.read_bytes().decode("latin-1")
    assert Database(database).table_names() == ["books"]
    assert len(database.read_bytes()) == len(before)


async def test_a_database_with_nothing_in_it_is_no_older_one(database: Path) -> None:
    database.parent.mkdir()
    database.touch()
    with pytest.raises(StoreError, match="nothing is stored here yet"):
        await SqliteStore(database, role="reader").open()


def test_the_latest_migration_is_the_last_of_all() -> None:
    """What tells a current schema without sqlite-utils counts on their numbers."""
    names = [migration.name for migration in migrations.pending(Database(memory=True))]
    assert names[-1] == max(names) == LATEST_MIGRATION
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))
