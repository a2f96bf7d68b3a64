"""Replays leave live events room: they run behind them, and fill half of a lane at most."""

import asyncio

import pytest
from dispatch_parts import dispatching, event, in_state, lane, send, succeed, until

from receiver.model import DeliveryId, NewDelivery
from receiver.store.base import Claim, DeliveryFilter, Finish, Store
from receiver.store.sqlite import SqliteStore

pytestmark = pytest.mark.anyio


class Gate:
    """A runner that holds replays until it is opened; all else succeeds at once."""

    def __init__(self) -> None:
        self.replays: list[DeliveryId] = []
        self.live: list[DeliveryId] = []
        self.most_replays = 0
        """At a time."""
        self._now = 0
        self.opened = asyncio.Event()

    async def __call__(self, claim: Claim) -> Finish:
        if claim.replay_id is None:
            self.live.append(claim.delivery_id)
            return await succeed(claim)
        self.replays.append(claim.delivery_id)
        self._now += 1
        self.most_replays = max(self.most_replays, self._now)
        await self.opened.wait()
        self._now -= 1
        return await succeed(claim)


async def replay(store: Store, count: int) -> None:
    """A replay of so many events, for h.test."""
    ids = []
    for _ in range(count):
        new = event()
        await store.record(new, [])
        ids.append(new.id)
    again = NewDelivery("handler", "h.test", 8)
    await store.replay(author="me", selection="all", deliveries=[(each, [again]) for each in ids])


async def test_replays_fill_half_a_lane_and_live_events_the_rest(store: SqliteStore) -> None:
    gate = Gate()
    ours = lane(gate, limit=8)
    await replay(store, 30)
    async with dispatching(store, ours) as dispatcher:
        await until(lambda: len(gate.replays) == 4)
        # More live ones than places are left: by claim, while the replays hold theirs.
        sent = [await send(store, "h.test") for _ in range(12)]
        for each in sent:
            await in_state(store, each)
        assert gate.live == sent
        # By hand-over, at once: a claim may hold places for a moment, never all that are left.
        await until(lambda: ours.replays_wait)
        assert dispatcher.reserve([ours])
        dispatcher.give_up([ours])
        assert len(gate.replays) == 4
        gate.opened.set()
        await until(lambda: len(gate.replays) == 30)
    assert gate.most_replays <= 4
    assert ours.replaying == 0
    assert ours.running == 0


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_replays_run_in_a_small_lane_too(store: SqliteStore, limit: int) -> None:
    gate = Gate()
    gate.opened.set()
    await replay(store, 10)
    async with dispatching(store, lane(gate, limit=limit)):
        await until(lambda: len(gate.replays) == 10)
    assert gate.most_replays == 1
    assert gate.replays == sorted(gate.replays)


async def test_what_a_stop_cuts_off_gives_its_place_back(store: SqliteStore) -> None:
    gate = Gate()
    ours = lane(gate, limit=8)
    await replay(store, 10)
    async with dispatching(store, ours):
        await until(lambda: len(gate.replays) == 4)
    assert (ours.replaying, ours.running) == (0, 0)
    gate.opened.set()
    async with dispatching(store, ours):
        # Those that were cut off run again.
        await until(lambda: len(gate.replays) == 14)
    waiting = await store.waiting()
    found = await store.deliveries(DeliveryFilter(replay_id=1), limit=20)
    assert waiting == {}
    assert {each.attempts for each in found} == {1}


@pytest.mark.parametrize("limit", range(1, 40))
def test_while_replays_wait_a_claim_leaves_places_for_hand_overs(limit: int) -> None:
    ours = lane(succeed, limit=limit)
    assert ours.claim_room == limit
    ours.replays_wait = True
    most = 0
    while ours.room > 0 and (room := min(ours.claim_room, ours.replay_room)) > 0:
        assert limit < 4 or ours.room > ours.claim_room, "all places are held for the claim"
        ours.running += room
        ours.replaying += room
        most += room
    assert most == max(1, limit // 2)
