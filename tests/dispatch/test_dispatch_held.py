"""Held messages: staged with a hold, kept in the store, released when their time has come."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

import pytest
from dispatch_parts import RULES, TARGET, send

from receiver.dispatch.ending import Ending
from receiver.dispatch.releasing import Releaser
from receiver.errors import StoreError
from receiver.holds import Escalation, Hold, NoiseOptions, NoiseRules
from receiver.model import (
    Acknowledgement,
    DeliveryId,
    EventId,
    Message,
    NewDelivery,
    Severity,
    State,
)
from receiver.notify.outbox import ChannelRules, Outbox
from receiver.quiet import QuietHours
from receiver.rate import Rate
from receiver.store import finishing, holding
from receiver.store.base import CancelHeld, DeliveryFilter
from receiver.store.sqlite import SqliteStore

pytestmark = pytest.mark.anyio

EVENING = 1_782_943_200_000  # 2026-07-01 22:00 UTC
MORNING = EVENING + 9 * 3_600_000
NIGHT = QuietHours(start=time(22), end=time(7), zone=ZoneInfo("UTC"))
FAILED = Message(channel="ops", title="Warehouse failed to sync", body="timeout")


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets the moment at which what ends is committed."""

    class Clock:
        now_ms = EVENING

        def time(self) -> float:
            return self.now_ms / 1000

    clock = Clock()
    monkeypatch.setattr(finishing, "time", clock)
    return lambda now_ms: setattr(clock, "now_ms", now_ms)


def outbox(rules: ChannelRules | None = None, **options: object) -> Outbox:
    return Outbox(
        lambda _channel: (NewDelivery("target", TARGET, 3),),
        {} if rules is None else {"ops": rules},
        **options,
    )


async def say(
    store: SqliteStore, box: Outbox, *messages: Message, now_ms: int = EVENING, **more: object
) -> list[DeliveryId]:
    """A handler says these; the numbers of the messages' deliveries."""
    await send(store, "h.says")
    (claim,) = await store.claim({"h.says": 1}, now_ms=10**13)
    staged = box.stage(messages, claim.event, now_ms)
    told: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
    store.finish(Ending(claim, RULES).succeeded(messages=staged, **more), told.set_result)
    assert await told is None
    return [each.id for each in (await store.deliveries_of(claim.event.id))[1:]]


async def states(store: SqliteStore) -> dict[str, int]:
    found = await store.deliveries(DeliveryFilter(names=["ops/*"]), limit=1000)
    return {str(s): n for s in State if (n := sum(each.state is s for each in found))}


async def release(store: SqliteStore, box: Outbox, now_ms: int) -> None:
    await Releaser(store, lambda: box, lambda _count: None).release_due(now_ms)


async def test_quiet_hours_hold_a_message_and_say_until_when(store: SqliteStore) -> None:
    box = outbox(ChannelRules(quiet=NIGHT))
    (number,) = await say(store, box, FAILED)
    held = await store.delivery(number)
    assert held is not None
    assert (held.state, held.hold_kind) == (State.HELD, "quiet")
    assert held.reason == "quiet hours until Thu 07:00 UTC"
    assert int(held.due_at.timestamp() * 1000) == MORNING
    assert await store.backlog() == 0, "what is held does not wait to run"
    await release(store, box, MORNING - 1)
    assert await states(store) == {"held": 1}
    await release(store, box, MORNING)
    assert await states(store) == {"pending": 1}, "one alone goes out as it is"


async def test_what_is_severe_enough_goes_out_in_quiet_hours(store: SqliteStore) -> None:
    box = outbox(ChannelRules(quiet=NIGHT, unless=Severity.CRITICAL))
    urgent = Message(channel="ops", title="t", body="b", severity=Severity.CRITICAL)
    await say(store, box, urgent, FAILED)
    assert await states(store) == {"held": 1, "pending": 1}


