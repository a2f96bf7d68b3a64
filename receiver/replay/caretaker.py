"""Goes on with replays whose process is gone, so that they survive whoever began them."""

import asyncio
import time

import structlog

from receiver.errors import StoreError
from receiver.replay.replayer import BEAT_SECONDS, Replayer
from receiver.store.base import Store

log = structlog.get_logger("receiver.replay")

ABANDONED_SECONDS = 3 * BEAT_SECONDS
"""Who adds to a replay says so at least every BEAT_SECONDS."""


async def take_over_abandoned(store: Store, replayer: Replayer) -> None:
    """Look for replays that nobody adds to any more, and go on with them; until cancelled."""
    async with asyncio.TaskGroup() as group:
        while True:
            try:
                for replay_id in await _take_over(store):
                    group.create_task(_go_on(replayer, replay_id), name=f"replay-{replay_id}")
            except StoreError as error:
                log.warning("replay.not_looked_for", error=str(error))
            await asyncio.sleep(BEAT_SECONDS)


async def _take_over(store: Store) -> list[int]:
    """The replays that are this process's now: of several servers only one goes on with each."""
    now_ms = int(time.time() * 1000)
    before_ms = now_ms - int(ABANDONED_SECONDS * 1000)
    return [
        replay_id
        for replay_id in await store.abandoned_replays(before_ms=before_ms)
        if await store.take_over_replay(replay_id, before_ms=before_ms, now_ms=now_ms)
    ]


async def _go_on(replayer: Replayer, replay_id: int) -> None:
    log.info("replay.taken_over", replay_id=replay_id)
    try:
        progress = await replayer.run(replay_id, lambda _progress: None, until_added=True)
    except StoreError as error:
        log.warning("replay.left", replay_id=replay_id, error=str(error))
    except Exception:  # a task's border: one replay must not keep the others from going on
        log.exception("replay.failed", replay_id=replay_id)
    else:
        log.info("replay.added", replay_id=replay_id, events=progress.replay.events)
