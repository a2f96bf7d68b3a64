"""Silences in the store: what they hold, and what becomes of it when they end."""

import asyncio
import time
from datetime import timedelta

import pytest
from dispatch_parts import RULES, TARGET, send

from receiver.dispatch.ending import Ending
from receiver.dispatch.releasing import Releaser
from receiver.dispatch.silencing import Silences
from receiver.model import Message, NewDelivery, Silence, State, from_ms
from receiver.notify.outbox import Outbox
from receiver.store.base import DeliveryFilter
from receiver.store.sqlite import SqliteStore

pytestmark = pytest.mark.anyio

HOUR_MS = 3_600_000
SAID = Message(channel="ops", title="Warehouse failed to sync", body="timeout")


def silence(hours: float = 1, **conditions: object) -> Silence:
    now = from_ms(int(time.time() * 1000))
    return Silence(created_at=now, until=now + timedelta(hours=hours), author="ana",
                   comment="moving", **conditions)  # fmt: skip


def outbox(store: SqliteStore) -> Outbox:
    silences = Silences(store)
    return Outbox(
        lambda _channel: (NewDelivery("target", TARGET, 3),),
        {},
        silenced=silences.silenced,
        catch_up=silences.catch_up,
    )


async def say(store: SqliteStore, box: Outbox, *, fresh: bool = True) -> None:
    """A handler says it; without `fresh` by the silences as they were."""
    await send(store, "h.says")
    (claim,) = await store.claim({"h.says": 1}, now_ms=10**13)
    if fresh:
        await box.catch_up()
    staged = box.stage([SAID], claim.event)
    told: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
    store.finish(Ending(claim, RULES).succeeded(messages=staged), told.set_result)
    assert await told is None


async def states(store: SqliteStore) -> dict[str, int]:
    found = await store.deliveries(DeliveryFilter(names=["ops/*"]), limit=1000)
    return {str(s): n for s in State if (n := sum(each.state is s for each in found))}


async def release(store: SqliteStore, box: Outbox, *, hours: float = 0) -> None:
    now_ms = int(time.time() * 1000 + hours * HOUR_MS)
    await Releaser(store, lambda: box, lambda _count: None).release_due(now_ms)


async def end(store: SqliteStore, number: int) -> int | None:
    return await store.end_silence(number, by="bo", now_ms=int(time.time() * 1000))


async def test_what_a_silence_holds_goes_out_as_one_digest_when_it_is_ended(
    store: SqliteStore,
) -> None:
    box = outbox(store)
    await say(store, box)
    assert await states(store) == {"pending": 1}
    number = await store.add_silence(silence())
    for _ in range(3):
        await say(store, box)
    assert await states(store) == {"pending": 1, "held": 3}
    assert await store.held_by_silences() == {number: 3}
    (held, *_) = await store.deliveries(DeliveryFilter(states=[State.HELD]), limit=9)
    assert held.hold_kind == "silence"
    assert held.reason is not None
    assert held.reason.startswith(f"silence {number} until ")
    assert held.reason.endswith(", by ana: moving")
    await release(store, box)
    assert await states(store) == {"pending": 1, "held": 3}
    assert await end(store, number) == 3
    await release(store, box)
    assert await states(store) == {"pending": 2, "cancelled": 3}
    assert await store.held_by_silences() == {}
    await say(store, box)
    assert await states(store) == {"pending": 3, "cancelled": 3}
    assert await end(store, number) is None, "it is over"


async def test_it_ends_by_its_time(store: SqliteStore) -> None:
    box = outbox(store)
    await store.add_silence(silence(hours=1))
    await say(store, box)
    await release(store, box, hours=0.9)
    assert await states(store) == {"held": 1}
    await release(store, box, hours=1.1)
    assert await states(store) == {"pending": 1}


async def test_another_silence_takes_over_what_the_first_has_held(store: SqliteStore) -> None:
    box = outbox(store)
    longer = await store.add_silence(silence(hours=2))
    shorter = await store.add_silence(silence(hours=1))
    await say(store, box)
    assert await store.held_by_silences() == {longer: 1}, "the one that ends last"
    assert await end(store, longer) == 1
    await release(store, box)
    assert await store.held_by_silences() == {shorter: 1}
    assert await end(store, shorter) == 1
    await release(store, box)
    assert await states(store) == {"pending": 1}


async def test_what_was_staged_by_a_silence_that_is_ended_meanwhile_is_due_at_once(
    store: SqliteStore,
) -> None:
    box = outbox(store)
    number = await store.add_silence(silence(hours=100))
    await box.catch_up()
    assert await end(store, number) == 0
    await say(store, box, fresh=False)
    assert await states(store) == {"held": 1}
    await release(store, box)
    assert await states(store) == {"pending": 1}


async def test_silences_are_read_again_only_when_something_has_changed(store: SqliteStore) -> None:
    await store.add_silence(silence())
    news = await store.silences_since(None)
    assert news is not None
    changes, silences = news
    assert [each.comment for each in silences] == ["moving"]
    assert await store.silences_since(changes) is None
    await store.add_silence(silence())
    assert await store.silences_since(changes) is not None


async def test_a_silence_that_is_long_over_is_forgotten_unless_it_still_holds_something(
    store: SqliteStore,
) -> None:
    box = outbox(store)
    await store.add_silence(silence())
    await say(store, box)
    await store.add_silence(silence(hours=0.5, types=("none.*",)))
    await store.prune(events_before_ms=10**13, keys_before_ms=0, limit=9)
    assert [each.id for each in await store.silences()] == [1]


async def test_who_looks_first_goes_on_first(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long a look takes: else a later message would overtake an earlier one."""
    first_may_end, looks, order = asyncio.Event(), 0, []
    look = store.silences_since

    async def slow_at_first(known: int | None) -> tuple[int, list[Silence]] | None:
        nonlocal looks
        looks += 1
        if looks == 1:
            await first_may_end.wait()
        return await look(known)

    monkeypatch.setattr(store, "silences_since", slow_at_first)
    silences = Silences(store)

    async def one(number: int) -> None:
        await silences.catch_up()
        order.append(number)

    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        for number in range(10):
            group.create_task(one(number))
            await asyncio.sleep(0)
        first_may_end.set()
    assert order == list(range(10))
    assert looks == 2, "one look is for all who wait"
