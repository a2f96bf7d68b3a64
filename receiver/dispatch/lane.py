"""A lane: the deliveries of one handler or one target, with room of their own.

Every handler and every target has its lane, so that one that is slow fills only its own.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from receiver.store.base import Claim, Finish


class Postpone(Exception):
    """What a runner raises when it could not even begin: the attempt does not count."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"not before {seconds:.1f} s from now")
        self.seconds = seconds


class Runner(Protocol):
    """Runs one claimed delivery."""

    def __call__(self, claim: Claim, /) -> Awaitable[Finish]:
        """How the attempt ended. Raises only Postpone, or CancelledError at a stop."""


def _no_wait() -> float:
    return 0.0


@dataclass(slots=True, eq=False)
class Lane:
    """One handler's or target's room in this process."""

    name: str
    run: Runner
    limit: int
    """How many of its deliveries run at a time."""
    wait_seconds: Callable[[], float] = _no_wait
    """Asked before a claim: how long the lane's pace still holds. Each answer above 0 is a
    slot of its own, so it is asked once for each slot."""
    running: int = 0
    slot_at: float | None = None
    """On the loop's clock: the slot that the pace promised; before it nothing is claimed."""

    @property
    def room(self) -> int:
        """How many more may run now."""
        return self.limit - self.running
