"""The releaser: lets held messages go when their time has come, several of a group as a digest.

Every process that runs deliveries has one. The store decides in one transaction whether what was
found is still held so; of several releasers one comes first, and the others find nothing.
"""

import asyncio
import time
from collections.abc import Callable

import structlog

from receiver.errors import StoreError
from receiver.holds import Hold
from receiver.model import DeliveryId, format_delivery_id
from receiver.notify.digest import Digest
from receiver.notify.outbox import Outbox
from receiver.store.base import HeldGroup, HeldMessage, Store

log = structlog.get_logger("receiver.dispatch")

LOOK_SECONDS = 0.5
_GROUPS = 100
_PAGE = 100
MOST_MERGED = 10_000
"""Messages in one digest: one transaction merges them, and what comes in meanwhile waits."""


class Releaser:
    """Releases what is due. Used from one event loop."""

    def __init__(
        self, store: Store, outbox: Callable[[], Outbox], expect: Callable[[int], None]
    ) -> None:
        """`outbox` gives the one of the settings in force; `expect` is told how many deliveries
        wait to run from then on."""
        self._store = store
        self._outbox = outbox
        self._expect = expect

    async def run(self) -> None:
        """Look for what is due, again and again, until cancelled."""
        while True:
            try:
                await self.release_due()
            except StoreError as error:
                log.warning("held.not_released", error=str(error))
            except Exception:  # a task's border: the others' messages must go out all the same
                log.exception("held.fault")
            await asyncio.sleep(LOOK_SECONDS)

    async def release_due(self, now_ms: int | None = None) -> None:
        """Release every group that is due, once."""
        now = int(time.time() * 1000) if now_ms is None else now_ms
        groups = await self._store.due_groups(now_ms=now, limit=_GROUPS)
        if groups:
            await self._outbox().catch_up()
        for group in groups:
            if group.kind == "escalation":
                await self._release_each(group, now)
            else:
                await self._release(group, now)

    async def _release(self, group: HeldGroup, now_ms: int) -> None:
        digest = Digest(group.target)
        going: list[DeliveryId] = []
        staying: dict[Hold, list[DeliveryId]] = {}
        after = 0
        while len(going) < MOST_MERGED:
            page = await self._store.held_messages(group, now_ms=now_ms, after=after, limit=_PAGE)
            for held in page:
                hold = self._still_held(held, group, now_ms)
                if hold is not None:
                    staying.setdefault(hold, []).append(held.delivery_id)
                else:
                    going.append(held.delivery_id)
                    digest.add(held.message, held.event)
            if len(page) < _PAGE:
                break
            after = page[-1].delivery_id
        for hold, ids in staying.items():
            await self._store.hold_on(ids, hold)
        if going:
            await self._let_go(group, going, digest, now_ms)

    async def _release_each(self, group: HeldGroup, now_ms: int) -> None:
        for held in await self._store.held_messages(group, now_ms=now_ms, limit=_PAGE):
            hold = self._still_held(held, group, now_ms)
            if hold is not None:
                await self._store.hold_on([held.delivery_id], hold)
            else:
                await self._let_go(group, [held.delivery_id], Digest(group.target), now_ms)

    async def _let_go(
        self, group: HeldGroup, ids: list[DeliveryId], digest: Digest, now_ms: int
    ) -> None:
        if await self._store.release_held(group, ids, digest.message, now_ms=now_ms):
            log.info("held.released", target=group.target, kind=group.kind, messages=len(ids),
                     newest=format_delivery_id(ids[-1]))  # fmt: skip
            self._expect(1)

    def _still_held(self, held: HeldMessage, group: HeldGroup, now_ms: int) -> Hold | None:
        return self._outbox().still_held(held.message, held.event, group.target, now_ms)
