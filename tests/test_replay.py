"""A replay's parts: each event gets its deliveries exactly once, whoever adds them and when."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.errors import StoreError, UsageError
from receiver.model import Event, EventId, NewDelivery, NewEvent, Outcome, State
from receiver.replay import Progress, Replayer, Rest, Selection, Status, cancel, pause, reopen
from receiver.store.base import Claim, DeliveryFilter, Finish
from receiver.store.ids import new_event_id
from receiver.store.sqlite import SqliteStore

BEGAN_MS = 1_795_000_000_000
ALL = Selection(types=("*",))
Story = Callable[[SqliteStore], Awaitable[None]]


def plan(event: Event) -> Sequence[NewDelivery]:
    """Two handlers for all but `other`, for which there is none."""
    names = () if event.type == "other" else ("a.first", "a.second")
    return [NewDelivery("handler", name, 3) for name in names]


async def record(store: SqliteStore, number: int, type_: str = "one") -> EventId:
    """An event that came `number` ms after the beginning; it had one delivery, of a.first."""
    event = NewEvent(
        new_event_id(BEGAN_MS + number), "src", type_, BEGAN_MS + number, b"{}", "", None, 0,
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
    outcome = Outcome.DELIVERED if state is State.SUCCEEDED else Outcome.PERMANENT
    done: asyncio.Queue[BaseException | None] = asyncio.Queue()
    for claim in claims:
        finish = Finish(claim.delivery_id, claim.attempt, 0, 1.0, state, outcome)
        store.finish(finish, done.put_nowait)
    assert [await done.get() for _ in claims] == [None] * len(claims)
    return claims


def test_every_event_gets_the_deliveries_of_todays_handlers_once(
    tell: Callable[[Story], None],
) -> None:
    async def story(store: SqliteStore) -> None:
        await record(store, 600, "other")
        replayer = Replayer(store, plan)
        begun = await replayer.begin(ALL, author="ann", now_ms=BEGAN_MS + 10_000)
        assert (begun.status, begun.done) == (Status.RUNNING, 0.0)
        added = await replayer.run(begun.replay.id, ignore, until_added=True)
        pairs = await replayed(store, begun.replay.id)
        assert len(pairs) == len(set(pairs)) == 1200
        assert (added.replay.events, added.selected, added.is_added) == (600, 601, True)
        assert (added.replay.author, added.status) == ("ann", Status.RUNNING)

    tell(story)


def test_what_was_cut_off_is_finished_by_another_and_adds_nothing_twice(
    tell: Callable[[Story], None],
) -> None:
    """Three run it at once, one of them is cut off in the middle."""

    async def story(store: SqliteStore) -> None:
        replayer = Replayer(store, plan)
        replay_id = (await replayer.begin(ALL, author="a", now_ms=BEGAN_MS + 9999)).replay.id

        def die_half_way(progress: Progress) -> None:
            if progress.replay.events:
                raise ConnectionAbortedError

        with pytest.raises(ConnectionAbortedError):
            await replayer.run(replay_id, die_half_way, until_added=True)
        assert 0 < len(await replayed(store, replay_id)) < 1200
        await asyncio.gather(
            *[Replayer(store, plan).run(replay_id, ignore, until_added=True) for _ in range(3)]
        )
        pairs = await replayed(store, replay_id)
        assert len(pairs) == len(set(pairs)) == 1200

    tell(story)


def test_no_more_is_added_than_may_stand_in_line(tell: Callable[[Story], None]) -> None:
    """So that a large replay never fills the backlog, for which live events would be refused."""

    async def story(store: SqliteStore) -> None:
        replayer = Replayer(store, plan)
        replay_id = (await replayer.begin(ALL, author="a", now_ms=BEGAN_MS + 9999)).replay.id
        most = 0

        def watch(progress: Progress) -> None:
            nonlocal most
            most = max(most, progress.in_line)

        running = asyncio.create_task(replayer.run(replay_id, watch, max_in_line=100))
        while not running.done():
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
        replayer = Replayer(store, plan)
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
        replayer = Replayer(store, plan)
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
        replayer = Replayer(store, plan)
        replay_id = (await replayer.begin(selection, author="a", now_ms=BEGAN_MS + 9999)).replay.id
        await replayer.run(replay_id, ignore, until_added=True)
        pairs = await replayed(store, replay_id)
        times = sorted(int(event_id[4:16], 16) - BEGAN_MS for event_id, _ in pairs)
        assert times == ([495, 496, 497, 498, 499] if newest else [100, 101, 102, 103, 104])
        assert {name for _, name in pairs} == {"a.second"}

    tell(story)


def test_events_that_come_later_are_not_part_of_it(tell: Callable[[Story], None]) -> None:
    async def story(store: SqliteStore) -> None:
        replayer = Replayer(store, plan)
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
        replayer = Replayer(store, plan, on_still=nobody)
        replay_id = (await replayer.begin(ALL, author="a", now_ms=BEGAN_MS + 9999)).replay.id
        with pytest.raises(StoreError, match="the server has stopped"):
            await replayer.run(replay_id, ignore)

    tell(story)


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
)
RESTS = st.builds(
    Rest,
    selection=SELECTIONS,
    total=st.integers(0),
    scanned=st.integers(0),
    position=st.none() | st.text(),
    state=st.sampled_from(["open", "paused", "cancelled"]),
)


@given(RESTS)
def test_what_is_left_survives_being_stored(rest: Rest) -> None:
    assert Rest.load(rest.dump()) == rest


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"selection": {"colour": 1}, "total": 1}'])
def test_what_another_version_left_is_refused(text: str) -> None:
    with pytest.raises(StoreError, match="another version of clarihook began it"):
        Rest.load(text)
