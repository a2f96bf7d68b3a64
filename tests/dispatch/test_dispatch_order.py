"""Order by key: in order of arrival, one at a time, by one process and by two (B8)."""

import asyncio
from collections import defaultdict

import pytest
from dispatch_parts import RULES, dispatching, in_state, lane, send, succeed, until

from receiver.dispatch.ending import Ending
from receiver.model import DeliveryId, State
from receiver.store.base import Claim, Finish, Store
from receiver.store.sharing import can_share
from receiver.store.sqlite import SqliteStore

pytestmark = pytest.mark.anyio


class Witness:
    """Runs deliveries, fails some of them once, and notes the order per key."""

    def __init__(self, fails: set[DeliveryId]) -> None:
        self._fails = fails
        self.ended: dict[str | None, list[int]] = defaultdict(list)
        """Those that succeeded, in order."""
        self.runs = 0
        self._busy: set[str | None] = set()

    async def __call__(self, claim: Claim) -> Finish:
        assert claim.key not in self._busy, "two of one key at a time"
        self._busy.add(claim.key)
        self.runs += 1
        await asyncio.sleep(0)
        self._busy.discard(claim.key)
        if claim.delivery_id in self._fails and claim.attempt == 1:
            return Ending(claim, RULES).failed("ValueError", "once", after_seconds=0.001)
        self.ended[claim.key].append(claim.delivery_id)
        return await succeed(claim)


async def send_many(store: Store, events: int, keys: int) -> dict[str, list[DeliveryId]]:
    """By key, in order of arrival."""
    names = [str(number % keys) for number in range(events)]
    ids = await asyncio.gather(*(send(store, "h.test", key=key) for key in names))
    sent: dict[str, list[DeliveryId]] = defaultdict(list)
    for key, delivery_id in zip(names, ids, strict=True):
        sent[key].append(delivery_id)
    return sent


def every_tenth(sent: dict[str, list[DeliveryId]]) -> set[DeliveryId]:
    return {each for ids in sent.values() for each in ids[::10]}


async def all_ended(store: Store) -> None:
    async def is_over() -> bool:
        return not set(await store.count_states()) - {State.SUCCEEDED, State.DEAD}

    await until(is_over, seconds=100)


async def test_no_inversion_in_ten_thousand_events_of_a_hundred_keys(store: SqliteStore) -> None:
    """B8: a tenth of them fail once."""
    sent = await send_many(store, 10_000, 100)
    witness = Witness(every_tenth(sent))
    async with dispatching(store, lane(witness, limit=128)):
        await all_ended(store)
    assert witness.ended == sent
    assert witness.runs == 11_000


@pytest.mark.skipif(not can_share(runs_deliveries=True), reason="one process only, here")
async def test_no_inversion_with_several_workers_on_one_file(store: SqliteStore) -> None:
    sent = await send_many(store, 1000, 20)
    witness = Witness(every_tenth(sent))
    other = SqliteStore(store.path, role="worker")
    await other.open()
    async with (
        dispatching(store, lane(witness, limit=8)),
        dispatching(other, lane(witness, limit=8)),
    ):
        await all_ended(store)
    await other.close()
    assert witness.ended == sent
    assert witness.runs == 1100


async def test_a_retrying_one_that_steps_aside_lets_the_next_of_its_key_run(
    store: SqliteStore,
) -> None:
    mended = asyncio.Event()
    ran: list[DeliveryId] = []
    busy = False

    async def run(claim: Claim) -> Finish:
        nonlocal busy
        assert not busy
        busy = True
        ran.append(claim.delivery_id)
        await asyncio.sleep(0)
        busy = False
        if claim.delivery_id == first and not mended.is_set():
            return Ending(claim, RULES).failed("ValueError", "down", after_seconds=0.002)
        return await succeed(claim)

    first, *others = [
        await send(store, "h.test", key="7", steps_aside=True, attempts=1000) for _ in range(5)
    ]
    async with dispatching(store, lane(run)):
        for each in others:
            await in_state(store, each, State.SUCCEEDED)
        assert (await in_state(store, first, State.RETRYING, State.RUNNING)).attempts >= 1
        mended.set()
        await in_state(store, first, State.SUCCEEDED)
    assert [each for each in ran if each != first] == others, "the others in order"