async def test_a_night_becomes_one_digest_that_has_every_message(store: SqliteStore) -> None:
    box = outbox(ChannelRules(quiet=NIGHT))
    numbers = [number for _ in range(3) for number in await say(store, box, FAILED)]
    await release(store, box, MORNING)
    assert await states(store) == {"pending": 1, "cancelled": 3}
    (digest,) = await store.deliveries(DeliveryFilter(states=[State.PENDING]), limit=9)
    members = await store.deliveries(DeliveryFilter(merged_into=digest.id), limit=9)
    assert sorted(each.id for each in members) == numbers
    assert {each.reason for each in members} == {f"sent in the digest dlv_{digest.id:x}"}
    assert digest.message_id is not None
    message = await store.message(digest.message_id)
    assert message is not None
    assert message.title == "3 \N{MULTIPLICATION SIGN} Warehouse failed to sync"


async def test_two_releasers_make_one_digest(store: SqliteStore) -> None:
    box = outbox(ChannelRules(quiet=NIGHT))
    for _ in range(3):
        await say(store, box, FAILED)
    await asyncio.gather(*(release(store, box, MORNING) for _ in range(4)))
    assert await states(store) == {"pending": 1, "cancelled": 3}


async def test_a_silence_is_asked_at_staging_and_at_release(store: SqliteStore) -> None:
    silences = [Hold("silence", "silenced by ana", MORNING, "sil_1")]
    box = outbox(silenced=lambda _message, _event, _now_ms: silences[0] if silences else None)
    await say(store, box, FAILED)
    silences[0] = Hold("silence", "silenced by bo", MORNING + 5, "sil_2")
    await release(store, box, MORNING)
    (held,) = await store.deliveries(DeliveryFilter(states=[State.HELD]), limit=9)
    assert held.reason == "silenced by bo"
    silences.clear()
    await release(store, box, MORNING + 5)
    assert await states(store) == {"pending": 1}


def escalating(incident: str, *after_ms: int) -> Message:
    steps = tuple(Escalation(after, ("ops",), incident) for after in after_ms or (1000,))
    return replace(FAILED, escalations=steps)


async def test_escalations_are_never_merged_and_can_be_cancelled_with_a_success(
    store: SqliteStore,
) -> None:
    box = outbox()
    await say(store, box, escalating("a"))
    await say(store, box, escalating("b"))
    assert await states(store) == {"pending": 2, "held": 2}
    await release(store, box, EVENING + 1000)
    assert await states(store) == {"pending": 4}
    await say(store, box, escalating("a", 1000, 2000))
    await say(store, outbox(), cancels=(CancelHeld("escalation", "a", "resolved"),))
    found = await store.deliveries(DeliveryFilter(states=[State.CANCELLED]), limit=9)
    assert [each.reason for each in found] == ["resolved", "resolved"]


async def test_of_an_incident_one_escalation_waits_for_each_target(store: SqliteStore) -> None:
    box = outbox()
    for _ in range(3):
        await say(store, box, escalating("a", 1000, 2000))
    assert await states(store) == {"pending": 3, "held": 2, "cancelled": 4}
    await release(store, box, EVENING + 1000)
    assert await states(store) == {"pending": 4, "held": 1, "cancelled": 4}
    await release(store, box, EVENING + 2000)
    await say(store, box, escalating("a"))
    assert await states(store) == {"pending": 6, "held": 1, "cancelled": 4}


async def acknowledge(store: SqliteStore, event_id: EventId, author: str) -> Acknowledgement:
    now = datetime.now(UTC)
    new = Acknowledgement(event_id=event_id, at=now, author=author, how="command", comment="mine")
    kept = await store.acknowledge(new)
    assert kept is not None
    assert kept.is_new == (kept.first.author == author)
    return kept.first


