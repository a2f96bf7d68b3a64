"""Rates, and keeping to one. Pure: every moment is passed in, in seconds of any one clock."""

import re
from dataclasses import dataclass
from typing import Any

_RATE = re.compile(
    r"(?P<count>[0-9]{1,6})\s*/\s*(?P<every>[0-9]{1,4})?\s*(?P<unit>s|m|h)"
    r"(?:\s+burst\s+(?P<burst>[0-9]{1,6}))?"
)
_UNIT_SECONDS = {"h": 3600, "m": 60, "s": 1}


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` per `per_seconds`, evenly spaced; "30/m burst 5" is `Rate(30, 60, 5)`."""

    count: int
    per_seconds: float
    burst: int | None = None
    """How many may go at once; None if nobody has said."""

    @property
    def per_second(self) -> float:
        """The same rate as a number per second."""
        return self.count / self.per_seconds

    @property
    def interval_seconds(self) -> float:
        """The time from one to the next."""
        return self.per_seconds / self.count

    def __str__(self) -> str:
        unit, seconds = next(
            each for each in _UNIT_SECONDS.items() if self.per_seconds % each[1] == 0
        )
        every = int(self.per_seconds // seconds)
        text = f"{self.count}/{'' if every == 1 else every}{unit}"
        return text if self.burst is None else f"{text} burst {self.burst}"


def parse_rate(value: Any) -> Rate:
    """A rate from "1/s", "100/h", "5/10s" or "30/m burst 5". Raises ValueError for all else.

    >>> parse_rate("30/m burst 5")
    Rate(count=30, per_seconds=60, burst=5)
    >>> str(parse_rate("5 / 10 s"))
    '5/10s'
    """
    if isinstance(value, Rate):
        return value
    match = _RATE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is not None:
        count, every = int(match["count"]), int(match["every"] or 1)
        burst = None if match["burst"] is None else int(match["burst"])
        if count and every and burst != 0:
            return Rate(count, every * _UNIT_SECONDS[match["unit"]], burst)
    raise ValueError('write a rate such as "1/s", "30/m", "5/10s" or "30/m burst 5"')


class Pace:
    """A token bucket that tells those it can't serve now when to come back.

    The bucket is kept as one moment (GCRA): `_full_at`, when it would be full again. A token
    is there whenever that is less than `burst` intervals away. Moments are of a clock that never
    goes back: to one that was put back it would give no token until it has caught up.
    """

    __slots__ = ("_credit", "_full_at", "_interval", "_paused_until")

    def __init__(self, rate: Rate | None) -> None:
        """`None` is no limit, until a `pause`."""
        self._interval = rate.interval_seconds if rate else 0.0
        self._credit = ((rate.burst or 1) - 1) * rate.interval_seconds if rate else 0.0
        self._full_at = float("-inf")
        self._paused_until = float("-inf")

    def pause(self, until: float) -> None:
        """Give no token before that moment: the other side asked for a rest (Retry-After)."""
        self._paused_until = max(self._paused_until, until)

    def take(self, now: float) -> float:
        """Take a token and return 0, or take none and return the seconds until there is one."""
        free_at = max(self._full_at - self._credit, self._paused_until)
        if now < free_at:
            return free_at - now
        self._full_at = max(self._full_at, now) + self._interval
        return 0.0

    def give_back(self, tokens: int) -> None:
        """Return tokens that were taken and not used."""
        self._full_at -= tokens * self._interval
