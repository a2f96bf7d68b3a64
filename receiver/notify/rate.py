"""Pacing: how fast a target may be sent to. Pure: every moment is passed in."""

import re
from dataclasses import dataclass

from receiver.errors import ConfigError

_RATE = re.compile(
    r"(?P<count>[0-9]{1,6})\s*/\s*(?P<every>[0-9]{1,4})?\s*(?P<unit>s|m|h)"
    r"(?:\s+burst\s+(?P<burst>[0-9]{1,6}))?"
)
MAX_WAIT_SECONDS = 3600.0
"""No slot further away is named: whoever asks is told to look again by then."""
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `burst` at once, and one more every `interval_seconds`."""

    interval_seconds: float
    burst: int = 1


def parse_rate(text: str) -> Rate:
    """`"1/s"`, `"30/m"`, `"5/10s"` or `"30/m burst 5"` as a `Rate`; raises ConfigError.

    >>> parse_rate("30/m burst 5")
    Rate(interval_seconds=2.0, burst=5)
    """
    match = _RATE.fullmatch(text.strip())
    count = int(match["count"]) if match else 0
    span = int((match and match["every"]) or 1)
    burst = int((match and match["burst"]) or 1)
    if match is None or 0 in {count, span, burst}:
        raise ConfigError(
            f'rate "{text}" is not a rate: write "1/s", "30/m", "5/10s" or "30/m burst 5"'
        )
    return Rate(span * _UNIT_SECONDS[match["unit"]] / count, burst)


class Pace:
    """A token bucket that tells those it can't serve now when to come back.

    The bucket is kept as one moment (GCRA): `_full_at`, when it would be full again. A token
    is there whenever that is less than `burst` intervals away.
    """

    def __init__(self, rate: Rate | None) -> None:
        """`None` is no limit, until a `pause`."""
        self._interval = rate.interval_seconds if rate else 0.0
        self._credit = (rate.burst - 1) * rate.interval_seconds if rate else 0.0
        self._full_at = float("-inf")
        self._paused_until = float("-inf")
        self._promised_until = float("-inf")

    def pause(self, until: float) -> None:
        """Give no token before that moment: the target asked for a rest (Retry-After)."""
        self._paused_until = max(self._paused_until, until)

    def take(self, now: float) -> float:
        """Take a token and return 0, or take none and return the seconds until there is one."""
        free_at = self._free_at()
        if now < free_at:
            return free_at - now
        self._full_at = max(self._full_at, now) + self._interval
        return 0.0

    def next_slot(self, now: float) -> float:
        """Seconds until a slot is free; takes no token. 0 means that one is free now.

        Each answer above 0 names another slot, one interval after the last one named: of a
        hundred that ask, each comes back once, and not all hundred at every slot.
        """
        free_at = self._free_at()
        if now >= free_at:
            return 0.0
        slot = max(self._promised_until + self._interval, free_at)
        if slot - now > MAX_WAIT_SECONDS:
            slot = free_at
        self._promised_until = slot
        return slot - now

    def _free_at(self) -> float:
        return max(self._full_at - self._credit, self._paused_until)
