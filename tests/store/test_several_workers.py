"""Several workers on one file: who is dead, what is one worker's alone, what kills its process."""

import asyncio
from pathlib import Path

import pytest
import structlog
from sqlite_utils import Database
from store_data import (
    FAR_MS,
    HANDLER,
    MESSAGE,
    OpenSqlite,
    claim_one,
    die,
    end,
    finish,
    now_ms,
    record_one,
)

from receiver.errors import LeaseLost, StoreError, StoreLocked
from receiver.model import NewDelivery, State
from receiver.store import workers
from receiver.store.base import SUSPECT, StagedMessage
from receiver.store.driver import sqlite3
from receiver.store.files import OwnerLock
from receiver.store.migrations import migrations
from receiver.store.sharing import can_share
from receiver.store.sqlite import SqliteStore

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not can_share(runs_deliveries=True), reason="one process only, here"),
]


async def state_of(store: SqliteStore, delivery_id: int) -> State:
    found = await store.delivery(delivery_id)
    assert found is not None
    return found.state


async def past_the_lease() -> None:
    """Past the next millisecond: leases are counted in these, and this one is none."""
    await asyncio.sleep(0.002)


async def test_a_dead_workers_deliveries_are_taken_up_before_its_lease_ends(
    opened: OpenSqlite,
) -> None:
    async with opened() as owner, opened(role="worker") as worker:
        delivery_id = await record_one(owner)
        await claim_one(worker)
        assert not await owner.has_dead_workers()
        assert await owner.heartbeat() == 0, "it lives"
        await die(worker)
        assert await owner.has_dead_workers()
        assert await owner.heartbeat() == 1
        assert not await owner.has_dead_workers()
        assert await state_of(owner, delivery_id) is State.RETRYING
        (attempt,) = await owner.attempts(delivery_id)
        assert attempt.error_class == "WorkerDied"


async def test_what_a_dead_worker_ran_goes_before_what_came_later(opened: OpenSqlite) -> None:
    async with opened() as owner, opened(role="worker") as worker:
        orphan = await record_one(owner)
        await claim_one(worker)
        backlog = [await record_one(owner) for _ in range(3)]
        await past_the_lease()  # so that they were due before it is rescued
        await die(worker)
        assert await owner.heartbeat() == 1
        claims = await owner.claim({HANDLER: 1}, now_ms=now_ms())
        assert [claim.delivery_id for claim in claims] == [orphan]
        assert [(await claim_one(owner)).delivery_id for _ in backlog] == backlog


async def test_a_starting_owner_leaves_a_live_workers_deliveries_alone(opened: OpenSqlite) -> None:
    async with opened(role="worker") as worker:
        delivery_id = await record_one(worker)
        claim = await claim_one(worker)
        async with opened() as owner:
            assert await state_of(owner, delivery_id) is State.RUNNING
            await finish(worker, end(claim))
            assert await state_of(owner, delivery_id) is State.SUCCEEDED


async def test_a_stopped_workers_deliveries_are_taken_up_at_once(opened: OpenSqlite) -> None:
    """And its stop is no death: nothing becomes suspect by it."""
    async with opened() as owner:
        delivery_id = await record_one(owner)
        for _ in range(workers.FATAL_DEATHS + 1):
            async with opened(role="worker") as worker:
                await claim_one(worker)
            assert await state_of(owner, delivery_id) is State.RETRYING
        assert {each.error_class for each in await owner.attempts(delivery_id)} == {"Stopped"}


class Monotonic:
    """The monotonic clock, set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ms = workers._monotonic_ms()
        monkeypatch.setattr(workers, "_monotonic_ms", lambda: self.now_ms)

    async def beat(self, store: SqliteStore, *, seconds: int) -> int:
        """Beat every 5 seconds for so long; how many deliveries that has rescued."""
        rescued = 0
        for _ in range(0, seconds, 5):
            self.now_ms += 5000
            rescued += await store.heartbeat()
        return rescued


async def test_one_that_stood_still_past_its_lease_is_taken_for_dead(
    opened: OpenSqlite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGSTOP: its process lives, so only the lease tells. Its late end is void."""
    clock = Monotonic(monkeypatch)
    async with opened() as owner, opened(role="worker") as worker:
        delivery_id = await record_one(owner)
        claim = await claim_one(worker)
        assert await clock.beat(owner, seconds=30) == 0
        clock.now_ms += 1
        assert await owner.has_dead_workers()
        assert await owner.heartbeat() == 1
        with pytest.raises(LeaseLost):
            await finish(worker, end(claim))
        assert await state_of(owner, delivery_id) is State.RETRYING


