"""What a replay repeats, and what of that it still has to do."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal

from receiver.errors import StoreError
from receiver.model import INTERNAL_SOURCE, State, from_ms
from receiver.store.base import EventFilter

RestState = Literal["open", "paused", "cancelled"]


ENDED_MESSAGES = (State.SUCCEEDED, State.DEAD)
"""Which messages are repeated unless states are asked for: what waits is sent anyway, and what was
cancelled somebody did not want to be sent."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which stored events are repeated, what of each, and in which order."""

    ids: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    """Patterns, as in `sources`: `*` is any run of characters."""
    sources: tuple[str, ...] = ()
    since_ms: int | None = None
    until_ms: int | None = None
    where: str | None = None
    """A CEL condition, as a route's `when`."""
    states: tuple[State, ...] = ()
    """Only what is in one of these states at its latest delivery: handlers, and messages if they
    are repeated."""
    handler: str | None = None
    """Only for this handler; None is every handler that matches the event today."""
    channel: str | None = None
    """Only the messages to this channel."""
    messages_only: bool = False
    """Run no handler: send the messages that were said, as they were."""
    quiet: bool = False
    """Run the handlers, send nothing of what they say."""
    limit: int | None = None
    newest: bool = False
    """Newest first; else in the order in which they came."""

    @property
    def message_states(self) -> tuple[State, ...]:
        """Messages at these states are sent again; none if no messages are."""
        if self.messages_only:
            return self.states or ENDED_MESSAGES
        # What died is a handler's run, or a message that could not be sent: both are repeated.
        is_all = self.handler is None and not self.quiet
        return (State.DEAD,) if is_all and State.DEAD in self.states else ()

    @property
    def takes_own(self) -> bool:
        """Whether events that clarihook raised itself are meant: only if they are named."""
        named = (*self.types, *self.sources)
        return bool(self.ids) or any(name.startswith(INTERNAL_SOURCE) for name in named)

    def filter(self, position: str | None = None) -> EventFilter:
        """The events, those beyond `position` only; `where` is left to who reads them."""
        return EventFilter(
            ids=self.ids,
            types=self.types,
            sources=self.sources,
            since_ms=self.since_ms,
            until_ms=self.until_ms,
            states=() if self.messages_only else self.states,
            message_states=self.message_states,
            names=(self.handler,) if self.handler is not None else (),
            channel=self.channel,
            with_own=self.takes_own,
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
        facts = (
            ("from", " or ".join(self.sources)),
            ("since", None if self.since_ms is None else _iso(self.since_ms)),
            ("until", None if self.until_ms is None else _iso(self.until_ms)),
            ("where", self.where),
            ("the messages", "only" if self.messages_only else None),
            ("what is", " or ".join(self.states)),
            ("for handler", self.handler),
            ("to channel", self.channel),
            ("sending", "nothing" if self.quiet else None),
            ("at most", self.limit),
            ("newest", "first" if self.newest else None),
        )
        yield from (f"{word} {fact}" for word, fact in facts if fact)


@dataclass(frozen=True, kw_only=True)
class Rest:
    """What of a replay has no deliveries yet. The store keeps it as text with the replay."""

    selection: Selection
    total: int
    """How many events the selection had at the beginning, whatever `where` says of them."""
    scanned: int = 0
    """How many of them are behind us."""
    matched: int = 0
    """How many of those fitted `where`."""
    position: str | None = None
    """The id of the last that is behind us."""
    state: RestState = "open"
    events_per_second: float | None = None
    """Not faster than this."""
    concurrency: int | None = None
    """No more deliveries than this wait or run at a time."""

    @property
    def is_open(self) -> bool:
        """Whether somebody has to add more."""
        return self.state == "open" and self.scanned < self.total

    @property
    def done(self) -> float:
        """The part that is behind us, from 0 to 1. A limit may be reached before the last event."""
        limit = self.selection.limit
        return min(
            1.0,
            max(self.scanned / max(1, self.total), self.matched / limit if limit else 0.0),
        )

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