async def test_who_acknowledges_first_ends_the_escalations_of_the_incident(
    store: SqliteStore,
) -> None:
    box = outbox()
    ids = [(await say(store, box, escalating("a", 1000, 2000)))[0] for _ in range(2)]
    others = await say(store, box, escalating("b"))
    later = await store.delivery(ids[1])
    assert later is not None
    first = await acknowledge(store, later.event_id, "ann")
    assert (first.author, first.comment) == ("ann", "mine")
    assert (await acknowledge(store, later.event_id, "bo")).author == "ann"
    assert await store.acknowledgement(later.event_id) == first
    (held,) = await store.deliveries(DeliveryFilter(states=[State.HELD]), limit=9)
    assert held.id in others, "another incident"
    found = await store.deliveries(DeliveryFilter(states=[State.CANCELLED]), limit=9)
    assert [each.reason for each in found].count("acknowledged by ann") == 2
    assert await store.acknowledgement("evt_none") is None


async def test_what_is_acknowledged_escalates_no_more_when_it_is_said_again(
    store: SqliteStore,
) -> None:
    """By a replay, or because the acknowledgement was faster than the routes."""
    await send(store, "h.says")
    (claim,) = await store.claim({"h.says": 1}, now_ms=10**13)
    await acknowledge(store, claim.event.id, "ann")
    staged = outbox().stage([escalating("a")], claim.event, EVENING)
    told: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
    store.finish(Ending(claim, RULES).succeeded(messages=staged), told.set_result)
    assert await told is None
    (_, sent, escalation) = await store.deliveries_of(claim.event.id)
    assert (sent.state, escalation.state) == (State.PENDING, State.CANCELLED)
    assert escalation.reason == "acknowledged by ann"


async def test_an_escalation_is_released_or_acknowledged_and_never_both(
    store: SqliteStore,
) -> None:
    box = outbox()
    for number in range(20):
        (delivery_id, *_) = await say(store, box, escalating(f"{number}"))
        delivery = await store.delivery(delivery_id)
        assert delivery is not None
        await asyncio.gather(
            release(store, box, EVENING + 1000), acknowledge(store, delivery.event_id, "ann")
        )
        made = [
            each for each in await store.deliveries_of(delivery.event_id) if each.kind == "target"
        ]
        escalation = made[1]
        assert (escalation.state, escalation.reason) in [
            (State.PENDING, None),
            (State.CANCELLED, "acknowledged by ann"),
        ]


async def test_nobody_acknowledges_what_is_not_there(store: SqliteStore) -> None:
    nothing = Acknowledgement(
        event_id=EventId("evt_none"), at=datetime.now(UTC), author="ann", how="link"
    )
    assert await store.acknowledge(nothing) is None


async def test_a_person_releases_or_discards_what_is_held(store: SqliteStore) -> None:
    box = outbox(ChannelRules(quiet=NIGHT))
    (first,) = await say(store, box, FAILED)
    (second,) = await say(store, box, FAILED)
    assert await store.retry([first], now_ms=EVENING + 1) == [first]
    assert await store.discard([second], reason="seen", now_ms=EVENING + 1) == [second]
    assert await states(store) == {"pending": 1, "cancelled": 1}


async def test_an_event_is_kept_while_a_message_of_it_is_held_or_its_digest_waits(
    store: SqliteStore,
) -> None:
    box = outbox(ChannelRules(quiet=NIGHT))
    for _ in range(2):
        await say(store, box, FAILED)
    everything = {"events_before_ms": 10**13, "keys_before_ms": 0, "limit": 99}
    assert await store.prune(**everything) == 0
    await release(store, box, MORNING)
    assert await store.prune(**everything) == 0, "neither the digest's event, nor its member's"
    ((digest,)) = await store.claim({TARGET: 1}, now_ms=10**13)
    told: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
    store.finish(Ending(digest, RULES).succeeded(), told.set_result)
    assert await told is None
    assert await store.prune(**everything) == 2


