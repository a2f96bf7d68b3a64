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
        """What has no deliveries yet; None if all have."""
        return None if self.replay.rest is None else Rest.load(self.replay.rest)

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
        if self.rest is not None and self.rest.state != "open":
            return Status.PAUSED if self.rest.state == "paused" else Status.CANCELLED
        if self.rest is not None or self.unfinished:
            return Status.RUNNING
        return Status.CANCELLED if self.replay.states.get(State.CANCELLED) else Status.ENDED

    @property
    def has_stopped(self) -> bool:
        """Whether nothing of it will happen by itself."""
        return self.status is not Status.RUNNING and not self.unfinished

    @property
    def done(self) -> float:
        """The part that is done, from 0 to 1: of the events, and of their deliveries so far."""
        if self.has_stopped and self.rest is None:
            return 1.0
        ended = 1 - self.unfinished / self.deliveries if self.deliveries else 1.0
        added = self.rest.scanned / max(1, self.rest.total) if self.rest is not None else 1.0
        return added * ended
