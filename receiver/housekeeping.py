"""Keeps the store as small as the settings say, behind all other work."""

import asyncio
import time
from collections.abc import Callable

import structlog

from receiver.errors import StoreError
from receiver.settings import Settings, StoreSettings
from receiver.store.base import Store

log = structlog.get_logger("receiver.housekeeping")

ROUND_SECONDS = 60.0
EVENTS_AT_A_TIME = 200
"""Events in one transaction: what comes in meanwhile waits for some milliseconds at most."""
_PAUSE_SECONDS = 0.05
_LANE = "(housekeeping)"
"""No handler or target can have this name."""


async def keep_house(store: Store, settings: Callable[[], Settings]) -> None:
    """Remove what is older than `keep`, `keep_dedupe` and the refused requests' greatest age.

    Now and every minute, until cancelled. Of several processes on one database one does it, as
    long as it lives.
    """
    while True:
        now_ms = int(time.time() * 1000)
        removed = 0
        try:
            if await store.take_lane(_LANE):
                removed = await prune_all(store, settings().store, now_ms=now_ms)
                max_age = settings().rejections.max_age
                before_ms = now_ms - int(max_age.total_seconds() * 1000)
                await store.prune_rejections(before_ms=before_ms)
        except StoreError as error:
            log.warning("housekeeping.put_off", error=str(error))
        else:
            if removed:
                log.info("housekeeping.pruned", events=removed)
        await asyncio.sleep(ROUND_SECONDS)


async def prune_all(store: Store, settings: StoreSettings, *, now_ms: int) -> int:
    """Remove every event that is too old at `now_ms`; how many."""
    events_before_ms = now_ms - int(settings.keep.total_seconds() * 1000)
    keys_before_ms = now_ms - int(settings.keep_dedupe.total_seconds() * 1000)
    total = 0
    while True:
        removed = await store.prune(
            events_before_ms=events_before_ms,
            keys_before_ms=keys_before_ms,
            limit=EVENTS_AT_A_TIME,
        )
        total += removed
        if removed < EVENTS_AT_A_TIME:
            return total
        await asyncio.sleep(_PAUSE_SECONDS)