async def test_a_merged_message_stands_as_its_digest_stands(store: SqliteStore) -> None:
    box = outbox(ChannelRules(quiet=NIGHT))
    numbers = [number for _ in range(2) for number in await say(store, box, FAILED)]
    await release(store, box, MORNING)
    ids = [found.event_id for n in numbers if (found := await store.delivery(n))]
    said = await store.latest_messages(ids)
    assert [[each.state for each in said[event_id]] for event_id in ids] == [[State.PENDING]] * 2
    (claim,) = await store.claim({TARGET: 1}, now_ms=10**13)
    told: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
    store.finish(Ending(claim, RULES).dead("HTTPError", "404"), told.set_result)
    assert await told is None
    said = await store.latest_messages(ids)
    assert [[each.state for each in said[event_id]] for event_id in ids] == [[State.DEAD]] * 2


SECOND = 1000
GROUPED = NoiseRules(group_by=("title",), wait_ms=30 * SECOND, every_ms=300 * SECOND)
AT_MOST_TWO = NoiseRules(throttle=Rate(2, 60))


async def digests(store: SqliteStore) -> list[tuple[str, int]]:
    """Title and how many are in it, of every message that goes out, oldest first."""
    found = await store.deliveries(DeliveryFilter(states=[State.PENDING]), limit=1000)
    told: list[tuple[str, int]] = []
    for each in reversed(found):
        assert each.message_id is not None
        message = await store.message(each.message_id)
        assert message is not None
        members = await store.deliveries(DeliveryFilter(merged_into=each.id), limit=1000)
        told.append((message.title, len(members) or 1))
    return told


async def test_a_group_waits_and_then_goes_out_every_so_often(
    store: SqliteStore, at: Callable[[int], None]
) -> None:
    box = outbox(ChannelRules(noise=GROUPED))

    async def fail(seconds: int) -> None:
        at(EVENING + seconds * SECOND)
        await say(store, box, FAILED, now_ms=EVENING + seconds * SECOND)

    async def due() -> list[int]:
        held = await store.deliveries(DeliveryFilter(states=[State.HELD]), limit=99)
        return sorted({int(each.due_at.timestamp() - EVENING / 1000) for each in held})

    await fail(0)
    await fail(29)
    assert await due() == [30], "the first one's wait"
    await release(store, box, EVENING + 30 * SECOND)
    await fail(31)
    await fail(200)
    assert await due() == [330], "`every` after the digest"
    await release(store, box, EVENING + 330 * SECOND)
    await fail(1000)
    assert await due() == [1030], "a group that was quiet for `every` waits anew"
    await release(store, box, EVENING + 1030 * SECOND)
    title = "Warehouse failed to sync"
    assert await digests(store) == [
        (f"2 \N{MULTIPLICATION SIGN} {title}", 2),
        (f"2 \N{MULTIPLICATION SIGN} {title}", 2),
        (title, 1),
    ]


async def test_a_route_groups_by_its_own_rules(store: SqliteStore) -> None:
    box = outbox(ChannelRules(noise=GROUPED))
    own = replace(FAILED, noise=NoiseOptions(scope="route low ", wait_ms=1000))
    await say(store, box, FAILED, own)
    held = await store.deliveries(DeliveryFilter(states=[State.HELD]), limit=9)
    assert len({each.hold_group for each in held}) == 2
    assert held[0].hold_group == f'route low ["{FAILED.title}"]'


async def test_a_throttle_lets_some_go_and_sums_up_the_rest(
    store: SqliteStore, at: Callable[[int], None]
) -> None:
    box = outbox(ChannelRules(noise=AT_MOST_TWO))
    at(EVENING)
    for _ in range(5):
        await say(store, box, FAILED)
    assert await states(store) == {"pending": 2, "held": 3}
    (held, *_) = await store.deliveries(DeliveryFilter(states=[State.HELD]), limit=9)
    assert held.reason == "over 2/m of this target"
    await release(store, box, EVENING + 60 * SECOND)
    at(EVENING + 61 * SECOND)
    for _ in range(2):
        await say(store, box, FAILED)
    assert [count for _, count in await digests(store)] == [1, 1, 3, 1]
    assert (await states(store))["held"] == 1, "the summary is the new window's first message"


