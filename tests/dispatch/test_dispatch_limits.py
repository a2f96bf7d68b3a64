"""Rates of lanes: what they hold back waits in the store, unclaimed, its attempts untouched."""

import asyncio
import time
from typing import Any

import pytest
from dispatch_parts import (
    Gate,
    dispatching,
    event,
    in_state,
    intake_of,
    on_test,
    recording,
    send,
    succeed,
    until,
)

from receiver.dispatch import Lane
from receiver.model import State
from receiver.rate import Pace, Rate
from receiver.store.base import Claim, Finish
from receiver.store.sqlite import SqliteStore

pytestmark = pytest.mark.anyio

SLOW = Rate(1, 3600, burst=2)
"""Two at once, and the next in an hour."""


def paced(run: Any, rate: Rate, *, limit: int = 8) -> Lane:
    return Lane("h.test", run, limit, Pace(rate), is_limited=True)


async def test_what_a_rate_holds_back_is_not_claimed(store: SqliteStore) -> None:
    seen: list[Claim] = []
    one = paced(recording(seen), SLOW)
    ids = [await send(store, "h.test", attempts=1) for _ in range(5)]
    async with dispatching(store, one):
        await until(lambda: one.slot_at is not None)
        for each in ids[:2]:
            await in_state(store, each, State.SUCCEEDED)
        await until(lambda: one.running == 0)
        for each in ids[2:]:
            waiting = await in_state(store, each, State.PENDING)
            assert (waiting.attempts, waiting.started_at) == (0, None)
    assert [each.delivery_id for each in seen] == ids[:2], "the oldest go first"


