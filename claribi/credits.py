"""What is known of the organization's AI credits, from the answers that happen to tell it."""

import threading
from dataclasses import dataclass
from datetime import UTC, datetime

from claribi.clock import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Credits:
    """The last known balance."""

    remaining: int | None
    """None until an answer told it."""
    at: datetime | None
    """When it was learnt (aware, UTC)."""
    is_exact: bool
    """False when it is reckoned: a report tells its cost, but not what remains."""
    spent: int
    """What this client's own calls have cost so far."""


class CreditsLedger:
    """Keeps the balance up to date; shared by all views of a client."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self.now = Credits(remaining=None, at=None, is_exact=False, spent=0)

    def learn(self, remaining: int | None, *, used: int | None = None) -> None:
        """Take what an answer told: the balance, what the call cost, or both."""
        with self._lock:
            before = self.now
            is_exact = remaining is not None
            if remaining is None and before.remaining is not None:
                remaining = max(0, before.remaining - (used or 0))
            self.now = Credits(
                remaining=remaining,
                at=None if remaining is None else datetime.fromtimestamp(self._clock.time(), UTC),
                is_exact=is_exact,
                spent=before.spent + (used or 0),
            )
