"""Events as they come, read beside a running server."""

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import replace

from receiver.model import Event, to_ms
from receiver.store.base import EventFilter
from receiver.store.sqlite import SqliteStore

POLL_SECONDS = 0.2
_PAGE = 200
_LATE_MS = 5_000
"""An event may be committed so much after one that came later: ids tell when each came."""


async def watch(store: SqliteStore, which: EventFilter) -> AsyncGenerator[list[Event], None]:
    """The events that have come since `which.since_ms`, then those that come, each once.

    In the order in which they came, but for late commits; several at a time, and an empty list
    whenever there is no more at the moment.
    """
    seen: dict[str, int] = {}
    while True:
        began_ms = int(time.time() * 1000)
        page_of = which
        while page := await store.events(page_of, limit=_PAGE, newest=False):
            fresh = [event for event in page if event.id not in seen]
            seen |= {event.id: to_ms(event.received_at) for event in fresh}
            if fresh:
                yield fresh
            page_of = replace(page_of, after=page[-1].id)
        yield []
        horizon_ms = max(which.since_ms or 0, began_ms - _LATE_MS)
        which = replace(which, since_ms=horizon_ms)
        seen = {event_id: ms for event_id, ms in seen.items() if ms >= horizon_ms}
        await asyncio.sleep(POLL_SECONDS)
