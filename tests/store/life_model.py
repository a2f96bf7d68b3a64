"""What should be in the store after any sequence of moves: deliveries, and whose turn a key is."""

import time
from dataclasses import dataclass, field

from receiver.model import FINAL_STATES, EventId, State
from receiver.store.workers import FATAL_DEATHS, SUSPECT_DEATHS

START_MS = 4_000_000_000_000
"""Long after any test runs. So the end of an attempt, which goes by the wall's clock, finds
nothing due that waits for a retry; the other moves go by the model's clock."""
UNFINISHED = frozenset(State) - FINAL_STATES


def wall_ms() -> int:
    return int(time.time() * 1000)


@dataclass
class Known:
    """What the model knows of a delivery."""

    name: str
    key: str | None
    state: State = State.PENDING
    attempts: int = 0
    forgiven: int = 0
    due_ms: int = 0
    is_replay: bool = False
    is_told: bool = False
    """Whether it tells of a dead one."""
    steps_aside: bool = False
    deaths: int = 0
    """Of processes that ran it; suspects run one at a time."""
    is_head: bool = True
    """Of its key, or without one: nothing has to end before it."""

    @property
    def is_suspect(self) -> bool:
        return self.deaths >= SUSPECT_DEATHS

    def may_run(self, now_ms: int) -> bool:
        """Whether it may be its key's head: it has not stepped aside until later."""
        return not self.steps_aside or self.state is not State.RETRYING or self.due_ms <= now_ms


@dataclass
class Model:
    """All that should be in the store."""

    deliveries: dict[int, Known] = field(default_factory=dict)
    events: dict[str, EventId] = field(default_factory=dict)
    duplicates: int = 0

    def add(self, delivery_id: int, known: Known, now_ms: int) -> None:
        known.is_head = known.key is None or not self.unfinished(known)
        self.deliveries[delivery_id] = known
        if known.steps_aside:
            self.pass_turn(known, now_ms)

    def pass_turn(self, like: Known, now_ms: int) -> None:
        """To the next of its key, unless one has the turn and may run: those that have stepped
        aside and are due, in order of that; the oldest other; those that will be due.
        """
        if like.key is None:
            return
        ids = self.unfinished(like)
        for each in ids:
            known = self.deliveries[each]
            known.is_head = known.is_head and known.may_run(now_ms)
        if not ids or any(self.deliveries[each].is_head for each in ids):
            return
        aside = [each for each in ids if self.deliveries[each].state is State.RETRYING]
        aside.sort(key=lambda each: (self.deliveries[each].due_ms, each))
        due = [each for each in aside if self.deliveries[each].due_ms <= now_ms]
        others = [each for each in ids if each not in aside]
        first = (due[:1] + sorted(others)[:1] + aside)[0]
        self.deliveries[first].is_head = True

    def due(self, name: str, now_ms: int) -> list[int]:
        """In the order in which they are claimed."""
        ready = [
            (known.is_replay and not known.is_suspect, known.due_ms, each)
            for each, known in self.deliveries.items()
            if known.name == name
            and known.state in (State.PENDING, State.RETRYING)
            and known.is_head
            and known.due_ms <= now_ms
        ]
        return [each for _, _, each in sorted(ready)]

    def claimable(self, name: str, now_ms: int, most: int) -> list[int]:
        """What a claim takes: one suspect, if none runs, and others in their order."""
        due = self.due(name, now_ms)
        suspects = [each for each in due if self.deliveries[each].is_suspect]
        if any(self.deliveries[each].is_suspect for each in self.in_state(State.RUNNING)):
            suspects = []
        others = [each for each in due if not self.deliveries[each].is_suspect]
        return (suspects[:1] + others)[:most]

    def lose(self, delivery_id: int, *, max_attempts: int, by_death: bool, due_ms: int) -> None:
        """Its worker ended while it ran."""
        known = self.deliveries[delivery_id]
        known.deaths += by_death
        tries = known.attempts - known.forgiven
        if tries >= max_attempts or known.deaths >= FATAL_DEATHS:
            known.state = State.DEAD
            self.pass_turn(known, due_ms)
        else:
            known.state, known.due_ms = State.RETRYING, due_ms

    def in_state(self, *states: State) -> list[int]:
        return [each for each, known in self.deliveries.items() if known.state in states]

    def unfinished(self, like: Known) -> list[int]:
        return [
            each
            for each, known in self.deliveries.items()
            if (known.name, known.key) == (like.name, like.key) and known.state in UNFINISHED
        ]
