"""What is left after the chaos, counted: sent, acknowledged, stored, handled, received, twice."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from serve_process import opened

UNFINISHED = "SELECT count(*) FROM deliveries WHERE state NOT IN ('succeeded', 'dead', 'cancelled')"

_DELIVERIES = """
SELECT
    events.id,
    deliveries.name,
    deliveries.state,
    (SELECT count(*) FROM attempts WHERE delivery_id = deliveries.id AND outcome = 'unknown')
FROM deliveries
JOIN events ON events.seq = deliveries.event_seq
WHERE events.source <> 'clarihook'
"""


@dataclass
class Reckoning:
    """The account of one deployment. Events are told by their ids, which are messages' titles."""

    home: Path
    stored: dict[str, bytes] = field(default_factory=dict)
    by_name: dict[str, Counter[str]] = field(default_factory=dict)
    """Of each handler and target, by event: how many deliveries."""
    cuts: dict[str, Counter[str]] = field(default_factory=dict)
    """The same: how many attempts whose outcome is unknown."""
    states: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    """Attempts by outcome and class of error."""
    told_dead: int = 0
    """Events that clarihook itself has raised about dead deliveries."""

    def __post_init__(self) -> None:
        with opened(self.home) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert database.execute("PRAGMA foreign_key_check").fetchall() == []
            rows = database.execute("SELECT id, body, source FROM events").fetchall()
            self.stored = {event: bytes(body) for event, body, by in rows if by != "clarihook"}
            self.told_dead = len(rows) - len(self.stored)
            for event, name, state, unknown in database.execute(_DELIVERIES):
                self.by_name.setdefault(name, Counter())[event] += 1
                self.cuts.setdefault(name, Counter())[event] += unknown
                self.states[state] += 1
            self.outcomes.update(
                database.execute("SELECT outcome, error_class FROM attempts").fetchall()
            )

    def lost(self, acknowledged: Mapping[str, bytes]) -> set[str]:
        """Acknowledged events that are not there, or are others."""
        return {event for event, body in acknowledged.items() if self.stored.get(event) != body}

    def each_has_one(self, name: str) -> bool:
        """Whether each event has exactly one delivery of that name."""
        return self.by_name.get(name, Counter()) == dict.fromkeys(self.stored, 1)

    def unexplained(self, name: str, seen: Counter[str]) -> dict[str, int]:
        """Events that were handled, or whose message was received, more often than once and
        once more for each attempt that was cut; or not at all.
        """
        cuts = self.cuts.get(name, Counter())
        return {
            event: seen[event]
            for event in self.stored.keys() | seen.keys()
            if not 1 <= seen[event] <= 1 + cuts[event]
        }


def handled(home: Path) -> Counter[str]:
    """By event: how often its handler noted it."""
    return Counter(line.split()[0] for line in (home / "handled").read_text("ascii").splitlines())


def titles(file: Path) -> Counter[str]:
    """By title: the messages in the file of a file target."""
    return Counter(json.loads(line)["title"] for line in file.read_text("utf-8").splitlines())


def twice(seen: Counter[str]) -> int:
    """How many there are too many."""
    return seen.total() - len(seen)