async def test_nobody_is_taken_for_dead_after_an_outage_in_which_nobody_could_beat(
    opened: OpenSqlite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, a locked database, a machine that was paused: the first to beat again sees
    all other leases ended, and leaves them half a lease's time.
    """
    clock = Monotonic(monkeypatch)
    async with opened() as owner, opened(role="worker") as worker, opened(role="worker") as still:
        first, second = await record_one(owner), await record_one(owner)
        claim, _ = await claim_one(worker), await claim_one(still)
        await owner.heartbeat()
        clock.now_ms += 3_600_000
        assert not await owner.has_dead_workers()
        assert await owner.heartbeat() == 0
        assert await clock.beat(owner, seconds=15) == 0
        assert not await owner.has_dead_workers()
        assert await worker.heartbeat() == 0
        assert await clock.beat(owner, seconds=5) == 1, "the one that still stands still"
        assert await state_of(owner, second) is State.RETRYING
        await finish(worker, end(claim))
        assert await state_of(owner, first) is State.SUCCEEDED


async def test_one_that_begins_leaves_others_time_to_beat(
    opened: OpenSqlite, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Monotonic(monkeypatch)
    async with opened(role="worker") as still:
        await record_one(still)
        await claim_one(still)
        clock.now_ms += 3_600_000
        async with opened() as owner:
            assert not await owner.has_dead_workers()
            assert await owner.heartbeat() == 0
            assert await clock.beat(owner, seconds=15) == 0
            assert await clock.beat(owner, seconds=5) == 1


async def test_what_one_claimed_after_it_was_taken_for_dead_is_seen_to_die(
    opened: OpenSqlite,
) -> None:
    async with opened() as owner, opened(role="worker", lease_seconds=0.0) as worker:
        await past_the_lease()
        await owner.heartbeat()
        await owner.heartbeat()
        delivery_id = await record_one(owner)
        await claim_one(worker)
        assert not await owner.has_dead_workers(), "it has no row, and lives"
        await die(worker)
        assert await owner.heartbeat() == 1
        assert await state_of(owner, delivery_id) is State.RETRYING


async def test_a_lane_is_the_first_ones_as_long_as_it_lives(opened: OpenSqlite) -> None:
    async with opened() as first, opened(role="worker") as second:
        for _ in range(4):
            await record_one(first)
        assert len(await first.claim({HANDLER: 1}, now_ms=FAR_MS, alone=[HANDLER])) == 1
        refused = await second.claim({HANDLER: 1}, now_ms=FAR_MS, alone=[HANDLER])
        assert (refused, refused.elsewhere) == ([], {HANDLER})
        assert not await second.take_lane(HANDLER)
        assert await first.take_lane(HANDLER)
        await die(first)
        assert await second.heartbeat() == 1
        assert len(await second.claim({HANDLER: 1}, now_ms=FAR_MS, alone=[HANDLER])) == 1


async def test_a_lane_stays_ones_own_when_there_is_nothing_to_give(opened: OpenSqlite) -> None:
    """Its deliveries wait for a key, or were taken a moment ago: that is no sign of another."""
    async with opened() as first, opened(role="worker") as second:
        claims = await first.claim({HANDLER: 1}, now_ms=FAR_MS, alone=[HANDLER])
        assert (claims, claims.elsewhere) == ([], set())
        assert not await second.take_lane(HANDLER)


async def test_a_stopped_workers_lane_is_free_at_once(opened: OpenSqlite) -> None:
    async with opened(role="worker") as second:
        async with opened() as first:
            assert await first.take_lane("house")
            assert not await second.take_lane("house")
        assert await second.take_lane("house")


async def test_r7_a_delivery_that_kills_three_processes_is_dead_and_says_so(
    opened: OpenSqlite,
) -> None:
    """What was in flight beside it shares two deaths, then runs apart from it and succeeds."""
    async with opened() as owner:
        killer, innocent = await record_one(owner), await record_one(owner)
        for _ in range(workers.SUSPECT_DEATHS):
            async with opened(role="worker") as worker:
                claims = await worker.claim({HANDLER: 9}, now_ms=FAR_MS)
                assert len(claims) == 2
                await die(worker)
            await owner.heartbeat()

        async with opened(role="worker") as worker:
            (claim,) = await worker.claim({HANDLER: 9}, now_ms=FAR_MS)
            assert claim.delivery_id == killer
            assert await worker.claim({HANDLER: 9}, now_ms=FAR_MS) == [], "one suspect at a time"
            await die(worker)
        with structlog.testing.capture_logs() as logs:
            await owner.heartbeat()

        found = await owner.delivery(killer)
        assert found is not None
        assert (found.state, found.attempts) == (State.DEAD, workers.FATAL_DEATHS)
        assert found.reason is not None
        assert found.reason.startswith("3 processes died or stood still while they ran it")
        (said,) = [line for line in logs if line["event"] == "delivery.dead"]
        assert (said["name"], said["reason"]) == (HANDLER, found.reason)

        claim = await claim_one(owner)
        assert claim.delivery_id == innocent
        await finish(owner, end(claim, messages=(
            StagedMessage(MESSAGE, (NewDelivery("target", "ops/1", 2),)),
        )))  # fmt: skip
        assert len(await owner.claim({"ops/1": 2}, now_ms=FAR_MS)) == 1
        (ids,) = await owner.write(
            lambda db: db.execute(
                "SELECT group_concat(kind) FROM deliveries WHERE priority = ?", (SUSPECT,)
            ).fetchall()
        )
        assert ids == ("handler,handler",), "its message is no suspect"


async def test_a_suspect_is_not_starved_by_a_backlog(opened: OpenSqlite) -> None:
    async with opened() as owner:
        suspect = await record_one(owner)
        for _ in range(workers.SUSPECT_DEATHS):
            async with opened(role="worker") as worker:
                await claim_one(worker)
                await die(worker)
            await owner.heartbeat()
        for _ in range(5):
            await record_one(owner)
        claims = await owner.claim({HANDLER: 2}, now_ms=FAR_MS)
        assert len(claims) == 2
        assert suspect in [claim.delivery_id for claim in claims]


async def test_one_retried_by_hand_is_no_suspect_any_more(opened: OpenSqlite) -> None:
    async with opened() as owner:
        delivery_id = await record_one(owner)
        for _ in range(workers.FATAL_DEATHS):
            async with opened(role="worker") as worker:
                await claim_one(worker)
                await die(worker)
            await owner.heartbeat()
        assert await state_of(owner, delivery_id) is State.DEAD
        await owner.retry([delivery_id], now_ms=now_ms())
        await record_one(owner)
        assert len(await owner.claim({HANDLER: 2}, now_ms=FAR_MS)) == 2


async def test_two_that_write_at_once_lose_nothing(opened: OpenSqlite) -> None:
    async with opened() as one, opened(role="worker") as two:
        before = await one.change_count()
        ids = await asyncio.gather(*(record_one(each) for each in (one, two) * 200))
        assert len(set(ids)) == 400
        assert await two.count_states() == {State.PENDING: 400}
        assert await one.change_count() != before


async def test_with_the_wal_reset_race_a_worker_is_refused_beside_an_owner(
    opened: OpenSqlite, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.store.sharing.has_wal_reset_race", lambda: True)
    async with opened():
        with pytest.raises(StoreLocked, match="can lose a commit when two processes write"):
            await SqliteStore(database, role="worker").open()
    async with opened(role="worker"):
        with pytest.raises(StoreLocked):
            await SqliteStore(database).open()


async def test_where_nobody_can_tell_who_lives_only_guests_write_beside_an_owner(
    opened: OpenSqlite, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.store.alive.can_tell", lambda: False)
    monkeypatch.setattr("receiver.store.sharing.can_tell", lambda: False)
    async with opened() as owner:
        delivery_id = await record_one(owner)
        await claim_one(owner)
        with pytest.raises(StoreLocked, match="takes Linux on 64 bits"):
            await SqliteStore(database, role="worker").open()
        async with opened(role="guest"):
            pass
        await die(owner)
    async with opened() as after:
        assert await state_of(after, delivery_id) is State.RETRYING, "the lock proves it"


async def test_an_older_schema_is_left_to_whoever_is_at_work_on_it(
    opened: OpenSqlite, database: Path
) -> None:
    database.parent.mkdir()
    connection = sqlite3.connect(database)
    migrations.apply(Database(connection, execute_plugins=False), stop_before="0002_views")
    connection.close()
    lock = OwnerLock(database)
    assert lock.take()
    with pytest.raises(StoreError, match="written by an older clarihook, which is still at work"):
        await SqliteStore(database, role="worker").open()
    lock.release()
    async with opened(role="worker") as worker:
        await record_one(worker)
