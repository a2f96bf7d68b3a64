"""Streaks: failures in a row of one thing, for routes that say when it has recovered. Pure.

The store keeps a streak among the values of the routes' deliveries, so that it changes in the
transaction that ends the event's routes: an attempt that was cut off has counted nothing.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

from receiver.durations import spoken_duration
from receiver.fields import field_at, text_of
from receiver.model import Event, Message, Severity, from_ms, to_ms
from receiver.patterns import compile_patterns

_LONGEST_VALUE = 100
_LONGEST_NAME = 200
_ALL_IN_ORDER = "*"
"""The ordering key where routes go by different fields: nothing tells then what has to wait."""


class RouteSettings(Protocol):
    """The part of the settings' route that is needed here."""

    @property
    def name(self) -> str | None: ...
    @property
    def match(self) -> str: ...
    @property
    def source(self) -> str | None: ...
    @property
    def notify(self) -> Sequence[str]: ...
    @property
    def resolve(self) -> str | None: ...
    @property
    def resolve_by(self) -> str | None: ...


class Streak(NamedTuple):
    """Failures in a row."""

    since_ms: int
    last_ms: int
    failures: int

    def text(self) -> str:
        """As the store keeps it."""
        return json.dumps(self._asdict())

    @classmethod
    def parse(cls, text: str) -> "Streak":
        """The reverse of `text`."""
        return cls(**json.loads(text))


class Told(NamedTuple):
    """What the streaks made of an event."""

    messages: tuple[Message, ...] = ()
    notes: tuple[str, ...] = ()
    """Of each route that could not say or count anything, why."""
    values: Mapping[str, str | None] = {}
    """What to keep: a streak's text by its key, None for one that is over."""
    recovered: tuple[str, ...] = ()
    """The incidents that are over: see `incident`."""


@dataclass(frozen=True, kw_only=True)
class _Watch:
    """A route that has a `resolve`."""

    number: int
    settings: RouteSettings
    opens: Callable[[str], bool]
    closes: Callable[[str], bool]
    path: str

    @property
    def label(self) -> str:
        return self.settings.name or str(self.number)

    def is_for(self, source: str, event_type: str) -> bool:
        is_of_type = self.opens(event_type) or self.closes(event_type)
        return self.settings.source in (None, source) and is_of_type


def opening_types(route: RouteSettings) -> Callable[[str], bool]:
    """A test for the types that the route speaks of: what fits `match` and is no recovery."""
    fits = compile_patterns((route.match,))
    if route.resolve is None:
        return fits
    closes = compile_patterns((route.resolve,))
    return lambda event_type: fits(event_type) and not closes(event_type)


def incident(route: RouteSettings, number: int, event: Event) -> str:
    """What an event is a part of, for its route: a streak, or else the event alone."""
    value = None if route.resolve_by is None else _value(route.resolve_by, _body(event))
    return _incident(route.name or str(number), event, value)


