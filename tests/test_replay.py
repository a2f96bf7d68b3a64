"""A replay's parts: each event gets its deliveries exactly once, whoever adds them and when."""

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.errors import StoreError, UsageError
from receiver.model import (
    Event,
    EventId,
    Message,
    NewDelivery,
    NewEvent,
    Outcome,
    State,
    from_ms,
)
from receiver.replay import (
    Progress,
    Repeater,
    Replayer,
    Rest,
    Selection,
    Status,
    cancel,
    find,
    pause,
    reopen,
    take_over_abandoned,
)
from receiver.replay.replayer import _take
from receiver.replay.scanning import Candidate
from receiver.store.base import Claim, DeliveryFilter, EventFilter, Finish, StagedMessage
from receiver.store.ids import new_event_id
from receiver.store.sqlite import SqliteStore

BEGAN_MS = 1_795_000_000_000
ALL = Selection(types=("*",))
Story = Callable[[SqliteStore], Awaitable[None]]


def plan(event: Event) -> Sequence[NewDelivery]:
    """Two handlers for all but `other`, for which there is none."""
    names = () if event.type == "other" else ("a.first", "a.second")
    return [NewDelivery("handler", name, 3) for name in names]


def replayer_of(store: SqliteStore, **options: Any) -> Replayer:
    """With today's plan, and the channel ops."""
    return Replayer(store, Repeater(store, plan, target), **options)


def target(name: str) -> NewDelivery | None:
    """Today's settings have the targets of the channel ops, and no other."""
    return NewDelivery("target", name, 3) if name.startswith("ops/") else None


async def record(store: SqliteStore, number: int, type_: str = "one") -> EventId:
    """An event that came `number` ms after the beginning; it had one delivery, of a.first."""
    event = NewEvent(
        new_event_id(BEGAN_MS + number), "src", type_, BEGAN_MS + number, b'{"n": %d}' % number,
        "", None, 0,
        hashlib.sha256(b"%d" % number).digest(),
    )  # fmt: skip
    recorded = await store.record(event, [NewDelivery("handler", "a.first", 3)])
    return recorded.event_id


@pytest.fixture
def tell(tmp_path: Path) -> Callable[[Story], None]:
    """Run a story with an opened store, in which 600 events are."""

    def run(story: Story) -> None:
        async def main() -> None:
            store = SqliteStore(tmp_path / "db.sqlite")
            await store.open()
            try:
                await asyncio.gather(*[record(store, number) for number in range(600)])
                await story(store)
            finally:
                await store.close()

        asyncio.run(main())

    return run


def ignore(_progress: Progress) -> None:
    return None


async def replayed(store: SqliteStore, replay_id: int) -> list[tuple[str, str]]:
    """The event and handler of each of its deliveries."""
    found = await store.deliveries(DeliveryFilter(replay_id=replay_id), limit=10_000)
    return [(delivery.event_id, delivery.name) for delivery in found]


async def run_all(store: SqliteStore, state: State, *, limit: int = 10_000) -> list[Claim]:
    """Claim what is due and let it end so."""
    claims = await store.claim({"a.first": limit, "a.second": limit}, now_ms=2**42)
    await end_all(store, claims, state)
    return claims


def test_every_event_gets_the_deliveries_of_todays_handlers_once(
    tell: Callable[[Story], None],
) -> None:
    async def story(store: SqliteStore) -> None:
        await record(store, 600, "other")
        replayer = replayer_of(store)
        begun = await replayer.begin(ALL, author="ann", now_ms=BEGAN_MS + 10_000)
        assert (begun.status, begun.done) == (Status.RUNNING, 0.0)
        added = await replayer.run(begun.replay.id, ignore, until_added=True)
        pairs = await replayed(store, begun.replay.id)
        assert len(pairs) == len(set(pairs)) == 1200
        assert (added.replay.events, added.selected, added.is_added) == (600, 601, True)
        assert (added.replay.author, added.status) == ("ann", Status.RUNNING)
        # What is added is not done: only what has ended is.
        assert added.done == 0.0
        await run_all(store, State.SUCCEEDED, limit=900)
        half = await find(store, begun.replay.id)
        ended = half.replay.states[State.SUCCEEDED]
        assert 0 < ended < 1200
        assert half.done == pytest.approx(ended / 1200)

    tell(story)


