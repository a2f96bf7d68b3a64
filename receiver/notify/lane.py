"""The sends to one target: their turns, their deadline, and what if one hangs."""

import asyncio
import time
from collections.abc import Callable

import structlog

from receiver.model import Outcome
from receiver.notify.target import SendResult
from receiver.notify.worker import Worker
from receiver.rate import Pace, Rate

log = structlog.get_logger("receiver.notify")

NO_THREAD_SECONDS = 1.0
"""How soon a send is tried again for which there was no thread."""
COMES_BACK_SECONDS = 0.2
"""How long a thread whose connection was cut may take to notice before its target is busy."""


class Slot:
    """One send at a time, in a daemon thread of its own."""

    def __init__(self, number: int, name: str) -> None:
        self.number = number
        """From 0."""
        self.worker = Worker(name)
        self.running: asyncio.Future[SendResult] | None = None
        """The latest send; not done while its thread is at it, whether anybody waits or not."""


class Lane:
    """Runs a target's sends, each in one of `concurrency` slots; with one slot, in order.

    A send that does not end in time is abandoned and answered `unknown`. A thread can't be
    stopped from outside, so should it not come back by itself, its slot is out of use until it
    does, and never gets a second thread. With all slots out, each further send is answered
    `transient`, `TargetBusy`. No other target waits.
    """

    def __init__(
        self, name: str, *, timeout_seconds: float, rate: Rate | None, concurrency: int = 1
    ) -> None:
        self._name = name
        self._timeout_seconds = timeout_seconds
        self.pace = Pace(rate)
        """See `Target.pace`."""
        self._slots = [
            Slot(number, f"target-{name}" if number == 0 else f"target-{name}-{number + 1}")
            for number in range(concurrency)
        ]
        # The last one back goes first: a target with little to do has one thread.
        self._free: asyncio.LifoQueue[Slot] = asyncio.LifoQueue()
        for slot in reversed(self._slots):
            self._free.put_nowait(slot)
        self._stuck = 0
        """Slots whose thread is at a send that was abandoned."""

    async def run(
        self, send: Callable[[int], SendResult], *, abandon: Callable[[], None] = lambda: None
    ) -> SendResult:
        """`send(slot)`, run in the thread of a free slot, or why it was not or not wholly.

        `abandon` is called when nobody waits for `send` any more: after its end, at the deadline,
        and when the caller is cancelled.
        """
        is_out = self._stuck == len(self._slots)
        try:
            async with asyncio.timeout(COMES_BACK_SECONDS if is_out else self._timeout_seconds):
                slot = await self._free.get()
        except TimeoutError:
            return self._busy()
        return self._heed(await self._run_in(slot, send, abandon))

    def stop(self) -> None:
        """Let the threads end once they are idle. Does not wait."""
        for slot in self._slots:
            slot.worker.stop()

    def _heed(self, result: SendResult) -> SendResult:
        """A Retry-After is for every message to the target, not just for the one refused."""
        if result.retry_after_seconds is not None:
            self.pace.pause(time.monotonic() + result.retry_after_seconds)
        return result

    async def _run_in(
        self, slot: Slot, send: Callable[[int], SendResult], abandon: Callable[[], None]
    ) -> SendResult:
        try:
            running = slot.running = slot.worker.submit(lambda: send(slot.number))
        except RuntimeError as error:  # short of memory, or of threads: it passes
            log.warning("target.no_thread", name=self._name, error=str(error))
            self._free.put_nowait(slot)
            abandon()
            return SendResult(
                outcome=Outcome.TRANSIENT,
                retry_after_seconds=NO_THREAD_SECONDS,
                error_class="NoThread",
                error=f"{self._name}: not sent: {error}",
            )
        try:
            async with asyncio.timeout(self._timeout_seconds):
                # Shielded: the future has to tell, later, that the thread is back.
                return await asyncio.shield(running)
        except TimeoutError:
            return SendResult(
                outcome=Outcome.UNKNOWN,
                error_class="DeadlineExceeded",
                error=f"{self._name}: no result within {self._timeout_seconds:g} s: "
                "it may have arrived",
            )
        finally:
            abandon()
            if running.done():
                self._free.put_nowait(slot)
            else:
                self._stuck += 1
                running.add_done_callback(lambda _: self._came_back(slot))

    def _came_back(self, slot: Slot) -> None:
        self._stuck -= 1
        self._free.put_nowait(slot)

    def _busy(self) -> SendResult:
        return SendResult(
            outcome=Outcome.TRANSIENT,
            retry_after_seconds=self._timeout_seconds,
            error_class="TargetBusy",
            error=f"{self._name}: not sent: an earlier send to it still hangs",
        )
