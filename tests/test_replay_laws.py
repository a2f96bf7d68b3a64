"""Whatever happens to a replay on its way, each event that fits gets its deliveries once."""

import asyncio
import contextlib
import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.model import Event, NewDelivery, NewEvent, Outcome, State
from receiver.replay import Progress, Repeater, Replayer, Selection, find, pause, reopen
from receiver.store.base import DeliveryFilter, Finish
from receiver.store.ids import new_event_id
from receiver.store.sqlite import SqliteStore

BEGAN_MS = 1_795_000_000_000
EVENTS = 20
STEPS = st.lists(
    st.sampled_from(
        ["crash", "crash in a part", "pause", "resume", "twins", "finish", "other pace"]
    ),
    max_size=12,
)
SELECTIONS = st.builds(
    Selection,
    types=st.just(("*",)),
    where=st.sampled_from([None, "event.n % 3 == 0", "event.n > 7"]),
    limit=st.none() | st.integers(1, EVENTS),
    newest=st.booleans(),
)


def plan(event: Event) -> Sequence[NewDelivery]:
    """No handler for some, one for others, two for most."""
    number = event.json["n"]
    names = ("a.first", "a.second")[: 0 if number % 5 == 4 else 1 if number % 5 == 3 else 2]
    return [NewDelivery("handler", name, 3) for name in names]


@given(SELECTIONS, STEPS, st.integers(1, 6))
@settings(max_examples=25, deadline=None)
def test_each_event_gets_its_deliveries_once(
    selection: Selection, steps: list[str], page: int
) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        patch("receiver.replay.replayer.PAGE_EVENTS", page),
        patch("receiver.replay.replayer.POLL_SECONDS", 0.0),
    ):
        asyncio.run(_live(Path(folder) / "db.sqlite", selection, steps))


async def _live(path: Path, selection: Selection, steps: list[str]) -> None:
    store = SqliteStore(path)
    await store.open()
    try:
        await asyncio.gather(*[store.record(_event(number), ()) for number in range(EVENTS)])
        replay_id = (
            await _replayer(store).begin(selection, author="a", now_ms=BEGAN_MS + 9_999)
        ).replay.id
        for step in steps:
            await _take(step, store, replay_id)
        await reopen(store, replay_id)
        adding = asyncio.create_task(_replayer(store).run(replay_id, _ignore, until_added=True))
        while not adding.done():
            await _finish(store)
        added = await adding
        found = await store.deliveries(DeliveryFilter(replay_id=replay_id), limit=1_000)
        pairs = [(int(each.event_id[4:16], 16) - BEGAN_MS, each.name) for each in found]
        assert sorted(pairs) == sorted(_expected(selection))
        assert added.replay.events == len({number for number, _ in pairs})
        await _finish(store)
        ended = await find(store, replay_id)
        assert (ended.status, ended.done) == ("ended", 1.0)
    finally:
        await store.close()


def _expected(selection: Selection) -> list[tuple[int, str]]:
    """What a list comprehension would have made of it."""
    fits = {None: lambda n: True, "event.n > 7": lambda n: n > 7}.get(
        selection.where, lambda n: n % 3 == 0
    )
    numbers = [number for number in range(EVENTS) if fits(number)]
    numbers = (numbers[::-1] if selection.newest else numbers)[: selection.limit]
    return [
        (number, name)
        for number in numbers
        for name in ("a.first", "a.second")[: 0 if number % 5 == 4 else 1 if number % 5 == 3 else 2]
    ]


async def _take(step: str, store: SqliteStore, replay_id: int) -> None:
    match step:
        case "crash":
            await _crash(_replayer(store), replay_id)
        case "crash in a part":
            task = asyncio.create_task(_replayer(store).run(replay_id, _ignore, until_added=True))
            await asyncio.sleep(0.002)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        case "pause":
            await pause(store, replay_id)
        case "resume":
            await reopen(store, replay_id)
        case "twins":
            await asyncio.gather(*[_crash(_replayer(store), replay_id) for _ in range(2)])
        case "finish":
            await _finish(store)
        case "other pace":
            await reopen(store, replay_id, concurrency=7)


async def _crash(replayer: Replayer, replay_id: int) -> None:
    """Run it until a part was added, if it is open."""
    looks = 0

    def die_at_the_second_look(_progress: Progress) -> None:
        nonlocal looks
        looks += 1
        if looks > 1:
            raise ConnectionAbortedError

    with contextlib.suppress(ConnectionAbortedError):
        await replayer.run(replay_id, die_at_the_second_look, until_added=True)


async def _finish(store: SqliteStore) -> None:
    """All that is in line succeeds."""
    claims = await store.claim({"a.first": 1_000, "a.second": 1_000}, now_ms=2**42)
    done: asyncio.Queue[BaseException | None] = asyncio.Queue()
    for claim in claims:
        finish = Finish(
            claim.delivery_id, claim.attempt, 0, 1.0, State.SUCCEEDED, Outcome.DELIVERED
        )
        store.finish(finish, done.put_nowait)
    assert [await done.get() for _ in claims] == [None] * len(claims)


def _replayer(store: SqliteStore) -> Replayer:
    return Replayer(store, Repeater(store, plan))


def _ignore(_progress: Progress) -> None:
    return None


def _event(number: int) -> NewEvent:
    return NewEvent(
        new_event_id(BEGAN_MS + number), "src", "one", BEGAN_MS + number, b'{"n": %d}' % number,
        "", None, 0, hashlib.sha256(b"%d" % number).digest(),
    )  # fmt: skip