class StreakTable:
    """The routes of the settings that have a `resolve`."""

    def __init__(self, routes: Sequence[RouteSettings]) -> None:
        self._watches = tuple(
            _Watch(
                number=number,
                settings=route,
                opens=opening_types(route),
                closes=compile_patterns((route.resolve,)),
                path=route.resolve_by,
            )
            for number, route in enumerate(routes, 1)
            if route.resolve is not None and route.resolve_by is not None
        )

    def matches(self, source: str, event_type: str) -> bool:
        """Whether events of this source and type open or close any streak."""
        return any(watch.is_for(source, event_type) for watch in self._watches)

    def order(self, source: str, event_type: str) -> Callable[[Any], str | None] | None:
        """What reads the ordering key of the routes' delivery from an event's body.

        None where no streak looks at such events: they need no order. A body with nothing at
        `resolve_by` has no key: it belongs to no streak.
        """
        if not self.matches(source, event_type):
            return None
        # Not only of this type: what closes a streak has to wait for what opens it.
        paths = {each.path for each in self._watches if each.settings.source in (None, source)}
        if len(paths) > 1:
            return lambda _body: _ALL_IN_ORDER
        (path,) = paths

        def key(body: Any) -> str | None:
            value = _value(path, body)
            return None if value is None else f"{source}:{value}"

        return key

    def keys(self, event: Event) -> tuple[str, ...]:
        """The keys of the streaks that the event may change."""
        body = _body(event)
        found = (
            _key(watch, event, value)
            for watch in self._watches
            if watch.is_for(event.source, event.type)
            and (value := _value(watch.path, body)) is not None
        )
        return tuple(found)

    def tell(
        self, event: Event, spoke: Collection[int], kept: Mapping[str, str | None] | None
    ) -> Told:
        """What the event does to the streaks, and what is said of those that are over.

        `spoke`: the numbers of the routes that have said something about the event. `kept`: the
        streaks as the store has them, by `keys`; None in a replay, which leaves them alone.
        """
        messages: list[Message] = []
        notes: list[str] = []
        values: dict[str, str | None] = {}
        recovered: list[str] = []
        for watch in self._watches:
            if not watch.is_for(event.source, event.type):
                continue
            closes = watch.closes(event.type)
            if not closes and watch.number not in spoke:
                continue
            value = _value(watch.path, _body(event))
            note = None
            if value is None:
                note = f"there is no value at {watch.path}, so it is part of no streak"
            elif kept is None:
                note = "a replay leaves the streaks as they are" if closes else None
            else:
                key = _key(watch, event, value)
                text = kept.get(key)
                streak = None if text is None else Streak.parse(text)
                if not closes:
                    values[key] = _longer(streak, event).text()
                elif streak is None:
                    note = f"nothing had failed of {watch.path} {value}, so nothing has recovered"
                else:
                    messages += _recovery(watch, event, value, streak)
                    values[key] = None
                    recovered.append(_incident(watch.label, event, value))
            if note is not None:
                notes.append(f"route {watch.label}: {note}")
        return Told(tuple(messages), tuple(notes), values, tuple(recovered))


def _longer(streak: Streak | None, event: Event) -> Streak:
    now_ms = to_ms(_moment(event))
    if streak is None:
        return Streak(now_ms, now_ms, 1)
    return Streak(min(streak.since_ms, now_ms), max(streak.last_ms, now_ms), streak.failures + 1)


def _recovery(watch: _Watch, event: Event, value: str, streak: Streak) -> list[Message]:
    end = _moment(event)
    seconds = max(0.0, (to_ms(end) - streak.since_ms) / 1000)
    failures = "1 failure" if streak.failures == 1 else f"{streak.failures} failures"
    name = _name(watch.path, event, value)
    title = f"{name} recovered after {spoken_duration(seconds)}, {failures}"
    body = "\n".join(
        [
            f"First failure: {_shown(from_ms(streak.since_ms))}",
            f"Last failure: {_shown(from_ms(streak.last_ms))}",
            f"Recovered: {_shown(end)}, by {event.type}",
        ]
    )
    return [
        Message(channel=channel, title=title, body=body, severity=Severity.SUCCESS)
        for channel in watch.settings.notify
    ]


def _name(path: str, event: Event, value: str) -> str:
    """What people call the thing: `data_source_name` beside `data_source_id`, if it is there."""
    *way, last = path.split(".")
    stem = last.removesuffix("id").removesuffix("_")
    body = _body(event)
    for sibling in (f"{stem}_name" if stem else "name", "name"):
        name = field_at(body, ".".join([*way, sibling]))
        if isinstance(name, str) and name.strip():
            return " ".join(name.split())[:_LONGEST_NAME]
    kind = stem or event.type.partition(".")[0]
    return f"{kind.replace('_', ' ')} {value}"


def _moment(event: Event) -> datetime:
    """When it happened: what the event says itself, else when it came."""
    body = _body(event)
    text = body.get("timestamp") if isinstance(body, dict) else None
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
        if moment is not None and moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    return event.received_at


def _shown(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _body(event: Event) -> Any:
    """The body; None if it is no JSON."""
    try:
        return event.json
    except (ValueError, RecursionError):
        return None


def _value(path: str, body: Any) -> str | None:
    return text_of(field_at(body, path), longest=_LONGEST_VALUE)


def _key(watch: _Watch, event: Event, value: str) -> str:
    return f"streak/{_incident(watch.label, event, value)}"


def _incident(label: str, event: Event, value: str | None) -> str:
    # Two sources may number their things alike.
    return f"{label}:{event.id}" if value is None else f"{label}:{event.source}:{value}"
