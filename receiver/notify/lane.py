"""One message at a time to one target: its turn, its pace, its deadline, and what if it hangs."""

import asyncio
import time
from collections.abc import Callable

from receiver.model import Outcome
from receiver.notify.rate import Pace, Rate
from receiver.notify.target import SendResult
from receiver.notify.worker import Worker

MAX_PACE_WAIT_SECONDS = 5.0
"""The longest that a send itself waits for the pace; it does not count against the deadline."""


class Lane:
    """Runs a target's sends, each in the target's own daemon thread, one after the other.

    A send that does not end in time is abandoned and answered `unknown`. A thread can't be
    stopped from outside, so should it not come back by itself, every further send is answered
    `transient`, `TargetBusy`, at once until it does: there never is a second thread, and no
    other target waits.
    """

    def __init__(self, name: str, *, timeout_seconds: float, rate: Rate | None) -> None:
        self._name = name
        self._timeout_seconds = timeout_seconds
        self._pace = Pace(rate)
        self._worker = Worker(f"target-{name}")
        self._turn = asyncio.Lock()
        self._running: asyncio.Future[SendResult] | None = None

    def wait_seconds(self) -> float:
        """Seconds until the pace has a slot free; see `Target.wait_seconds`."""
        return self._pace.next_slot(time.monotonic())

    async def run(
        self, send: Callable[[], SendResult], *, abandon: Callable[[], None] = lambda: None
    ) -> SendResult:
        """`send()`, run in the thread when its turn has come, or why it was not or not wholly.

        `abandon` is called when nobody waits for `send` any more: after its end, at the deadline,
        and when the caller is cancelled.
        """
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._turn.acquire()
        except TimeoutError:
            return self._busy()
        try:
            if self._running is not None and not self._running.done():
                return self._busy()
            return await self._paced() or self._heed(await self._run_now(send, abandon))
        finally:
            self._turn.release()

    def stop(self) -> None:
        """Let the thread end once it is idle. Does not wait."""
        self._worker.stop()

    async def _paced(self) -> SendResult | None:
        """None once a token is taken; a result where that would take too long."""
        give_up_at = time.monotonic() + MAX_PACE_WAIT_SECONDS
        while (wait := self._pace.take(now := time.monotonic())) > 0:
            if now + wait > give_up_at:
                return SendResult(
                    outcome=Outcome.TRANSIENT,
                    retry_after_seconds=wait,
                    error_class="Paced",
                    error=f"{self._name}: not sent: its rate allows the next one in {wait:.0f} s",
                )
            await asyncio.sleep(wait)
        return None

    def _heed(self, result: SendResult) -> SendResult:
        """A Retry-After is for every message to the target, not just for the one refused."""
        if result.retry_after_seconds is not None:
            self._pace.pause(time.monotonic() + result.retry_after_seconds)
        return result

    async def _run_now(
        self, send: Callable[[], SendResult], abandon: Callable[[], None]
    ) -> SendResult:
        self._running = self._worker.submit(send)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                # Shielded: the future has to tell, later, that the thread is back.
                return await asyncio.shield(self._running)
        except TimeoutError:
            return SendResult(
                outcome=Outcome.UNKNOWN,
                error_class="DeadlineExceeded",
                error=f"{self._name}: no result within {self._timeout_seconds:g} s: "
                "it may have arrived",
            )
        finally:
            abandon()

    def _busy(self) -> SendResult:
        return SendResult(
            outcome=Outcome.TRANSIENT,
            retry_after_seconds=self._timeout_seconds,
            error_class="TargetBusy",
            error=f"{self._name}: not sent: an earlier send to it still hangs",
        )