async def test_nobody_asks_for_a_lane_before_its_slot(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    due_names = store.due_names

    async def watch(names: Any, *, now_ms: int) -> list[str]:
        asked.extend(names)
        return await due_names(names, now_ms=now_ms)

    monkeypatch.setattr(store, "due_names", watch)
    one = paced(succeed, SLOW)
    async with dispatching(store, one, Lane("other", succeed, 1)):
        ids = [await send(store, "h.test") for _ in range(3)]
        for each in ids[:2]:
            await in_state(store, each, State.SUCCEEDED)
        await until(lambda: one.slot_at is not None and one.running == 0)
        asked.clear()
        for _ in range(20):
            await in_state(store, await send(store, "other"), State.SUCCEEDED)
    assert asked.count("other") >= 20
    assert "h.test" not in asked


async def test_a_rate_spaces_what_waits(store: SqliteStore) -> None:
    begun: list[float] = []

    async def run(claim: Claim) -> Finish:
        begun.append(time.monotonic())
        return await succeed(claim)

    ids = [await send(store, "h.test", attempts=1) for _ in range(6)]
    # From before the first token on: on a busy machine the first run begins well after it.
    before = time.monotonic()
    async with dispatching(store, paced(run, Rate(50, 1))):
        for each in ids:
            assert (await in_state(store, each)).attempts == 1
    assert begun[-1] - before >= 5 * 0.02 - 0.001


async def test_a_slot_is_not_missed_by_a_long_poll(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.dispatch.claiming.POLL_SECONDS", 60.0)
    ids = [await send(store, "h.test") for _ in range(4)]
    async with dispatching(store, paced(succeed, Rate(50, 1))):
        for each in ids:
            await in_state(store, each, State.SUCCEEDED)


async def test_accepted_events_keep_to_the_rate(store: SqliteStore) -> None:
    """The fast way from ingress takes tokens too; with none left the event waits in the store."""
    gate = Gate()
    one = paced(gate, SLOW)
    async with dispatching(store, one) as dispatcher:
        intake = intake_of(store, dispatcher, on_test())
        recorded = [await intake.accept(event(), {}) for _ in range(5)]
        await until(lambda: one.slot_at is not None and gate.running == 2)
        gate.open.set()
        made = [(await store.deliveries_of(each.event_id))[0] for each in recorded]
        for each in made[:2]:
            await in_state(store, each.id, State.SUCCEEDED)
        for each in made[2:]:
            assert (await in_state(store, each.id, State.PENDING)).attempts == 0
    assert gate.most == 2


async def test_a_duplicate_gives_its_token_back(store: SqliteStore) -> None:
    seen: list[Claim] = []
    async with dispatching(store, paced(recording(seen), SLOW)) as dispatcher:
        intake, same = intake_of(store, dispatcher, on_test()), event()
        await intake.accept(same, {})
        for number in range(5):
            again = same._replace(id=f"evt_{number}")  # type: ignore[arg-type]
            assert (await intake.accept(again, {})).is_duplicate
        other = await intake.accept(event(), {})
        await in_state(store, other.delivery_ids[0], State.SUCCEEDED)
    assert len(seen) == 2


async def test_a_burst_that_was_not_needed_is_kept(store: SqliteStore) -> None:
    """A claim takes tokens for all its places, and returns those that found nothing due."""
    one = paced(succeed, Rate(1, 3600, burst=3))
    async with dispatching(store, one):
        for _ in range(3):
            await in_state(store, await send(store, "h.test"), State.SUCCEEDED)
        last = await send(store, "h.test")
        await until(lambda: one.slot_at is not None)
        assert (await in_state(store, last, *State)).state is State.PENDING


def test_nothing_new_overtakes_what_waits_for_a_slot() -> None:
    one = paced(succeed, Rate(1, 0.001))
    assert one.take_places(3) == 1
    assert one.slot_at is not None
    while one.pace is not None and one.pace.take(time.monotonic()) > 0:
        pass
    one.pace = Pace(None)
    assert not one.take_place(), "the slot has come, and is that of one that waits"
    assert one.take_places(1) == 1
    assert one.take_place()


def test_a_full_lane_takes_no_token() -> None:
    one = paced(succeed, SLOW, limit=1)
    assert one.take_place()
    assert not one.take_place()
    one.running -= 1
    assert one.take_places(1) == 1, "the second token is still there"


async def test_a_pause_of_the_pace_holds_back_what_comes(store: SqliteStore) -> None:
    """As a target's Retry-After does."""
    one = paced(succeed, Rate(1000, 1))
    assert one.pace is not None
    one.pace.pause(time.monotonic() + 3600)
    async with dispatching(store, one):
        delivery_id = await send(store, "h.test")
        await until(lambda: one.slot_at is not None)
        assert (await in_state(store, delivery_id, *State)).attempts == 0
        await asyncio.sleep(0)


def test_what_found_no_place_goes_before_what_comes_later() -> None:
    one = paced(succeed, Rate(1000, 1, burst=9), limit=1)
    assert one.take_place()
    assert not one.take_place(), "full: it is stored, and waits"
    one.running -= 1
    assert not one.take_place()
    assert one.take_places(1) == 1
    one.return_places(0)
    one.running -= 1
    assert not one.take_place(), "there may be more of those that wait"
    assert one.take_places(1) == 1
    one.return_places(1)
    assert one.take_place(), "there was none"


async def test_what_another_reason_sends_to_the_store_goes_first_too(store: SqliteStore) -> None:
    """A lane that is not ours yet, or one beside it that is full."""
    elsewhere, full = paced(succeed, SLOW), Lane("full", succeed, 0)
    one = Lane("one", succeed, 8, Pace(SLOW))
    elsewhere.is_limited = True
    async with dispatching(store, elsewhere, full, one) as dispatcher:
        assert not dispatcher.reserve([elsewhere])
        assert not elsewhere.take_place()
        assert not dispatcher.reserve([one, full])
        assert not one.take_place()
        assert one.running == 0
        await until(lambda: one.slot_at is None, seconds=20)
        assert one.take_place(), "nothing was stored for it after all"


def test_what_was_turned_away_during_a_claim_goes_before_what_comes_later() -> None:
    """The claim may not have seen it: it looked before that was stored."""
    one = paced(succeed, SLOW)
    assert one.take_places(8) == 2
    assert not one.take_place(), "a claim is under way: it is stored"
    one.return_places(1)
    assert not one.take_place(), "the token is for what was turned away"
    assert one.take_places(8) == 1
