"""The sandbox's time, and the bell that wakes whoever waits for something to change."""

import asyncio
import time
from datetime import UTC, datetime, timedelta


class SandboxClock:
    """Real time plus an offset that only grows, and a speed at which work is done.

    The speed shortens the sandbox's *work* (syncs, reports, the sender's backoff): at 600,
    "2 minutes" take 200 ms. It doesn't make time itself run faster, because clients compare a
    token's `exp` with their own wall clock.
    """

    def __init__(self, *, speed: float = 600.0, offset_seconds: float = 0.0) -> None:
        if speed <= 0:
            msg = f"the sandbox's speed must be above 0, not {speed}"
            raise ValueError(msg)
        self.speed = speed
        self.offset_seconds = offset_seconds

    def real(self) -> float:
        """Unix seconds as everybody else sees them: signatures and TOTP codes use these."""
        return time.time()

    def now(self) -> float:
        """Unix seconds in the sandbox."""
        return time.time() + self.offset_seconds

    def moment(self, at: float | None = None) -> datetime:
        """`at` (or now) as an aware UTC datetime in whole seconds, the form of the reference."""
        return datetime.fromtimestamp(int(self.now() if at is None else at), UTC)

    def advance(self, span: timedelta) -> None:
        """Move the sandbox's time forward by `span`."""
        if span < timedelta(0):
            msg = "the sandbox's time only moves forward; `reset` brings it back"
            raise ValueError(msg)
        self.offset_seconds += span.total_seconds()

    def after(self, work_seconds: float) -> float:
        """When work that starts now, and takes so long at speed 1, is done (Unix seconds)."""
        return self.now() + work_seconds / self.speed


class Bell:
    """Wakes every waiter, in any event loop, when rung from any thread.

    Take `ticket` before you look at the state and pass it to `wait`: a ring in between is then
    never missed.
    """

    def __init__(self) -> None:
        self.ticket = 0
        self._waiters: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    def ring(self) -> None:
        """Something changed."""
        self.ticket += 1
        for loop, event in tuple(self._waiters):
            try:
                loop.call_soon_threadsafe(event.set)
            except RuntimeError:  # that loop closed between the copy and the call
                continue

    async def wait(self, ticket: int, timeout_seconds: float | None = None) -> bool:
        """Whether the bell has rung since `ticket` was taken, before the time ran out."""
        waiter = (asyncio.get_running_loop(), asyncio.Event())
        self._waiters.add(waiter)
        try:
            if self.ticket != ticket:
                return True
            async with asyncio.timeout(timeout_seconds):
                await waiter[1].wait()
        except TimeoutError:
            return False
        else:
            return True
        finally:
            self._waiters.discard(waiter)
