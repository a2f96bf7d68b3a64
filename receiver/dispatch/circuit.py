"""A circuit: after some failures in a row a target is left alone for a while. Pure.

Closed, all may begin. Open, nothing may, for a pause. After the pause it is half-open: one at a
time may begin, as a probe. A probe that fails opens it again for twice the time; the first
success closes it. What counts as a failure of the target, and how much:

| the send ended | counts |
| --- | --- |
| delivered | as a success |
| transient: refused, 429, 5xx, … | 1 |
| unknown: no answer in time, or cut after sending | 2, since trying again may say it twice |
| unknown, and only the channel's `timeout` ended it | 3: it took the target's place all that time |
| not begun, since an earlier send still hangs (`TargetBusy`) | 2, as that goes on |
| not begun, for want of a thread of ours (`NoThread`) | not at all |
| permanent, and of the target: 3xx, 401, 402, 403, 404, 407, 410, a bad URL, login or file | 1 |
| permanent, of this message alone: any other 4xx, an SMTP 5xx to its text | as a success |
| cut off by a stop, or never tried | not at all |
"""

import math
from dataclasses import dataclass
from typing import Literal

from receiver.model import Outcome

MAX_PAUSE_SECONDS = 600.0
"""Doubled pauses grow up to this, or stay as they are if they begin longer."""
SUCCESS = 0

_TARGET_STATUSES = frozenset({*range(300, 400), 401, 402, 403, 404, 407, 410})
_TARGET_ERRORS = frozenset(
    {
        "ConfigError",
        "SMTPAuthenticationError",
        "SMTPRecipientsRefused",
        "SMTPSenderRefused",
        "IsADirectoryError",
        "NotADirectoryError",
        "OSError",
    }
)


def weigh(outcome: Outcome, status_code: int | None, error_class: str | None) -> int | None:
    """How much a send's end counts against its target: `SUCCESS`, more, or None for nothing.

    >>> weigh(Outcome.TRANSIENT, 503, "HTTPStatus"), weigh(Outcome.UNKNOWN, None, "ReadTimeout")
    (1, 2)
    >>> weigh(Outcome.PERMANENT, 403, "HTTPStatus"), weigh(Outcome.PERMANENT, 413, "HTTPStatus")
    (1, 0)
    """
    if outcome is Outcome.TRANSIENT:
        if error_class == "NoThread":
            return None
        return 2 if error_class == "TargetBusy" else 1
    if outcome is Outcome.UNKNOWN:
        return 3 if error_class == "DeadlineExceeded" else 2
    if outcome is Outcome.PERMANENT:
        if status_code in _TARGET_STATUSES or error_class in _TARGET_ERRORS:
            return 1
        if error_class == "NotTried":
            return None
    return SUCCESS


@dataclass(frozen=True, kw_only=True)
class CircuitRules:
    """When a circuit opens, and for how long."""

    failures: int
    """So many in a row open it."""
    pause_seconds: float
    """The first pause; each failed probe doubles it, up to `MAX_PAUSE_SECONDS`."""


class Circuit:
    """One target's circuit. Moments are seconds of any one clock."""

    __slots__ = ("_rules", "failures", "open_until")

    def __init__(self, rules: CircuitRules) -> None:
        self._rules = rules
        self.failures = 0
        """In a row, by their weight; once it is open, one more for each failed probe."""
        self.open_until: float | None = None
        """The end of the latest pause; None while it is closed."""

    def state(self, now: float) -> Literal["closed", "open", "half_open"]:
        """Where it is."""
        if self.open_until is None:
            return "closed"
        return "open" if now < self.open_until else "half_open"

    def limit(self, now: float, most: int) -> int:
        """How many may be under way, of the `most` that may be while it is closed.

        One under way may be left from before the pause: then there is no probe until it ends.
        """
        match self.state(now):
            case "closed":
                return most
            case "half_open":
                return 1
        return 0

    def succeed(self) -> bool:
        """The target took something; whether that closes the circuit."""
        was_open = self.open_until is not None
        self.failures, self.open_until = 0, None
        return was_open

    def fail(self, now: float, weight: int = 1) -> bool:
        """The target failed; whether that opens the circuit, for the first time or again."""
        match self.state(now):
            case "open":
                return False  # begun before it opened: it says nothing new
            case "half_open":
                self.failures += 1
            case "closed":
                self.failures = min(self.failures + weight, self._rules.failures)
                if self.failures < self._rules.failures:
                    return False
        self.open_until = now + self.pause_seconds
        return True

    def restore(self, failures: int, now: float, left_seconds: float) -> None:
        """Be open as another process, or an earlier one, left it; never longer than a pause is."""
        self.failures = failures
        self.open_until = now + min(left_seconds, self.pause_seconds)

    @property
    def pause_seconds(self) -> float:
        """How long it stays open, as often as it has failed.

        >>> circuit = Circuit(CircuitRules(failures=5, pause_seconds=30.0))
        >>> for circuit.failures in (5, 6, 7, 8, 9, 10):
        ...     print(circuit.pause_seconds, end=" ")
        30.0 60.0 120.0 240.0 480.0 600.0
        """
        first = self._rules.pause_seconds
        doublings = min(max(self.failures - self._rules.failures, 0), 64)
        return min(math.ldexp(first, doublings), max(first, MAX_PAUSE_SECONDS))
