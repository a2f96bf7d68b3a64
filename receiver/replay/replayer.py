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
PART_EVENTS = 50
"""Events in one part at most: while it is written, no live event can be."""
REST_SHARE = 0.5
"""How long to rest after a part, of the time that it took: the server needs the file too."""
POLL_SECONDS = 0.1
CLOSE_POLL_SECONDS = 0.01
"""With few deliveries at a time: how soon the next follows the last."""
STILL_SECONDS = 5.0
BEAT_SECONDS = 5.0
"""How often whoever adds parts says so while it adds none."""


Part = list[tuple[EventId, list[NewDelivery]]]
"""The deliveries of some events."""


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
        adding = _Adding(max_in_line=max_in_line)
        still = _Stillness(self._on_still)
        while True:
            looked_at = time.monotonic()
            progress = await find(self._store, replay_id)
            on_progress(progress)
            rest = progress.rest
            is_open = rest is not None and rest.is_open
            if progress.has_stopped or (until_added and not is_open):
                return progress
            still.look(progress, looked_at)
            # A look at the whole costs more, the larger the replay is: it never takes over a fifth.
            look_at = looked_at + max(POLL_SECONDS, 5 * (time.monotonic() - looked_at))
            if is_open:
                await self._add_parts(progress, adding, until=look_at)
            await asyncio.sleep(max(0.0, look_at - time.monotonic()))

    async def _add_parts(self, progress: Progress, adding: "_Adding", *, until: float) -> None:
        """Add part after part for so long; ends early if another process has changed the replay."""
        replay_id, was = progress.replay.id, progress.replay.rest
        rest, in_line = progress.rest, progress.in_line
        assert rest is not None, "what is open has a rest"
        assert was is not None, "a rest is read from its text"
        while rest.is_open:
            now = time.monotonic()
            left, part = rest, Part()
            room, events = adding.room(rest, in_line), adding.events(rest, now)
            if room > 0 and events > 0:
                left, part = await self._next_part(
                    rest, room=room, events=events, is_idle=in_line == 0
                )
            if left is not rest or adding.is_quiet(now):
                text = left.dump()
                if not await self._store.extend_replay(
                    replay_id, was=was, rest=text, is_open=left.is_open, deliveries=part
                ):
                    return
                self._wake()
                adding.count(left.matched - rest.matched, now)
                was = text
            is_added = left is not rest
            rest = left
            pause = adding.pause(rest, took=time.monotonic() - now if is_added else None)
            if time.monotonic() + pause >= until:
                return
            await asyncio.sleep(pause)
            in_line = await self._store.count_in_line(replay_id)

    async def _next_part(
        self, rest: Rest, *, room: int, events: int, is_idle: bool
    ) -> tuple[Rest, Part]:
        """The next part, of up to `events` and `room` deliveries, and what is left after it.

        It is the same `rest` if there is no room.
        """
        selection = rest.selection
        wanted = min(PAGE_EVENTS, rest.total - rest.scanned)
        if selection.where is None:
            wanted = min(wanted, events, room, PART_EVENTS)
        page = await Scanner(self._store, selection).page(rest.position, at_most=wanted)
        fitting = [candidate.event for candidate in page if candidate.fits]
        planned = await self._repeater.deliveries(fitting[:events], selection)
        left, part = _take(rest, page, planned, room=room, events=events, is_idle=is_idle)
        # Fewer than wanted: retention has removed the others meanwhile.
        if len(page) < wanted and left.scanned == rest.scanned + len(page):
            left = replace(left, scanned=left.total)
        return (rest, []) if left.scanned == rest.scanned else (left, part)


def _take(
    rest: Rest,
    page: list[Candidate],
    planned: dict[EventId, list[NewDelivery]],
    *,
    room: int,
    events: int,
    is_idle: bool,
) -> tuple[Rest, Part]:
    """What is left after as much of the page as there is room for, and the deliveries of that.

    An event's deliveries are added together: if nothing is in line, whatever the room.
    """
    part: Part = []
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


class _Adding:
    """How much a run may add, and how soon."""

    def __init__(self, *, max_in_line: int) -> None:
        self._max_in_line = max_in_line
        self._began_at = time.monotonic()
        self._added = 0
        self._spoke_at = self._began_at

    def room(self, rest: Rest, in_line: int) -> int:
        """How many deliveries more."""
        return min(self._max_in_line, rest.concurrency or self._max_in_line) - in_line

    def events(self, rest: Rest, now: float) -> int:
        """How many events more, of at most a page."""
        if rest.events_per_second is None:
            return PAGE_EVENTS
        allowed = int(rest.events_per_second * (now - self._began_at)) + 1
        return min(PAGE_EVENTS, allowed - self._added)

    def is_quiet(self, now: float) -> bool:
        """Whether it has been silent for so long that it has to say that it goes on."""
        return now - self._spoke_at >= BEAT_SECONDS

    def count(self, events: int, now: float) -> None:
        """So many were added."""
        self._added += events
        self._spoke_at = now

    def pause(self, rest: Rest, *, took: float | None) -> float:
        """How long to wait after a part that took so long, or after none."""
        if rest.concurrency is not None:
            return CLOSE_POLL_SECONDS
        if rest.events_per_second is not None or took is None:
            return POLL_SECONDS
        return REST_SHARE * took


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