def test_what_was_cut_off_is_finished_by_another_and_adds_nothing_twice(
    tell: Callable[[Story], None],
) -> None:
    """Three run it at once, one of them is cut off in the middle."""

    async def story(store: SqliteStore) -> None:
        replayer = replayer_of(store)
        replay_id = (await replayer.begin(ALL, author="a", now_ms=BEGAN_MS + 9999)).replay.id

        def die_half_way(progress: Progress) -> None:
            if progress.replay.events:
                raise ConnectionAbortedError

        with pytest.raises(ConnectionAbortedError):
            await replayer.run(replay_id, die_half_way, max_in_line=500, until_added=True)
        assert 0 < len(await replayed(store, replay_id)) < 1200
        await asyncio.gather(
            *[replayer_of(store).run(replay_id, ignore, until_added=True) for _ in range(3)]
        )
        pairs = await replayed(store, replay_id)
        assert len(pairs) == len(set(pairs)) == 1200

    tell(story)


def test_no_more_is_added_than_may_stand_in_line(tell: Callable[[Story], None]) -> None:
    """So that a large replay never fills the backlog, for which live events would be refused."""

    async def story(store: SqliteStore) -> None:
        replayer = replayer_of(store)
        replay_id = (await replayer.begin(ALL, author="a", now_ms=BEGAN_MS + 9999)).replay.id
        most = 0
        running = asyncio.create_task(replayer.run(replay_id, ignore, max_in_line=100))
        while not running.done():
            most = max(most, await store.count_in_line(replay_id))
            await run_all(store, State.SUCCEEDED, limit=50)
            await asyncio.sleep(0)
        ended = await running
        # A part is counted in events, and each of these has two deliveries.
        assert 0 < most <= 200
        assert (ended.status, ended.done) == (Status.ENDED, 1.0)
        assert ended.replay.states == {State.SUCCEEDED: 1200}

    tell(story)


def test_it_is_paused_resumed_and_cancelled(tell: Callable[[Story], None]) -> None:
    async def story(store: SqliteStore) -> None:
        replayer = replayer_of(store)
        replay_id = (await replayer.begin(ALL, author="a", now_ms=BEGAN_MS + 9999)).replay.id
        paused = await pause(store, replay_id)
        assert (paused.status, paused.has_stopped) == (Status.PAUSED, True)
        stopped = await replayer.run(replay_id, ignore)
        assert (stopped.status, stopped.replay.events) == (Status.PAUSED, 0)
        await reopen(store, replay_id)
        has_some = asyncio.Event()

        def watch(progress: Progress) -> None:
            if progress.deliveries:
                has_some.set()

        cut = asyncio.create_task(replayer.run(replay_id, watch, max_in_line=10))
        await has_some.wait()
        cancelled = await cancel(store, replay_id, now_ms=BEGAN_MS + 9999)
        assert (await cut).status is cancelled.status is Status.CANCELLED
        assert set(cancelled.replay.states) == {State.CANCELLED}
        with pytest.raises(UsageError, match="was cancelled; begin a new one"):
            await reopen(store, replay_id)

    tell(story)


def test_by_state_only_those_handlers_are_repeated_whose_latest_delivery_is_so(
    tell: Callable[[Story], None],
) -> None:
    """A dead delivery that a replay has mended is not repeated by the next one."""

    async def story(store: SqliteStore) -> None:
        await run_all(store, State.DEAD, limit=3)
        await run_all(store, State.SUCCEEDED)
        dead = Selection(states=(State.DEAD,))
        replayer = replayer_of(store)
        first = await replayer.begin(dead, author="a", now_ms=BEGAN_MS + 9999)
        await replayer.run(first.replay.id, ignore, until_added=True)
        assert [name for _, name in await replayed(store, first.replay.id)] == ["a.first"] * 3
        await run_all(store, State.SUCCEEDED)
        with pytest.raises(UsageError, match=r"nothing to replay: .* is dead: no such event"):
            await replayer.begin(dead, author="a", now_ms=BEGAN_MS + 9999)

    tell(story)


