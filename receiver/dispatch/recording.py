"""Tells the store how attempts ended, for as long as it takes the store to accept it."""

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial

import structlog

from receiver.dispatch.ending import Ending, RetryRules
from receiver.errors import LeaseLost, StoreUnavailable
from receiver.model import DeliveryId, format_delivery_id
from receiver.retry import RetryPolicy
from receiver.store.base import Claim, Finish, Store
from receiver.traces import error_trace

log = structlog.get_logger("receiver.dispatch")

AGAIN_SECONDS = 1.0
"""The pause before the store is asked again, while it is full or locked."""

_NOT_STORABLE = "NotStorable"
_RULES = RetryRules(policy=lambda _source: RetryPolicy(waits=(60.0,)), redact=str)
"""For ends that no runner made; their texts hold nothing of a payload or a setting."""


class Recorder:
    """Records ends and gives claims back. An outage of the store is waited out, and told once."""

    def __init__(
        self,
        store: Store,
        on_recorded: Callable[[Claim, Finish], None],
        redact: Callable[[str], str] | None,
    ) -> None:
        """`redact` masks the tracebacks of our own faults; without it none is kept."""
        self._store = store
        self._redact = redact
        self._on_recorded = on_recorded
        self._is_out = False
        self._told = asyncio.Event()
        self.unrecorded = 0
        """Ends that the store has not taken yet."""

    def record(self, claim: Claim, finish: Finish) -> None:
        """Have an attempt's end committed; `on_recorded` is called after the commit."""
        self.unrecorded += 1
        self._store.finish(finish, partial(self._recorded, claim, finish))

    def record_fault(self, claim: Claim, error: BaseException) -> None:
        """Record that running the delivery failed in a way that its runner should not let out."""
        log.error("delivery.fault", delivery_id=format_delivery_id(claim.delivery_id),
                  name=claim.name, exc_info=error)  # fmt: skip
        text = "a fault in clarihook itself; its log has the traceback"
        trace = None
        if self._redact is not None:
            trace = error_trace(error, self._redact, own_file=__file__)
        ending = Ending(claim, _RULES)
        self.record(claim, ending.failed(type(error).__name__, text, traceback=trace))

    async def give_back(self, ids: Sequence[DeliveryId], *, after_seconds: float = 0.0) -> None:
        """Give claims back unrun, due after that time, or when they were due if it is 0."""
        due_ms = int((time.time() + after_seconds) * 1000) if after_seconds > 0 else None
        while True:
            try:
                await self._store.release(ids, due_ms=due_ms)
            except StoreUnavailable as error:
                self.note_outage(error)
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                return

    async def all_recorded(self) -> None:
        """Wait until the store has taken every end."""
        while self.unrecorded:
            self._told.clear()
            await self._told.wait()

    def note_outage(self, error: StoreUnavailable) -> None:
        """Log that the store is out, the first time."""
        if not self._is_out:
            self._is_out = True
            log.error("dispatch.store_unavailable", error=str(error))

    def _recorded(self, claim: Claim, finish: Finish, error: BaseException | None) -> None:
        if isinstance(error, StoreUnavailable):
            # The attempt is over and must be told: try until it is.
            self.note_outage(error)
            asyncio.get_running_loop().call_later(
                AGAIN_SECONDS, self._store.finish, finish, partial(self._recorded, claim, finish)
            )
            return
        self.unrecorded -= 1
        if not self.unrecorded:
            self._told.set()
        if self._is_out:
            self._is_out = False
            log.info("dispatch.store_is_back")
        if error is None:
            self._on_recorded(claim, finish)
        else:
            self._refused(claim, finish, error)

    def _refused(self, claim: Claim, finish: Finish, error: BaseException) -> None:
        delivery_id = format_delivery_id(claim.delivery_id)
        if isinstance(error, LeaseLost):
            log.warning("delivery.lease_lost", delivery_id=delivery_id, error=str(error))
            return
        log.error("delivery.not_storable", delivery_id=delivery_id, name=claim.name,
                  error=str(error))  # fmt: skip
        if finish.error_class != _NOT_STORABLE:  # else not even that can be written
            text = f"what the run left can't be stored: {type(error.__cause__ or error).__name__}"
            self.record(claim, Ending(claim, _RULES).dead(_NOT_STORABLE, text))
