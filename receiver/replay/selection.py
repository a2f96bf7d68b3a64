"""What a replay repeats, and what of that it still has to do."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal

from receiver.errors import StoreError
from receiver.model import State, from_ms
from receiver.store.base import EventFilter

RestState = Literal["open", "paused", "cancelled"]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which stored events are repeated, for which handler, in which order."""

    ids: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    """Patterns, as in `sources`: `*` is any run of characters."""
    sources: tuple[str, ...] = ()
    since_ms: int | None = None
    until_ms: int | None = None
    states: tuple[State, ...] = ()
    """Only for those handlers whose latest delivery of the event is in one of these states."""
    handler: str | None = None
    """Only for this handler; None is every handler that matches the event today."""
    limit: int | None = None
    newest: bool = False
    """Newest first; else in the order in which they came."""

    def filter(self, position: str | None = None) -> EventFilter:
        """The events, those beyond `position` only."""
        return EventFilter(
            ids=self.ids,
            types=self.types,
            sources=self.sources,
            since_ms=self.since_ms,
            until_ms=self.until_ms,
            states=self.states,
            names=(self.handler,) if self.handler is not None else (),
            before=position if self.newest else None,
            after=None if self.newest else position,
        )

    def words(self) -> str:
        """The selection as a person would say it.

        >>> Selection(types=("billing.*",), handler="mine.count", limit=5).words()
        'events of type billing.*, for handler mine.count, at most 5'
        """
        return ", ".join(self._words())

    def _words(self) -> Iterator[str]:
        which = "all events"
        if self.ids:
            which = self.ids[0] if len(self.ids) == 1 else f"{len(self.ids)} events by id"
        elif self.types:
            which = f"events of type {' or '.join(self.types)}"
        yield which
        if self.sources:
            yield f"from {' or '.join(self.sources)}"
        if self.since_ms is not None:
            yield f"since {_iso(self.since_ms)}"
        if self.until_ms is not None:
            yield f"until {_iso(self.until_ms)}"
        if self.states:
            yield f"where the handler's delivery is {' or '.join(self.states)}"
        if self.handler is not None:
            yield f"for handler {self.handler}"
        if self.limit is not None:
            yield f"at most {self.limit}"
        if self.newest:
            yield "newest first"


@dataclass(frozen=True, kw_only=True)
class Rest:
    """What of a replay has no deliveries yet. The store keeps it as text with the replay."""

    selection: Selection
    total: int
    """How many events the selection had at the beginning."""
    scanned: int = 0
    """How many of them are behind us."""
    position: str | None = None
    """The id of the last of these."""
    state: RestState = "open"

    def dump(self) -> str:
        """As the store keeps it."""
        return json.dumps(asdict(self))

    @staticmethod
    def load(text: str) -> "Rest":
        """The reverse of `dump`; raises StoreError for what another version wrote."""
        try:
            fields = json.loads(text)
            selection = fields.pop("selection")
            for name in ("ids", "types", "sources"):
                selection[name] = tuple(selection[name])
            selection["states"] = tuple(State(state) for state in selection["states"])
            return Rest(selection=Selection(**selection), **fields)
        except (ValueError, TypeError, KeyError) as error:
            raise StoreError(
                f"what is left of this replay can't be read ({error}): another version of "
                "clarihook began it, and has to finish it"
            ) from error


def _iso(milliseconds: int) -> str:
    return from_ms(milliseconds).isoformat(timespec="seconds").replace("+00:00", "Z")
