"""What is too old is removed with all that came of it; what a person has to see is kept."""

import asyncio

import pytest
from store_data import (
    HANDLER,
    MESSAGE,
    OpenSqlite,
    claim_one,
    end,
    event,
    finish,
    handler,
    now_ms,
    record_one,
)

from receiver.model import NewDelivery, State
from receiver.store.base import EventFilter, StagedMessage
from receiver.store.driver import sqlite3
from receiver.store.pruning import KEY_SLICES
from receiver.store.sqlite import SqliteStore

pytestmark = pytest.mark.anyio

DAY_MS = 86_400_000
OLD_MS = now_ms() - 100 * DAY_MS
CUTOFF_MS = now_ms() - 90 * DAY_MS


async def prune(store: SqliteStore, *, limit: int = 100) -> int:
    """Events of the last 90 days are kept, and so are all dedupe keys."""
    return await store.prune(events_before_ms=CUTOFF_MS, keys_before_ms=0, limit=limit)


async def counts(store: SqliteStore) -> dict[str, int]:
    """How many rows each table has that an event's life fills."""
    tables = ("events", "deliveries", "attempts", "messages", "attachments")

    def count(db: "sqlite3.Connection") -> dict[str, int]:
        return {
            table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables
        }

    return await store.read(count)


async def test_an_old_event_goes_with_its_deliveries_attempts_and_messages(
    opened: OpenSqlite,
) -> None:
    target = NewDelivery("target", "ops/1-json", 8)
    async with opened() as store:
        await record_one(store, received_ms=OLD_MS)
        staged = (StagedMessage(MESSAGE, (target,)),)
        await finish(store, end(await claim_one(store), messages=staged))
        await finish(store, end(await claim_one(store, "ops/1-json")))
        assert await counts(store) == {
            "events": 1, "deliveries": 2, "attempts": 2, "messages": 1, "attachments": 1
        }  # fmt: skip
        assert await prune(store) == 1
        assert set((await counts(store)).values()) == {0}


async def test_events_that_are_young_enough_stay(opened: OpenSqlite) -> None:
    async with opened() as store:
        await store.record(event(received_ms=OLD_MS), ())
        young = await store.record(event(received_ms=CUTOFF_MS), ())
        assert await prune(store) == 1
        assert [each.id for each in await store.events(EventFilter(), limit=9)] == [young.event_id]


@pytest.mark.parametrize("state", [State.DEAD, State.RETRYING, State.PENDING, State.RUNNING])
async def test_events_with_dead_or_unfinished_deliveries_stay(
    opened: OpenSqlite, state: State
) -> None:
    async with opened() as store:
        await store.record(event(received_ms=OLD_MS), [handler(), handler("other.handler")])
        await finish(store, end(await claim_one(store, "other.handler")))
        if state is not State.PENDING:
            claim = await claim_one(store)
            if state is not State.RUNNING:
                await finish(store, end(claim, state))
        assert await prune(store) == 0
        assert await store.count_events(EventFilter()) == 1


async def test_a_dead_delivery_that_was_discarded_lets_its_event_go(opened: OpenSqlite) -> None:
    async with opened() as store:
        delivery_id = await record_one(store, received_ms=OLD_MS)
        await finish(store, end(await claim_one(store), State.DEAD))
        await store.discard([delivery_id], reason="not needed", now_ms=now_ms())
        assert await prune(store) == 1


async def test_no_more_than_the_limit_goes_at_once_and_the_oldest_first(
    opened: OpenSqlite,
) -> None:
    async with opened() as store:
        ids = [
            (await store.record(event(received_ms=OLD_MS + number), ())).event_id
            for number in range(5)
        ]
        assert await prune(store, limit=2) == 2
        left = await store.events(EventFilter(), limit=9, newest=False)
        assert [each.id for each in left] == ids[2:]


async def test_an_event_is_still_known_as_seen_after_it_is_removed(opened: OpenSqlite) -> None:
    """Dedupe keys outlive the payload."""
    async with opened() as store:
        first = await store.record(event(key="same", received_ms=OLD_MS), ())
        assert await prune(store) == 1
        again = await store.record(event(key="same"), ())
        assert again.is_duplicate
        assert again.event_id == first.event_id


async def test_old_dedupe_keys_are_forgotten_in_one_round_of_slices(opened: OpenSqlite) -> None:
    async with opened() as store:
        for source in ("claribi", "github"):
            for number in range(100):
                old = event(key=f"{source} {number}", source=source, received_ms=OLD_MS)
                await store.record(old, ())
        await store.record(event(key="young"), ())
        for _ in range(KEY_SLICES):
            await store.prune(events_before_ms=0, keys_before_ms=CUTOFF_MS, limit=1)
        keys = await store.read(
            lambda db: db.execute("SELECT count(*) FROM dedupe_keys").fetchone()[0]
        )
        assert keys == 1
        assert not (await store.record(event(key="github 7", source="github"), ())).is_duplicate
        assert (await store.record(event(key="young"), ())).is_duplicate


async def test_a_replay_that_comes_between_keeps_its_event(
    opened: OpenSqlite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader names the events, the writer looks again: in between one may have got work."""
    async with opened() as store:
        recorded = await store.record(event(received_ms=OLD_MS), ())
        read = store._rows

        async def read_then_replay(name: str, parameters: object) -> list[tuple[int]]:
            rows: list[tuple[int]] = await read(name, parameters)
            if name == "old_events":
                await store.replay(
                    author="a", selection="b", deliveries=[(recorded.event_id, [handler(HANDLER)])]
                )
            return rows

        monkeypatch.setattr(store, "_rows", read_then_replay)
        assert await prune(store) == 0
        assert (await claim_one(store)).event.id == recorded.event_id


async def test_recording_goes_on_while_much_is_removed(opened: OpenSqlite) -> None:
    async with opened() as store:
        await asyncio.gather(
            *(store.record(event(received_ms=OLD_MS), [handler()]) for _ in range(300))
        )
        for claim in await store.claim({HANDLER: 300}, now_ms=now_ms()):
            await finish(store, end(claim))
        removed, *recorded = await asyncio.gather(
            prune(store, limit=300), *(store.record(event(), [handler()]) for _ in range(50))
        )
        assert removed == 300
        assert len({each.event_id for each in recorded}) == 50
        assert await store.count_events(EventFilter()) == 50
