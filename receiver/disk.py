"""Watches the disk of the store, and shortens the write-ahead log when room is scarce."""

import asyncio
import contextlib

import structlog

from receiver.errors import StoreError
from receiver.store.space import DiskSpace
from receiver.store.sqlite import SqliteStore

log = structlog.get_logger("receiver.store")

LOOK_SECONDS = 1.0
_LONG_LOG_BYTES = 64 * 1024 * 1024
"""A longer log is waiting for a reader, or was."""


async def watch_disk(store: SqliteStore, space: DiskSpace) -> None:
    """Look every second, until cancelled."""
    while True:
        try:
            await _look(store, space)
        except OSError as error:
            log.warning("store.disk_not_looked_at", error=str(error))
        await asyncio.sleep(LOOK_SECONDS)


async def _look(store: SqliteStore, space: DiskSpace) -> None:
    spare = 0
    if space.is_low or space.log_bytes > _LONG_LOG_BYTES:
        with contextlib.suppress(StoreError):  # locked, or full to the brim
            await store.shrink_log()
        with contextlib.suppress(StoreError):
            spare = await store.spare_bytes()
    # In a thread: making the ballast takes some milliseconds.
    await asyncio.to_thread(space.look, spare_bytes=spare)
