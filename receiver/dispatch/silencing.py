"""Which silences there are now, as this process knows it."""

import asyncio

import structlog

from receiver.errors import StoreError
from receiver.holds import Hold
from receiver.model import Event, Message, Silence
from receiver.notify.silences import Silencer
from receiver.store.base import Store

log = structlog.get_logger("receiver.dispatch")


class Silences:
    """The silences of the store. Used from one event loop; `silenced` from any thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: list[Silence] = []
        self._silencer = Silencer()
        self._changes: int | None = None
        self._latest: asyncio.Future[None] | None = None
        """The look that began last."""
        self._next: asyncio.Future[None] | None = None
        """The one that waits for it."""

    async def catch_up(self) -> None:
        """Read them anew if anything in the store has changed.

        So what is staged after `silence add` has ended is held, in every process. One look is
        for all who came before it began: they go on in the order in which they came, or messages
        to a target would overtake one another.
        """
        if self._next is None:
            self._next = asyncio.ensure_future(self._look_after(self._latest))
        await asyncio.shield(self._next)

    async def _look_after(self, other: "asyncio.Future[None] | None") -> None:
        if other is not None:
            await asyncio.wait([other])
        self._latest, self._next = self._next, None
        await self._look()

    async def _look(self) -> None:
        try:
            news = await self._store.silences_since(self._changes)
        except StoreError as error:
            # Rather a message too many than one too late: what is known still counts.
            log.warning("silences.not_read", error=str(error))
            return
        if news is not None:
            self._changes, silences = news
            if silences != self._known:
                self._known, self._silencer = silences, Silencer(silences)

    def silenced(self, message: Message, event: Event, now_ms: int) -> Hold | None:
        """See `receiver.notify.outbox.Silenced`."""
        return self._silencer(message, event, now_ms)
