"""How many deliveries wait, cheaply: counted in the store now and then, and kept up meanwhile."""

import asyncio
import time
from collections.abc import Callable

import structlog

from receiver.errors import StoreError, StoreUnavailable
from receiver.store.base import Store

log = structlog.get_logger("receiver.dispatch")

COUNT_SECONDS = 5.0
"""How often the store is asked: what other processes add and finish is known only then."""
NEAR_SECONDS = 1.0
"""How often while the bound is near."""
_NEAR = 0.9
_REST = 20
"""A count that takes long, among millions of deliveries, is followed by a rest this much longer."""
_RETRY_AFTER_SECONDS = 30


class Backlog:
    """The deliveries of a store that wait, and those that run in this process."""

    def __init__(self, store: Store, *, most: int) -> None:
        self._store = store
        self.most = most
        """With so many nothing more is accepted."""
        self.count = 0
        """As far as this process knows."""
        self._is_uncounted = False
        self._changed = 0

    def change(self, by: int) -> None:
        """This process has committed so many more deliveries, or has ended some of them."""
        self.count += by
        self._changed += by

    @property
    def is_full(self) -> bool:
        """Whether no event that makes deliveries may be accepted."""
        return self.count >= self.most

    def refusal(self) -> StoreUnavailable:
        """What to answer while it is full."""
        return StoreUnavailable(
            f"{self.count} deliveries wait, store.max_backlog is {self.most}",
            retry_after_seconds=_RETRY_AFTER_SECONDS,
        )

    async def refresh(self, running: int = 0) -> None:
        """Count in the store; `running` in this process come to what waits there."""
        before = self._changed
        waiting = await self._store.backlog()
        self.count = waiting + running + self._changed - before

    def note_uncounted(self, error: StoreError) -> None:
        """Log that the store can't be asked, the first time of an outage."""
        if not self._is_uncounted:
            self._is_uncounted = True
            log.warning("dispatch.not_counted", error=str(error))

    def note_counted(self) -> None:
        """It could be asked: the next failure is another outage."""
        self._is_uncounted = False

    async def keep_counting(self, running: Callable[[], int]) -> None:
        """Count again and again, until cancelled."""
        while True:
            begun = time.monotonic()
            try:
                await self.refresh(running())
                self.note_counted()
            except StoreError as error:
                self.note_uncounted(error)
            took = time.monotonic() - begun
            is_near = self.count >= _NEAR * self.most
            await asyncio.sleep(max(NEAR_SECONDS if is_near else COUNT_SECONDS, _REST * took))