async def test_a_digest_is_throttled_too(store: SqliteStore, at: Callable[[int], None]) -> None:
    both = replace(GROUPED, throttle=Rate(1, 60))
    box = outbox(ChannelRules(noise=both))
    at(EVENING)
    for title in "ab":
        for _ in range(2):
            await say(store, box, replace(FAILED, title=title))
    await release(store, box, EVENING + 30 * SECOND)
    assert await states(store) == {"pending": 1, "cancelled": 2, "held": 2}
    await release(store, box, EVENING + 90 * SECOND)
    assert [count for _, count in await digests(store)] == [2, 2]


async def test_a_digest_says_what_is_in_it(store: SqliteStore) -> None:
    box = outbox(ChannelRules(quiet=NIGHT))
    for number in range(3):
        await say(store, box, replace(FAILED, body=f"timeout {number}"))
    await say(store, box, Message(channel="ops", title="Low", body="b", severity=Severity.CRITICAL))
    await release(store, box, MORNING)
    (claim,) = await store.claim({TARGET: 1}, now_ms=10**13)
    assert claim.message is not None
    assert claim.message.title == "4 messages of 2 kinds"
    assert claim.message.severity is Severity.CRITICAL
    first, _, *lines = claim.message.body.splitlines()
    assert first.startswith("4 messages, ")
    assert lines == [
        "3 \N{MULTIPLICATION SIGN} Warehouse failed to sync",
        "1 \N{MULTIPLICATION SIGN} Low",
        "",
        "Latest of Warehouse failed to sync:",
        "timeout 2",
        "",
        "Latest of Low:",
        "b",
        "",
        f"Each of them: clarihook deliveries list --digest dlv_{claim.delivery_id:x}",
    ]


async def test_a_fault_in_the_release_leaves_all_as_it_was(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each statement of it in turn: the digest, its members and the timer commit together."""
    box = outbox(ChannelRules(quiet=NIGHT, noise=GROUPED))
    for _ in range(3):
        await say(store, box, FAILED)
    (group,) = await store.due_groups(now_ms=MORNING, limit=9)
    held = await store.held_messages(group, now_ms=MORNING, limit=9)
    ids = [each.delivery_id for each in held]
    failed = 0
    for name in ("insert_digest_message", "insert_digest", "merge", "start_span"):
        with monkeypatch.context() as patched:
            broken = {**holding._Q._sql, name: "SELECT no_such_column"}
            patched.setattr(holding._Q, "_sql", broken)
            with pytest.raises(StoreError):
                await store.release_held(group, ids, lambda _id: FAILED, now_ms=MORNING)
            failed += 1
        assert await states(store) == {"held": 3}
    assert failed == 4
    await release(store, box, MORNING)
    assert await states(store) == {"pending": 1, "cancelled": 3}


async def test_a_dead_digest_is_sent_again_and_keeps_its_members(store: SqliteStore) -> None:
    box = outbox(ChannelRules(quiet=NIGHT))
    numbers = [number for _ in range(2) for number in await say(store, box, FAILED)]
    await release(store, box, MORNING)
    (claim,) = await store.claim({TARGET: 1}, now_ms=10**13)
    told: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
    store.finish(Ending(claim, RULES).dead("HTTPError", "404"), told.set_result)
    assert await told is None
    assert await store.retry([claim.delivery_id], now_ms=MORNING) == [claim.delivery_id]
    (again,) = await store.claim({TARGET: 1}, now_ms=10**13)
    assert again.message == claim.message
    members = await store.deliveries(DeliveryFilter(merged_into=claim.delivery_id), limit=9)
    assert sorted(each.id for each in members) == numbers
