"""Keeps this process a worker of the store, and takes up what dead ones left."""

import asyncio
import time
from collections.abc import Callable

import structlog

from receiver.errors import StoreError
from receiver.store.base import Store
from receiver.store.workers import HEARTBEATS_PER_LEASE, LEASE_SECONDS

log = structlog.get_logger("receiver.dispatch")

LOOK_SECONDS = 1.0
"""How often other workers are looked after: the kernel tells at once when one is dead."""


class Heart:
    """Beats from `start` to `stop`."""

    def __init__(
        self,
        store: Store,
        *,
        lease_seconds: float = LEASE_SECONDS,
        on_rescued: Callable[[], None] = lambda: None,
        on_lapse: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_rescued`: others' deliveries wait. `on_lapse`: what was this worker's alone may be
        another's by now, because it stood still for longer than its lease.
        """
        self._store = store
        self._lease_seconds = lease_seconds
        self._on_rescued = on_rescued
        self._on_lapse = on_lapse
        self._lease_until = float("-inf")
        self._put_off = 0
        """How many beats in a row could not be written."""
        self._task: asyncio.Task[None] | None = None

    @property
    def has_lease(self) -> bool:
        """Whether nobody can have taken this worker for dead yet."""
        return time.monotonic() < self._lease_until

    async def start(self) -> None:
        """Begin to beat. Raises StoreError if not even the first beat can be written."""
        await self._beat()
        self._task = asyncio.create_task(self._beat_forever(), name="dispatch-heartbeat")

    async def stop(self) -> None:
        """Stop. The store gives the lease back when it is closed."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def ensure_lease(self) -> None:
        """Beat now, if the lease may have ended; raises StoreError if that can't be written."""
        if not self.has_lease:
            await self._beat()

    async def _beat_forever(self) -> None:
        every_seconds = self._lease_seconds / HEARTBEATS_PER_LEASE
        beat_at = time.monotonic() + every_seconds
        while True:
            await asyncio.sleep(min(LOOK_SECONDS, every_seconds))
            try:
                if time.monotonic() >= beat_at or await self._store.has_dead_workers():
                    beat_at = time.monotonic() + every_seconds
                    await self._beat()
            except StoreError as error:
                if not self._put_off:
                    log.error("dispatch.heartbeat_put_off", error=str(error))
                self._put_off += 1
            except Exception:
                log.exception("dispatch.heartbeat_failed")

    async def _beat(self) -> None:
        # From before the commit on, so that it never outlasts the one in the store.
        begun = time.monotonic()
        rescued = await self._store.heartbeat()
        if self._put_off:
            log.info("dispatch.heartbeat_goes_on", put_off=self._put_off)
            self._put_off = 0
        # Only now: another beat may have waited for the store beside this one.
        lapsed_for = begun - self._lease_until
        self._lease_until = max(self._lease_until, begun + self._lease_seconds)
        if 0 <= lapsed_for < float("inf"):
            log.warning("dispatch.lease_lapsed", seconds=round(lapsed_for, 1))
            self._on_lapse()
        if rescued:
            log.warning("dispatch.rescued", deliveries=rescued)
            self._on_rescued()