@pytest.mark.parametrize("newest", [False, True])
def test_the_limit_takes_from_the_right_end(tell: Callable[[Story], None], newest: bool) -> None:
    async def story(store: SqliteStore) -> None:
        selection = Selection(
            since_ms=BEGAN_MS + 100, until_ms=BEGAN_MS + 500, limit=5, newest=newest,
            handler="a.second",
        )  # fmt: skip
        replayer = replayer_of(store)
        replay_id = (await replayer.begin(selection, author="a", now_ms=BEGAN_MS + 9999)).replay.id
        await replayer.run(replay_id, ignore, until_added=True)
        pairs = await replayed(store, replay_id)
        times = sorted(int(event_id[4:16], 16) - BEGAN_MS for event_id, _ in pairs)
        assert times == ([495, 496, 497, 498, 499] if newest else [100, 101, 102, 103, 104])
        assert {name for _, name in pairs} == {"a.second"}

    tell(story)


def test_events_that_come_later_are_not_part_of_it(tell: Callable[[Story], None]) -> None:
    async def story(store: SqliteStore) -> None:
        replayer = replayer_of(store)
        replay_id = (await replayer.begin(ALL, author="a", now_ms=BEGAN_MS + 700)).replay.id
        late = await record(store, 800)
        await replayer.run(replay_id, ignore, until_added=True)
        assert late not in {event_id for event_id, _ in await replayed(store, replay_id)}

    tell(story)


def test_whoever_watches_hears_that_nothing_moves(
    tell: Callable[[Story], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.replay.replayer.STILL_SECONDS", 0.0)

    def nobody(_progress: Progress) -> None:
        raise StoreError("the server has stopped")

    async def story(store: SqliteStore) -> None:
        replayer = replayer_of(store, on_still=nobody)
        replay_id = (await replayer.begin(ALL, author="a", now_ms=BEGAN_MS + 9999)).replay.id
        with pytest.raises(StoreError, match="the server has stopped"):
            await replayer.run(replay_id, ignore)

    tell(story)


def test_a_condition_leaves_out_what_it_does_not_fit(tell: Callable[[Story], None]) -> None:
    """What was looked at and left out is progress, but no part of the replay."""

    async def story(store: SqliteStore) -> None:
        selection = Selection(where="event.n % 100 == 7", limit=4)
        replayer = replayer_of(store)
        begun = await replayer.begin(selection, author="a", now_ms=BEGAN_MS + 9999)
        assert (begun.rest.scanned, begun.rest.total) == (7, 600)
        seen: list[float] = []
        added = await replayer.run(
            begun.replay.id, lambda progress: seen.append(progress.rest.done), until_added=True
        )
        pairs = await replayed(store, begun.replay.id)
        times = {int(event_id[4:16], 16) - BEGAN_MS for event_id, _ in pairs}
        assert times == {7, 107, 207, 307}
        assert (added.replay.events, added.selected, added.rest.done) == (4, 4, 1.0)
        assert seen == sorted(seen)
        with pytest.raises(UsageError, match=r"no such event \(evt_.*: there is no field 'x'\)"):
            await replayer.begin(Selection(where="event.x"), author="a", now_ms=BEGAN_MS + 9999)

    tell(story)


async def have_said(store: SqliteStore, state: State, *, limit: int) -> None:
    """Handlers succeed, each says a message to ops and one to gone; those of ops end so."""
    claims = await store.claim({"a.first": limit}, now_ms=2**42)
    message = Message(channel="ops", title="heard", body="it")
    targets = (NewDelivery("target", "ops/1-x", 3), NewDelivery("target", "gone/1-x", 3))
    await end_all(store, claims, State.SUCCEEDED, messages=(StagedMessage(message, targets),))
    await end_all(store, await store.claim({"ops/1-x": limit}, now_ms=2**42), state)


async def end_all(store: SqliteStore, claims: Sequence[Claim], state: State, **more: Any) -> None:
    done: asyncio.Queue[BaseException | None] = asyncio.Queue()
    outcome = Outcome.DELIVERED if state is State.SUCCEEDED else Outcome.PERMANENT
    for claim in claims:
        finish = Finish(claim.delivery_id, claim.attempt, 0, 1.0, state, outcome, **more)
        store.finish(finish, done.put_nowait)
    assert [await done.get() for _ in claims] == [None] * len(claims)


def test_what_died_is_repeated_runs_and_messages(tell: Callable[[Story], None]) -> None:
    """A message is sent again to the target where it died, if the settings still have that."""

    async def story(store: SqliteStore) -> None:
        await have_said(store, State.DEAD, limit=3)
        await have_said(store, State.SUCCEEDED, limit=2)
        await run_all(store, State.DEAD, limit=4)
        await run_all(store, State.SUCCEEDED)
        replayer = replayer_of(store)
        dead = Selection(states=(State.DEAD,))
        begun = await replayer.begin(dead, author="a", now_ms=BEGAN_MS + 9999)
        await replayer.run(begun.replay.id, ignore, until_added=True)
        names = sorted(name for _, name in await replayed(store, begun.replay.id))
        assert names == ["a.first"] * 4 + ["ops/1-x"] * 3
        await end_all(store, await store.claim({"ops/1-x": 9}, now_ms=2**42), State.SUCCEEDED)
        await run_all(store, State.SUCCEEDED)
        with pytest.raises(UsageError, match="nothing to replay"):
            await replayer.begin(dead, author="a", now_ms=BEGAN_MS + 9999)

    tell(story)


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(messages_only=True), {"ops/1-x": 5}),
        (Selection(messages_only=True, channel="ops"), {"ops/1-x": 5}),
        (Selection(messages_only=True, states=(State.DEAD,)), {"ops/1-x": 3}),
        (Selection(messages_only=True, handler="a.first"), {"ops/1-x": 5}),
        (Selection(states=(State.DEAD,), quiet=True, ids=()), {}),
        (Selection(messages_only=True, channel="other"), {}),
        (Selection(messages_only=True, handler="a.second"), {}),
    ],
)
def test_nothing_but_the_messages(
    tell: Callable[[Story], None], selection: Selection, expected: dict[str, int]
) -> None:
    """As they were said: no handler runs, and what has not ended is left to end."""

    async def story(store: SqliteStore) -> None:
        await have_said(store, State.DEAD, limit=3)
        await have_said(store, State.SUCCEEDED, limit=2)
        replayer = replayer_of(store)
        begin = replayer.begin(selection, author="a", now_ms=BEGAN_MS + 9999)
        if not expected:
            with pytest.raises(UsageError, match="nothing to replay"):
                await begin
            return
        begun = await begin
        await replayer.run(begun.replay.id, ignore, until_added=True)
        names = Counter(name for _, name in await replayed(store, begun.replay.id))
        assert names == expected
        claims = await store.claim({"ops/1-x": 9}, now_ms=2**42)
        assert {(claim.message.title, claim.replay_id) for claim in claims if claim.message} == {
            ("heard", begun.replay.id)
        }

    tell(story)


