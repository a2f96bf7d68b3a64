"""Routes: rules of the settings that turn an event into messages, without any code.

Pure but for the templates' compilation: an event and its values go in, messages and a reason
for each route that said nothing come out.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from receiver.model import Event, Message, Severity
from receiver.notify.condition import Condition
from receiver.patterns import compile_patterns

NAME = "routes"
"""The name of the delivery in which an event's routes are worked out."""

_MAX_TEXT_CHARS = 65_536


class RouteSettings(Protocol):
    """The part of the settings' route that is needed here."""

    @property
    def match(self) -> str: ...
    @property
    def source(self) -> str | None: ...
    @property
    def when(self) -> str | None: ...
    @property
    def notify(self) -> Sequence[str]: ...
    @property
    def severity(self) -> Severity: ...
    @property
    def title(self) -> str | None: ...
    @property
    def body(self) -> str | None: ...


class Routed(NamedTuple):
    """What the routes made of an event."""

    messages: tuple[Message, ...]
    notes: tuple[str, ...]
    """What each route did not say, or said otherwise than it should, and why."""


@dataclass(frozen=True, kw_only=True)
class _Route:
    number: int
    settings: RouteSettings
    fits: Any
    condition: Condition | None
    title: Any
    body: Any


class RouteTable:
    """All routes of the settings, compiled once. Every matching route speaks."""

    def __init__(self, routes: Sequence[RouteSettings]) -> None:
        self._routes = tuple(_compile(number, each) for number, each in enumerate(routes, 1))

    def matches(self, source: str, event_type: str) -> bool:
        """Whether any route is for this source and type, whatever its condition says."""
        return any(_is_for(route, source, event_type) for route in self._routes)

    def route(self, event: Event) -> Routed:
        """The messages of an event, in the order of the routes."""
        messages: list[Message] = []
        notes: list[str] = []
        for route in self._routes:
            if not _is_for(route, event.source, event.type):
                continue
            if (refusal := _refusal(route, event)) is not None:
                notes.append(f"route {route.number}: {refusal}")
                continue
            values = {"event": event.json, "source": event.source,
                      "received_at": event.received_at, "event_id": event.id}  # fmt: skip
            title, note = _render(route.title, values, plain=event.type)
            notes += [f"route {route.number}: its title {note}"] if note else []
            body, note = _render(route.body, values, plain=_listing(event.json))
            notes += [f"route {route.number}: its body {note}"] if note else []
            messages += [
                Message(channel=channel, title=title, body=body, severity=route.settings.severity)
                for channel in route.settings.notify
            ]
        return Routed(tuple(messages), tuple(notes))


def _compile(number: int, settings: RouteSettings) -> _Route:
    title = body = None
    if settings.title is not None or settings.body is not None:
        # Slow to import, and settings without templates don't need it.
        from jinja2 import StrictUndefined  # noqa: PLC0415
        from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415

        # Text, not HTML: notify escapes for each service what it needs escaped.
        templates = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
        title = templates.from_string(settings.title) if settings.title is not None else None
        body = templates.from_string(settings.body) if settings.body is not None else None
    return _Route(
        number=number,
        settings=settings,
        fits=compile_patterns((settings.match,)),
        condition=None if settings.when is None else Condition(settings.when),
        title=title,
        body=body,
    )


def _is_for(route: _Route, source: str, event_type: str) -> bool:
    return route.settings.source in (None, source) and route.fits(event_type)


def _refusal(route: _Route, event: Event) -> str | None:
    """Why the route says nothing; None if it speaks."""
    refusal = None if route.condition is None else route.condition.refusal(event)
    return None if refusal is None else f"`when` {refusal}"


def _render(template: Any, values: Mapping[str, Any], *, plain: str) -> tuple[str, str]:
    """The rendered text, or the plain one when there is no template or it fails; and a note."""
    if template is None:
        return plain, ""
    try:
        text: str = template.render(values)
    except Exception as error:  # whatever a template does, the message goes out
        return plain, f"failed, a plain one was sent: {error}"
    return text[:_MAX_TEXT_CHARS] or plain, ""


def _listing(value: Any) -> str:
    """The event's data, one `name: value` line each."""
    data = value.get("data", value) if isinstance(value, dict) else value
    if not isinstance(data, dict):
        return json.dumps(data, ensure_ascii=False)
    return "\n".join(f"{name}: {_shown(each)}" for name, each in data.items())


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
