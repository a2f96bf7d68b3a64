"""Time as the client sees it: passed in, so that tests need not wait."""

import time
from typing import Protocol


class Clock(Protocol):
    """Two clocks: the wall's, which may jump, and one that only goes forward."""

    def time(self) -> float:
        """Unix time in seconds; compared only with moments that the server named."""

    def monotonic(self) -> float:
        """Seconds since some moment; for deadlines and the age of tokens."""


class SystemClock:
    """The machine's own clocks."""

    def time(self) -> float:
        """Unix time in seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back."""
        return time.monotonic()