def test_no_more_deliveries_at_a_time_than_were_asked_for(tell: Callable[[Story], None]) -> None:
    async def story(store: SqliteStore) -> None:
        replayer = replayer_of(store)
        replay_id = (
            await replayer.begin(
                Selection(ids=tuple((await ids_of(store))[:20])),
                author="a", now_ms=BEGAN_MS + 9999, concurrency=4,
            )
        ).replay.id  # fmt: skip
        most = 0

        def watch(progress: Progress) -> None:
            nonlocal most
            most = max(most, progress.in_line)

        running = asyncio.create_task(replayer.run(replay_id, watch))
        while not running.done():
            claims = await store.claim({"a.first": 99, "a.second": 99}, now_ms=2**42)
            ours = [claim for claim in claims if claim.replay_id == replay_id]
            most = max(most, len(ours))
            await end_all(store, claims, State.SUCCEEDED)
            await asyncio.sleep(0)
        assert (await running).replay.states == {State.SUCCEEDED: 40}
        assert 2 <= most <= 4

    tell(story)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait until it is so; the test's own time limit ends a wait for what never comes."""
    while True:
        if await holds():
            return
        await asyncio.sleep(0.01)


async def is_added(store: SqliteStore, replay_id: int) -> bool:
    return (await find(store, replay_id)).is_added


async def has_none_abandoned(store: SqliteStore, before_ms: int) -> bool:
    return not await store.abandoned_replays(before_ms=before_ms)


async def ids_of(store: SqliteStore) -> list[str]:
    return [event.id for event in await store.events(EventFilter(), limit=1000, newest=False)]


