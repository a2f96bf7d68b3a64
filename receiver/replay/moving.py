"""Finding, pausing, reopening and cancelling a replay."""

from dataclasses import replace

from receiver.errors import UsageError
from receiver.model import State
from receiver.replay.progress import Progress
from receiver.replay.selection import RestState
from receiver.store.base import DeliveryFilter, Store

_PAGE = 250


async def find(store: Store, replay_id: int) -> Progress:
    """How far the replay is; raises UsageError if there is none of that number."""
    replay = await store.find_replay(replay_id)
    if replay is None:
        raise UsageError(f"there is no replay {replay_id}; see `clarihook replay list`")
    return Progress(replay)


async def pause(store: Store, replay_id: int) -> Progress:
    """Add no further part; what was added before still ends."""
    return await _move(store, replay_id, "paused")


async def reopen(
    store: Store,
    replay_id: int,
    *,
    events_per_second: float | None = None,
    concurrency: int | None = None,
) -> Progress:
    """Let further parts be added again, at another pace if one is given. Raises UsageError."""
    progress = await find(store, replay_id)
    if progress.rest is not None and progress.rest.state == "cancelled":
        raise UsageError(f"replay {replay_id} was cancelled; begin a new one")
    return await _move(
        store, replay_id, "open", events_per_second=events_per_second, concurrency=concurrency
    )


async def cancel(store: Store, replay_id: int, *, now_ms: int) -> Progress:
    """Add no further part and cancel what has not run; what runs ends."""
    await _move(store, replay_id, "cancelled")
    waiting = DeliveryFilter(
        replay_id=replay_id, states=(State.PENDING, State.RETRYING, State.HELD)
    )
    while found := await store.deliveries(waiting, limit=_PAGE):
        ids = [delivery.id for delivery in found]
        await store.discard(ids, reason=f"replay {replay_id} was cancelled", now_ms=now_ms)
        waiting = replace(waiting, before=found[-1].id)
    return await find(store, replay_id)


async def _move(
    store: Store,
    replay_id: int,
    state: RestState,
    *,
    events_per_second: float | None = None,
    concurrency: int | None = None,
) -> Progress:
    """Change the state of what is left, if anything is."""
    while True:
        progress = await find(store, replay_id)
        rest = progress.rest
        if rest is None or rest.state == "cancelled":
            return progress
        moved = replace(
            rest,
            state=state,
            events_per_second=events_per_second or rest.events_per_second,
            concurrency=concurrency or rest.concurrency,
        )
        if moved == rest and not rest.is_open:
            return progress
        was = progress.replay.rest or ""
        is_done = await store.extend_replay(
            replay_id, was=was, rest=moved.dump(), is_open=moved.is_open
        )
        if is_done:
            return await find(store, replay_id)
