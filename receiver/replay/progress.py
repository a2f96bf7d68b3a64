"""How far a replay is."""

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from receiver.model import State
from receiver.replay.selection import Rest
from receiver.store.base import Replay

OPEN_STATES = (State.PENDING, State.RUNNING, State.RETRYING, State.HELD)


class Status(StrEnum):
    """Where a replay is. Each member says who moves it next."""

    RUNNING = "running"
    """A process that runs deliveries, and the one that adds the replay's next part."""
    PAUSED = "paused"
    """A person, by `replay resume` or `replay cancel`; what was added before still ends."""
    ENDED = "ended"
    """Nobody: every delivery has ended."""
    CANCELLED = "cancelled"
    """Nobody: what had not run was cancelled."""


@dataclass(frozen=True)
class Progress:
    """A replay, with what its deliveries' states mean."""

    replay: Replay

    @cached_property
    def rest(self) -> Rest | None:
        """What has no deliveries yet, or that nothing is left; None if it was begun as a whole."""
        return None if self.replay.rest is None else Rest.load(self.replay.rest)

    @property
    def is_added(self) -> bool:
        """Whether every event that has a handler has its deliveries."""
        return self.rest is None or self.rest.scanned >= self.rest.total

    @property
    def selected(self) -> int:
        """How many events were selected; with a condition, as far as they were looked at."""
        if self.rest is None:
            return self.replay.events
        return self.rest.total if self.rest.selection.where is None else self.rest.matched

    @property
    def deliveries(self) -> int:
        """How many there are by now; handlers add those of their messages as they succeed."""
        return sum(self.replay.states.values())

    @property
    def unfinished(self) -> int:
        """How many of them have not ended."""
        return sum(self.replay.states.get(state, 0) for state in OPEN_STATES)

    @property
    def in_line(self) -> int:
        """How many of them wait for a place to run, or run; not those that wait to be retried."""
        return sum(self.replay.states.get(state, 0) for state in (State.PENDING, State.RUNNING))

    @property
    def status(self) -> Status:
        """Where the replay is."""
        state = "open" if self.rest is None else self.rest.state
        if state == "cancelled":
            return Status.CANCELLED
        if state == "paused" and not self.is_added:
            return Status.PAUSED
        return Status.ENDED if self.is_added and not self.unfinished else Status.RUNNING

    @property
    def has_stopped(self) -> bool:
        """Whether nothing of it will happen by itself."""
        return self.status is not Status.RUNNING and not self.unfinished

    @property
    def done(self) -> float:
        """The part that is done, from 0 to 1: of the events, and of their deliveries so far."""
        ended = 1 - self.unfinished / self.deliveries if self.deliveries else 1.0
        return ended if self.rest is None else self.rest.done * ended