def test_what_nobody_adds_to_any_more_is_taken_over(
    tell: Callable[[Story], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a replay survives whoever began it; one that is paused or looked after is left."""

    async def story(store: SqliteStore) -> None:
        replayer = replayer_of(store)
        begun_ms = int(time.time() * 1000)
        left, paused, fresh = [
            (await replayer.begin(ALL, author="a", now_ms=moment)).replay.id
            for moment in (begun_ms - 60_000, begun_ms - 60_000, begun_ms)
        ]
        await pause(store, paused)
        caretaker = asyncio.create_task(take_over_abandoned(store, replayer))
        await until(lambda: is_added(store, left))
        caretaker.cancel()
        await asyncio.gather(caretaker, return_exceptions=True)
        assert len(await replayed(store, left)) == 1200
        assert await replayed(store, paused) == await replayed(store, fresh) == []

    tell(story)


def test_whoever_adds_says_so_while_there_is_no_room(
    tell: Callable[[Story], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.replay.replayer.BEAT_SECONDS", 0.0)

    async def story(store: SqliteStore) -> None:
        replayer = replayer_of(store)
        began_ms = int(time.time() * 1000) - 60_000
        replay_id = (await replayer.begin(ALL, author="a", now_ms=began_ms)).replay.id
        assert await store.abandoned_replays(before_ms=began_ms + 1) == [replay_id]
        running = asyncio.create_task(replayer.run(replay_id, ignore, max_in_line=0))
        await until(lambda: has_none_abandoned(store, began_ms + 30_000))
        await cancel(store, replay_id, now_ms=began_ms)
        assert (await running).status is Status.CANCELLED
        assert await replayed(store, replay_id) == []

    tell(story)


EVENTS = st.lists(st.tuples(st.booleans(), st.integers(0, 3)), min_size=1, max_size=30)


@given(EVENTS, st.integers(1, 9), st.integers(1, 9), st.none() | st.integers(1, 30))
def test_parts_take_each_event_that_fits_once_and_in_order(
    shape: list[tuple[bool, int]], room: int, events: int, limit: int | None
) -> None:
    """However the parts fall, and no part has more than there is room for."""
    page = [Candidate(stored_event(number), fits) for number, (fits, _) in enumerate(shape)]
    planned = {
        event.id: [NewDelivery("handler", f"h{n}", 1) for n in range(count)]
        for (event, fits), (_, count) in zip(page, shape, strict=True)
        if fits and count
    }
    rest = Rest(selection=Selection(limit=limit, where="true"), total=len(page))
    taken: list[str] = []
    while rest.is_open:
        following = page[rest.scanned :]
        _, part = _take(rest, following, planned, room=room, events=events, is_idle=False)
        assert sum(len(made) for _, made in part) <= room
        left, part = _take(rest, following, planned, room=room, events=events, is_idle=True)
        assert left.scanned > rest.scanned
        assert left.matched - rest.matched <= events
        assert len(part) == 1 or sum(len(made) for _, made in part) <= room
        taken += [event_id for event_id, _ in part]
        rest = left
    fitting = [event.id for event, fits in page if fits][:limit]
    assert taken == [event_id for event_id in fitting if event_id in planned]
    assert rest.matched == len(fitting)
    assert rest.done == 1.0


def stored_event(number: int) -> Event:
    return Event(
        id=EventId(f"evt_{number:032x}"), seq=number, source="src", type="one",
        received_at=from_ms(BEGAN_MS + number), body=b"{}",
    )  # fmt: skip


TEXTS = st.lists(st.text(), max_size=3).map(tuple)
SELECTIONS = st.builds(
    Selection,
    ids=TEXTS,
    types=TEXTS,
    sources=TEXTS,
    since_ms=st.none() | st.integers(0, 2**41),
    until_ms=st.none() | st.integers(0, 2**41),
    states=st.lists(st.sampled_from(State), max_size=3).map(tuple),
    handler=st.none() | st.text(),
    limit=st.none() | st.integers(1),
    newest=st.booleans(),
    where=st.none() | st.text(),
    channel=st.none() | st.text(),
    messages_only=st.booleans(),
    quiet=st.booleans(),
)
RESTS = st.builds(
    Rest,
    selection=SELECTIONS,
    total=st.integers(0),
    scanned=st.integers(0),
    position=st.none() | st.text(),
    state=st.sampled_from(["open", "paused", "cancelled"]),
    matched=st.integers(0),
    events_per_second=st.none() | st.floats(0.01, 1e6),
    concurrency=st.none() | st.integers(1),
)


@given(RESTS)
def test_what_is_left_survives_being_stored(rest: Rest) -> None:
    assert Rest.load(rest.dump()) == rest


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"selection": {"colour": 1}, "total": 1}'])
def test_what_another_version_left_is_refused(text: str) -> None:
    with pytest.raises(StoreError, match="another version of clarihook began it"):
        Rest.load(text)
