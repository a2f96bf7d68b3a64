"""A lane: the deliveries of one handler or one target, with room of their own.

Every handler and every target has its lane, so that one that is slow fills only its own.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from receiver.dispatch.target_circuit import TargetCircuit
from receiver.rate import Pace
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


def _never() -> bool:
    return False


@dataclass(slots=True, eq=False)
class Lane:
    """One handler's or target's room in this process."""

    name: str
    run: Runner
    limit: int
    """How many of its deliveries run at a time."""
    pace: Pace | None = None
    """How fast they may begin, on `time.monotonic()`: each takes a token first."""
    circuit: TargetCircuit | None = None
    """While it is open, none is claimed."""
    is_limited: bool = False
    """Whether its limits hold for all processes together: then one worker alone runs it."""
    is_mine: bool = False
    """Whether this worker is that one, as far as it knows."""
    not_before: float = 0.0
    """On `time.monotonic()`: until then a lane that is another worker's is left to it."""
    is_exhausted: Callable[[], bool] = _never
    """Whether abandoned runs, of any handlers, have used up what they share, such as threads."""
    running: int = 0
    replaying: int = 0
    """How many of those are of replays."""
    replays_wait: bool = False
    """Whether the last claim found replays, so that more of them may be due."""
    abandoned: int = 0
    """How many of its runs go on although their attempt has ended. Each keeps its place: what is
    limited is how many run at a time, and they do."""
    slot_at: float | None = None
    """Of a lane with a pace, on `time.monotonic()`: when there may be a place and a token for what
    waits; None if nothing waits. Until the dispatcher has looked for that, nothing new may
    overtake it: tokens are few, and under a steady stream it would wait for ever."""
    has_refused: bool = False
    """Of a lane with a pace: whether something was turned away while the dispatcher looked for
    what is due, or claimed it, and may not have seen it."""

    def become(self, other: "Lane") -> None:
        """Run from now on what `other` runs, as it would.

        What runs already ends as it has begun, and keeps its place: the limit is of both together.
        """
        self.run, self.limit = other.run, other.limit
        self.pace, self.circuit = other.pace, other.circuit
        self.is_limited, self.is_exhausted = other.is_limited, other.is_exhausted

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs in it, nor is about to."""
        return self.running + self.abandoned == 0

    @property
    def room(self) -> int:
        """How many more may run now."""
        if self.is_stopped:
            return 0
        most = self.limit if self.circuit is None else self.circuit.limit(self.limit)
        return most - self.running - self.abandoned

    @property
    def claim_room(self) -> int:
        """How many places the next claim may take.

        Replays' claims follow close upon one another. So that all of them do not keep the lane
        full, they take a quarter of it: what ingress hands over meanwhile finds a place, and
        need not be claimed itself.
        """
        return min(self.room, max(1, self.limit // 4)) if self.replays_wait else self.room

    @property
    def replay_room(self) -> int:
        """How many replays the next claim may take: they never fill more than half the lane."""
        return min(max(1, self.limit // 2) - self.replaying, max(1, self.limit // 4))

    @property
    def is_stopped(self) -> bool:
        """Whether so many runs are abandoned that none may begin before one of them ends."""
        return self.abandoned > 0 and (self.abandoned >= self.limit or self.is_exhausted())

    def take_place(self) -> bool:
        """Take a place, and a token where there is a pace, if nothing else waits for them."""
        if self.pace is None:
            if self.room <= 0:
                return False
        elif self.slot_at is not None or self.room <= 0 or self.pace.take(time.monotonic()) > 0:
            self.turn_away()
            return False
        self.running += 1
        return True

    def turn_away(self) -> None:
        """Something new has to wait in the store, whatever the reason."""
        if self.pace is not None:
            self.has_refused = True
            self.slot_at = time.monotonic() if self.slot_at is None else self.slot_at

    def take_places(self, most: int) -> int:
        """Take up to `most` places with their tokens; how many. `slot_at` says when to go on."""
        self.slot_at = None
        self.has_refused = False
        taken = most
        if self.pace is not None:
            now, taken = time.monotonic(), 0
            while taken < most:
                wait = self.pace.take(now)
                if wait > 0:
                    self.slot_at = now + wait
                    break
                taken += 1
        self.running += taken
        return taken

    def return_places(self, unused: int) -> None:
        """Give back places that were taken and not used, with their tokens: nothing waits.

        If all were used, or something was turned away meanwhile, something may wait.
        """
        self.running -= unused
        if self.pace is None:
            return
        self.pace.give_back(unused)
        if unused and not self.has_refused:
            self.slot_at = None
        elif unused or self.slot_at is None:
            self.slot_at = time.monotonic()
