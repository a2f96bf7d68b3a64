"""Runs a replay: adds its deliveries in parts, and follows them until they have ended.

A part is one transaction: its deliveries, and what is left after it. So a crash leaves a replay
that another process goes on with, and each event gets its deliveries exactly once. The next part
waits while enough of the replay is in line, so that a million events neither fill the backlog (live
webhooks would be answered 503) nor stand before a live event of the same ordering key.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

from receiver.errors import UsageError
from receiver.model import EventId, NewDelivery
from receiver.replay.moving import find
from receiver.replay.progress import Progress
from receiver.replay.repeating import Repeater
from receiver.replay.scanning import PAGE_EVENTS, Candidate, Scanner
from receiver.replay.selection import Rest, Selection
from receiver.store.base import Store

MAX_IN_LINE = 2_000
PART_EVENTS = 100
"""Events in one part at most: while it is written, no live event can be."""
POLL_SECONDS = 0.1
CLOSE_POLL_SECONDS = 0.01
"""With few deliveries at a time: how soon the next follows the last."""
STILL_SECONDS = 5.0
BEAT_SECONDS = 5.0
"""How often whoever adds parts says so while it adds none."""


def _nothing() -> None:
    return None


def _ignore(_progress: Progress) -> None:
    return None


class Replayer:
    """Begins and runs replays. Several may run one replay: they share its parts."""

    def __init__(
        self,
        store: Store,
        repeater: Repeater,
        *,
        wake: Callable[[], None] = _nothing,
        on_still: Callable[[Progress], None] = _ignore,
    ) -> None:
        """`wake` hears of new deliveries; `on_still` is called when nothing moved for a while."""
        self._store = store
        self._repeater = repeater
        self._wake = wake
        self._on_still = on_still

    async def begin(
        self,
        selection: Selection,
        *,
        author: str,
        now_ms: int,
        events_per_second: float | None = None,
        concurrency: int | None = None,
    ) -> Progress:
        """Record a replay of the events that there are now; none has deliveries yet.

        Raises UsageError if there is nothing to repeat.
        """
        if not selection.ids:
            last = now_ms + 1
            selection = replace(selection, until_ms=min(selection.until_ms or last, last))
        rest = Rest(
            selection=selection,
            total=await count_candidates(self._store, selection),
            events_per_second=events_per_second,
            concurrency=concurrency,
        )
        rest = await self._skip_to_the_first(rest)
        replay_id = await self._store.replay(
            author=author,
            selection=selection.words(),
            rest=rest.dump(),
            is_quiet=selection.quiet,
            now_ms=now_ms,
        )
        return await find(self._store, replay_id)

    async def _skip_to_the_first(self, rest: Rest) -> Rest:
        """The rest without the events before the first that fits; UsageError if none does."""
        scanner = Scanner(self._store, rest.selection)
        while page := await scanner.page(rest.position):
            for event, fits in page:
                if fits:
                    return rest
                rest = replace(rest, scanned=rest.scanned + 1, position=event.id)
        words = rest.selection.words()
        why = f" ({scanner.why_undecided})" if scanner.undecided else ""
        raise UsageError(f"there is nothing to replay: {words}: no such event{why}")

    async def run(
        self,
        replay_id: int,
        on_progress: Callable[[Progress], None],
        *,
        max_in_line: int = MAX_IN_LINE,
        until_added: bool = False,
    ) -> Progress:
        """Add part after part and wait until all has ended, or the replay was paused or cancelled.

        `until_added` returns as soon as every event has its deliveries.
        """
        begun, added = time.monotonic(), 0
        still, beat_at = _Stillness(self._on_still), begun + BEAT_SECONDS
        while True:
            looked_at = time.monotonic()
            progress = await find(self._store, replay_id)
            on_progress(progress)
            rest = progress.rest
            is_open = rest is not None and rest.is_open
            if progress.has_stopped or (until_added and not is_open):
                return progress
            # Looking costs more, the larger the replay is: it never takes over a fifth.
            wait = 4 * (time.monotonic() - looked_at)
            poll = POLL_SECONDS
            if is_open:
                assert rest is not None, "what is open has a rest"
                room = max_in_line
                if rest.concurrency is not None:
                    room, poll = min(room, rest.concurrency), CLOSE_POLL_SECONDS
                room -= progress.in_line
                events = PAGE_EVENTS
                if rest.events_per_second is not None:
                    allowed = int(rest.events_per_second * (looked_at - begun)) + 1
                    events = min(events, allowed - added)
                left = rest
                if room > 0 and events > 0:
                    left = await self._add(progress, rest, room=room, events=events)
                    added += left.matched - rest.matched
                if left is not rest:
                    beat_at = looked_at + BEAT_SECONDS
                    if rest.events_per_second is None and rest.concurrency is None:
                        wait = poll = 0.0
                elif looked_at >= beat_at:
                    await self._beat(progress)
                    beat_at = looked_at + BEAT_SECONDS
            still.look(progress, looked_at)
            await asyncio.sleep(max(wait, poll))

    async def _beat(self, progress: Progress) -> None:
        """Say that somebody still adds to the replay."""
        same = progress.replay.rest or ""
        await self._store.extend_replay(progress.replay.id, was=same, rest=same)

    async def _add(self, progress: Progress, rest: Rest, *, room: int, events: int) -> Rest:
        """Add the next part: up to `events` of them, and `room` deliveries.

        What is left; the same `rest` if there was no room or another process was faster.
        """
        selection = rest.selection
        wanted = min(PAGE_EVENTS, rest.total - rest.scanned)
        if selection.where is None:
            wanted = min(wanted, events, room, PART_EVENTS)
        page = await Scanner(self._store, selection).page(rest.position, at_most=wanted)
        fitting = [candidate.event for candidate in page if candidate.fits]
        planned = await self._repeater.deliveries(fitting[:events], selection)
        is_idle = progress.in_line == 0
        left, part = _take(rest, page, planned, room=room, events=events, is_idle=is_idle)
        # Fewer than wanted: retention has removed the others meanwhile.
        if len(page) < wanted and left.scanned == rest.scanned + len(page):
            left = replace(left, scanned=left.total)
        if left.scanned == rest.scanned:
            return rest
        assert progress.replay.rest is not None, "a rest is read from its text"
        was_first = await self._store.extend_replay(
            progress.replay.id,
            was=progress.replay.rest,
            rest=left.dump(),
            is_open=left.is_open,
            deliveries=part,
        )
        self._wake()
        return left if was_first else rest


def _take(
    rest: Rest,
    page: list[Candidate],
    planned: dict[EventId, list[NewDelivery]],
    *,
    room: int,
    events: int,
    is_idle: bool,
) -> tuple[Rest, list[tuple[EventId, list[NewDelivery]]]]:
    """What is left after as much of the page as there is room for, and the deliveries of that.

    An event's deliveries are added together: if nothing is in line, whatever the room.
    """
    part: list[tuple[EventId, list[NewDelivery]]] = []
    scanned, matched, position = rest.scanned, rest.matched, rest.position
    limit = rest.selection.limit
    for event, fits in page:
        if fits:
            made = planned.get(event.id, [])
            if matched - rest.matched == events or (len(made) > room and (part or not is_idle)):
                break
            matched += 1
            room -= len(made)
            if made:
                part.append((event.id, made))
        scanned, position = scanned + 1, event.id
        if matched == limit:
            scanned = rest.total
            break
    return replace(rest, scanned=scanned, matched=matched, position=position), part


class _Stillness:
    """Tells when a replay has not moved for a while."""

    def __init__(self, on_still: Callable[[Progress], None]) -> None:
        self._on_still = on_still
        self._moved_at = 0.0
        self._last: object = None

    def look(self, progress: Progress, now: float) -> None:
        """Compare with the last look."""
        seen = (progress.replay.states, progress.replay.rest)
        if seen != self._last:
            self._last, self._moved_at = seen, now
        elif now - self._moved_at > STILL_SECONDS:
            self._moved_at = now
            self._on_still(progress)


async def watch(
    store: Store,
    replay_id: int,
    on_progress: Callable[[Progress], None],
    on_still: Callable[[Progress], None] = _ignore,
) -> Progress:
    """Look on until nothing of a replay will happen by itself any more; adds nothing."""
    still = _Stillness(on_still)
    while True:
        looked_at = time.monotonic()
        progress = await find(store, replay_id)
        on_progress(progress)
        if progress.has_stopped:
            return progress
        still.look(progress, looked_at)
        await asyncio.sleep(max(POLL_SECONDS, 4 * (time.monotonic() - looked_at)))


async def count_candidates(store: Store, selection: Selection) -> int:
    """How many events have to be looked at; without a condition, how many are repeated."""
    found = await store.count_events(selection.filter())
    has_condition = selection.where is not None
    return found if selection.limit is None or has_condition else min(found, selection.limit)
