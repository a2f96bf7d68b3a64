"""Runs a replay: adds its deliveries in parts, and follows them until they have ended.

A part is one transaction: its deliveries, and what is left after it. So a crash leaves a replay
that `resume` goes on with, and each event gets its deliveries exactly once. The next part waits
while enough of the replay is in line, so that a million events neither fill the backlog (live
webhooks would be answered 503) nor stand before a live event of the same ordering key.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from receiver.errors import UsageError
from receiver.model import Event, EventId, NewDelivery, State
from receiver.replay.progress import Progress, Status
from receiver.replay.selection import Rest, RestState, Selection
from receiver.store.base import DeliveryFilter, Store

PlanEvent = Callable[[Event], Sequence[NewDelivery]]
"""The deliveries that an event becomes today."""

PART_EVENTS = 250
MAX_IN_LINE = 2_000
POLL_SECONDS = 0.1
STILL_SECONDS = 5.0


def _nothing() -> None:
    return None


def _ignore(_progress: Progress) -> None:
    return None


class Replayer:
    """Begins and runs replays. Several may run one replay: they share its parts."""

    def __init__(
        self,
        store: Store,
        plan: PlanEvent,
        *,
        events_per_second: float | None = None,
        wake: Callable[[], None] = _nothing,
        on_still: Callable[[Progress], None] = _ignore,
    ) -> None:
        """`wake` hears of new deliveries; `on_still` is called when nothing moved for a while."""
        self._store = store
        self._plan = plan
        self._rate = events_per_second
        self._wake = wake
        self._on_still = on_still

    async def begin(self, selection: Selection, *, author: str, now_ms: int) -> Progress:
        """Record a replay of the events that there are now; none has deliveries yet.

        Raises UsageError if there is nothing to repeat.
        """
        if not selection.ids:
            last = now_ms + 1
            selection = replace(selection, until_ms=min(selection.until_ms or last, last))
        total = await count(self._store, selection)
        if total == 0:
            raise UsageError(f"there is nothing to replay: {selection.words()}: no such event")
        rest = Rest(selection=selection, total=total)
        replay_id = await self._store.replay(
            author=author, selection=selection.words(), rest=rest.dump(), now_ms=now_ms
        )
        return await find(self._store, replay_id)

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
        still = _Stillness(self._on_still)
        while True:
            looked_at = time.monotonic()
            progress = await find(self._store, replay_id)
            on_progress(progress)
            is_open = not progress.is_added and progress.status is Status.RUNNING
            if progress.has_stopped or (until_added and not is_open):
                return progress
            # Looking costs more, the larger the replay is: it never takes over a fifth.
            wait = max(POLL_SECONDS, 4 * (time.monotonic() - looked_at))
            room = max_in_line - progress.in_line
            if self._rate is not None:
                room = min(room, int(self._rate * (looked_at - begun)) + 1 - added)
            if is_open and room > 0:
                added += await self._add(progress, min(room, PART_EVENTS))
                wait = POLL_SECONDS if self._rate is not None else 0.0
            still.look(progress, looked_at)
            await asyncio.sleep(wait)

    async def _add(self, progress: Progress, at_most: int) -> int:
        """Add the next part; how many events it had (0 if another process was faster)."""
        replay, rest = progress.replay, progress.rest
        assert rest is not None, "only what is left can be added"
        assert replay.rest is not None, "a rest is read from its text"
        selection = rest.selection
        wanted = min(at_most, rest.total - rest.scanned)
        events = await self._store.events(
            selection.filter(rest.position), limit=wanted, newest=selection.newest
        )
        # Fewer than wanted: retention has removed the others meanwhile.
        scanned = rest.total if len(events) < wanted else rest.scanned + wanted
        position = events[-1].id if events else rest.position
        left = replace(rest, scanned=scanned, position=position).dump()
        deliveries = await self._deliveries(events, selection)
        was_first = await self._store.extend_replay(
            replay.id, was=replay.rest, rest=left, deliveries=deliveries
        )
        self._wake()
        return len(events) if was_first else 0

    async def _deliveries(
        self, events: Sequence[Event], selection: Selection
    ) -> list[tuple[EventId, Sequence[NewDelivery]]]:
        """The new deliveries of those events that have any."""
        states: dict[str, dict[str, State]] = {}
        if selection.states:
            states = await self._store.latest_handler_states([event.id for event in events])
        found: list[tuple[EventId, Sequence[NewDelivery]]] = []
        for event in events:
            made = [
                new
                for new in self._plan(event)
                if selection.handler in (None, new.name)
                and (not selection.states or states[event.id].get(new.name) in selection.states)
            ]
            if made:
                found.append((event.id, made))
        return found


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


async def count(store: Store, selection: Selection) -> int:
    """How many events the selection has."""
    found = await store.count_events(selection.filter())
    return found if selection.limit is None else min(found, selection.limit)


async def find(store: Store, replay_id: int) -> Progress:
    """How far the replay is; raises UsageError if there is none of that number."""
    replay = await store.find_replay(replay_id)
    if replay is None:
        raise UsageError(f"there is no replay {replay_id}; see `clarihook replay list`")
    return Progress(replay)


async def pause(store: Store, replay_id: int) -> Progress:
    """Add no further part; what was added before still ends."""
    return await _move(store, replay_id, "paused")


async def reopen(store: Store, replay_id: int) -> Progress:
    """Let further parts be added again."""
    progress = await find(store, replay_id)
    if progress.rest is not None and progress.rest.state == "cancelled":
        raise UsageError(f"replay {replay_id} was cancelled; begin a new one")
    return await _move(store, replay_id, "open")


async def cancel(store: Store, replay_id: int, *, now_ms: int) -> Progress:
    """Add no further part and cancel what has not run; what runs ends."""
    await _move(store, replay_id, "cancelled")
    waiting = DeliveryFilter(
        replay_id=replay_id, states=(State.PENDING, State.RETRYING, State.HELD)
    )
    while found := await store.deliveries(waiting, limit=PART_EVENTS):
        ids = [delivery.id for delivery in found]
        await store.discard(ids, reason=f"replay {replay_id} was cancelled", now_ms=now_ms)
        waiting = replace(waiting, before=found[-1].id)
    return await find(store, replay_id)


async def _move(store: Store, replay_id: int, state: RestState) -> Progress:
    """Change the state of what is left, if anything is."""
    while True:
        progress = await find(store, replay_id)
        rest = progress.rest
        if rest is None or rest.state in (state, "cancelled"):
            return progress
        was, moved = progress.replay.rest or "", replace(rest, state=state).dump()
        await store.extend_replay(replay_id, was=was, rest=moved)
