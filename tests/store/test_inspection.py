"""`check` finds each kind of damage and nothing in a sound store; a copy is whole and checked."""

import asyncio
import sqlite3 as _stdlib
from pathlib import Path

import pytest
from store_data import (
    BODY,
    HANDLER,
    MESSAGE,
    OpenSqlite,
    claim_one,
    end,
    event,
    finish,
    handler,
    record_one,
)

from receiver.errors import StoreError
from receiver.model import NewDelivery, State
from receiver.store.backup import backup
from receiver.store.base import EventFilter, StagedMessage
from receiver.store.driver import sqlite3
from receiver.store.inspection import check, statistics
from receiver.store.sqlite import SqliteStore

pytestmark = pytest.mark.anyio

TARGET = NewDelivery("target", "ops/1-json", 8)


async def fill(store: SqliteStore) -> None:
    """A delivery in each state, a message, two that wait for a key."""
    await record_one(store)
    await finish(store, end(await claim_one(store), messages=(StagedMessage(MESSAGE, (TARGET,)),)))
    for state in (State.DEAD, State.RETRYING):
        await record_one(store)
        await finish(store, end(await claim_one(store), state))
    for _ in range(3):
        await record_one(store, handler("keyed", key="k"))
    await record_one(store, handler("runs"))
    await claim_one(store, "runs")
    await record_one(store, handler("held"))


async def damaged(opened: OpenSqlite, *statements: str) -> list[str]:
    """What `check` says after these statements, run past the rules of the tables."""
    async with opened() as store:
        await fill(store)

        def damage(db: "sqlite3.Connection") -> None:
            db.execute("PRAGMA ignore_check_constraints = ON")
            for statement in statements:
                assert db.execute(statement).rowcount != 0, statement

        await store.write(damage)
        return await store.read(check)


@pytest.mark.parametrize("is_quick", [False, True])
async def test_a_store_in_use_is_sound(opened: OpenSqlite, *, is_quick: bool) -> None:
    async with opened() as store:
        await fill(store)
        assert await store.read(lambda db: check(db, is_quick=is_quick)) == []


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE attempts SET number = 9", "attempt 9 of 1"),
        ("UPDATE deliveries SET attempts = 0 WHERE state = 'running'", "no attempt is counted"),
        ("DELETE FROM attempts", "succeeded without an attempt that delivered"),
        ("UPDATE deliveries SET waits_for_key = 1 WHERE key = 'k'", "0 deliveries have the turn"),
        ("UPDATE deliveries SET waits_for_key = 0 WHERE key = 'k'", "3 deliveries have the turn"),
        ("UPDATE messages SET delivery_id = 1", "the delivery that said it is gone"),
        ("UPDATE events SET received_at = 7", "its id does not say when it came"),
        ("UPDATE deliveries SET finalized_at = NULL", "do not fit its state, succeeded"),
        ("UPDATE events SET dedupe_key = x''", None),
    ],
)
async def test_each_broken_promise_is_named(
    opened: OpenSqlite, statement: str, words: str | None
) -> None:
    found = await damaged(opened, statement)
    if words is None:  # no promise is broken by it
        assert found == []
    else:
        assert any(words in text for text in found), found


async def test_a_reference_to_nothing_is_named(opened: OpenSqlite, database: Path) -> None:
    async with opened() as store:
        await record_one(store)
    with _stdlib.connect(database) as db:  # no foreign keys, unless they are asked for
        db.execute("DELETE FROM events")
    db.close()
    async with opened(role="reader") as store:
        (found,) = await store.read(check)
    assert found.startswith("deliveries row ")
    assert "refers to a row of events that is not there" in found


async def test_a_damaged_page_is_named_or_refused(opened: OpenSqlite, database: Path) -> None:
    async with opened() as store:
        for _ in range(200):
            await store.record(event(), [handler()])
    overwrite_the_middle(database)
    try:
        async with opened(role="reader") as store:
            assert await store.read(check)
    except StoreError as error:
        assert "malformed" in str(error)  # noqa: PT017 - either way it is said


def overwrite_the_middle(database: Path) -> None:
    pages = database.read_bytes()
    half = len(pages) // 2
    database.write_bytes(pages[:half] + b"\xff" * 4096 + pages[half + 4096 :])


async def test_everything_is_counted(opened: OpenSqlite) -> None:
    async with opened() as store:
        await fill(store)
        found = await store.read(statistics)
    assert found.rows["events"] == sum(each.events for each in found.events) == 8
    assert found.rows["deliveries"] == sum(count for *_, count in found.deliveries) == 9
    assert ("handler", HANDLER, "dead", 1) in found.deliveries
    assert ("target", "ops/1-json", "pending", 1) in found.deliveries
    (of_type,) = found.events
    assert of_type.oldest_ms <= of_type.newest_ms
    assert of_type.body_bytes == 8 * len(BODY)
    assert found.pages * found.page_bytes > 0


async def test_a_copy_is_of_one_moment(opened: OpenSqlite, tmp_path: Path) -> None:
    """What is committed while it is made is in the original alone."""
    copy = tmp_path / "copy.db"
    async with opened() as store:
        await asyncio.gather(*[store.record(event(), [handler()]) for _ in range(9000)])
        before = await store.count_events(EventFilter())
        seen: list[int] = []
        second = sqlite3.connect(store.path, isolation_level=None, check_same_thread=False)

        def meanwhile(done: int, _pages: int) -> None:
            seen.append(done)
            second.execute("UPDATE events SET type = 'changed'")

        try:
            size = await store.read(lambda db: backup(db, copy, on_progress=meanwhile))
        finally:
            second.close()
    assert len(seen) > 1, "it has to be long enough to be changed meanwhile"
    assert copy.stat().st_size == size
    assert copy.stat().st_mode & 0o777 == 0o600
    store = SqliteStore(copy)
    await store.open()
    try:
        assert await store.read(check) == []
        assert await store.count_events(EventFilter()) == before > 0
        assert await store.count_events(EventFilter(types=["changed"])) == 0
    finally:
        await store.close()


async def test_a_copy_that_fails_leaves_nothing(opened: OpenSqlite, tmp_path: Path) -> None:
    folder = tmp_path / "copies"
    folder.mkdir()

    def fail(_done: int, _pages: int) -> None:
        raise KeyboardInterrupt

    async with opened() as store:
        await record_one(store)
        with pytest.raises(KeyboardInterrupt):
            await store.read(lambda db: backup(db, folder / "copy.db", on_progress=fail))
        assert list(folder.iterdir()) == []
        with pytest.raises(StoreError, match="the copy can't be written: No such file"):
            await store.read(lambda db: backup(db, folder / "no/copy.db"))
        # The reader's connection is as it was.
        assert await store.count_events(EventFilter()) == 1
