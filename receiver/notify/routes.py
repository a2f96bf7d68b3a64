"""Routes: rules of the settings that turn an event into messages, without any code.

Pure but for the templates' compilation: an event and its values go in, messages and a reason
for each route that said nothing come out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from receiver.errors import ConfigError
from receiver.holds import NO_OPTIONS, Escalation, NoiseOptions
from receiver.model import Event, Message, Severity
from receiver.notify.condition import IS_FALSE, Condition
from receiver.notify.facts import Facts, Path, shortest
from receiver.notify.streaks import incident, opening_types
from receiver.patterns import compile_patterns
from receiver.templates.budget import MAX_CHARS
from receiver.templates.library import Templates, render_inline
from receiver.templates.values import listing

if TYPE_CHECKING:
    from jinja2 import Template

NAME = "routes"
"""The name of the delivery in which an event's routes are worked out."""

HOPS_HEADER = "clarihook-forwarded"
"""Says how often a webhook has been forwarded by then."""
MAX_HOPS = 5
"""So often at most, or two deployments that forward to each other would never end."""


class _Secret(Protocol):
    def get_secret_value(self) -> str: ...


class EscalationStep(Protocol):
    """The part of an escalation's step that is needed here."""

    @property
    def after(self) -> timedelta: ...
    @property
    def notify(self) -> Sequence[str]: ...


class RouteSettings(Protocol):
    """The part of the settings' route that is needed here."""

    @property
    def name(self) -> str | None: ...
    @property
    def goes_on(self) -> bool: ...
    @property
    def match(self) -> str: ...
    @property
    def source(self) -> str | None: ...
    @property
    def when(self) -> str | None: ...
    @property
    def notify(self) -> Sequence[str]: ...
    @property
    def resolve(self) -> str | None: ...
    @property
    def resolve_by(self) -> str | None: ...
    @property
    def forward(self) -> _Secret | None: ...
    @property
    def severity(self) -> Severity: ...
    @property
    def template(self) -> str | None: ...
    @property
    def title(self) -> str | None: ...
    @property
    def body(self) -> str | None: ...
    @property
    def noise(self) -> NoiseOptions: ...
    @property
    def escalate(self) -> Sequence[EscalationStep]: ...


class Routed(NamedTuple):
    """What the routes made of an event."""

    messages: tuple[Message, ...]
    notes: tuple[str, ...]
    """What each route did not say, or said otherwise than it should, and why."""
    failures: tuple[str, ...] = ()
    """Of the notes those that tell of something broken, such as a template."""
    forwards: tuple[Message, ...] = ()
    """What tells of each forward; its channel is the name of the target that posts the event."""
    spoke: tuple[int, ...] = ()
    """The numbers of the routes that have matched."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What one route says of an event, and why."""

    number: int
    """Its place in the settings, counted from 1."""
    label: str
    """What people call it: its name, or else its number."""
    settings: RouteSettings
    refusal: str | None = None
    """Why it says nothing; None if it speaks."""
    is_for_event: bool = True
    """Whether the event is of its types and its source, and no earlier route ended the list."""
    messages: tuple[Message, ...] = ()
    forward: Message | None = None
    """What tells of its forward; see `Routed.forwards`."""
    notes: tuple[str, ...] = ()
    """What it says otherwise than it should, and why."""

    @property
    def ends_list(self) -> bool:
        """Whether no later route is looked at: it has matched and does not continue."""
        return self.refusal is None and not self.settings.goes_on


@dataclass(frozen=True, kw_only=True)
class _Route:
    number: int
    label: str
    """What people call it: its name, or else its number."""
    settings: RouteSettings
    fits: Any
    condition: Condition | None
    title: "Template | None"
    body: "Template | None"
    noise: NoiseOptions | None
    """How it wants its messages grouped and throttled; None goes by the channels' rules."""
    false_note: str
    """What is noted of it when its condition is false."""

    def refusal(self, facts: Facts) -> str | None:
        """Why it says nothing of an event that is of its types and its source."""
        why = None if self.condition is None else self.condition.refusal_by(facts)
        return None if why is None else f"`when` {why}"


class _Candidates(NamedTuple):
    """The routes for one source and type, and all that their conditions look at."""

    routes: tuple[_Route, ...]
    paths: frozenset[Path]


def forward_name(number: int, route: RouteSettings) -> str:
    """What the deliveries of a route's forward go by: `forward/NAME`, or its number.

    No channel's target has such a name: it would have a number and a hyphen.
    """
    return f"forward/{route.name or number}"


def forward_names(routes: Sequence[RouteSettings]) -> set[str]:
    """The names of all forwards."""
    return {forward_name(number, each) for number, each in enumerate(routes, 1) if each.forward}


def hops(event: Event) -> int:
    """How often the webhook had been forwarded when it came."""
    counts = (value for name, value in event.headers if name == HOPS_HEADER)
    return max((int(count[:4]) for count in counts if count[:4].isdecimal()), default=0)


class RouteTable:
    """All routes of the settings, compiled once. Every matching route speaks, up to one that has
    matched and does not `continue`.
    """

    def __init__(self, routes: Sequence[RouteSettings], templates: Templates | None = None) -> None:
        """`templates`: those of the deployment; the shipped ones by default.

        Raises ConfigError for a route that names a template that there is not.
        """
        self._templates = Templates() if templates is None else templates
        self._routes = tuple(
            _compile(number, each, self._templates) for number, each in enumerate(routes, 1)
        )
        # Bounded, because event types come from outside.
        self._candidates = lru_cache(maxsize=1024)(self._find_candidates)

    def matches(self, source: str, event_type: str) -> bool:
        """Whether any route is for this source and type, whatever its condition says."""
        return bool(self._candidates(source, event_type).routes)

    def route(self, event: Event) -> Routed:
        """The messages of an event, in the order of the routes."""
        messages: list[Message] = []
        notes: list[str] = []
        failures: list[str] = []
        forwards: list[Message] = []
        spoke: list[int] = []
        candidates = self._candidates(event.source, event.type)
        facts = Facts(event, candidates.paths)
        for route in candidates.routes:
            # Of hundreds nearly all are false: written out, it takes a sixth less time.
            condition = route.condition
            if condition is not None and (why := condition.refusal_by(facts)) is not None:
                notes.append(
                    route.false_note if why is IS_FALSE else f"route {route.label}: `when` {why}"
                )
                continue
            verdict = _speak(route, event, self._templates)
            said = [f"route {route.label}: {note}" for note in verdict.notes]
            notes += said
            failures += said
            messages += verdict.messages
            spoke.append(route.number)
            if verdict.forward is not None:
                forwards.append(verdict.forward)
            if verdict.ends_list:
                break
        return Routed(tuple(messages), tuple(notes), tuple(failures), tuple(forwards), tuple(spoke))

    def explain(self, event: Event) -> tuple[Verdict, ...]:
        """What each route says of an event, or why it says nothing: `route`, rule by rule."""
        verdicts: list[Verdict] = []
        ended: str | None = None
        facts = Facts(event, self._candidates(event.source, event.type).paths)
        for route in self._routes:
            passed_over = ended or _why_not_for(route, event)
            refusal = passed_over or route.refusal(facts)
            if refusal is None:
                verdict = _speak(route, event, self._templates)
                if verdict.ends_list:
                    ended = f"route {route.label} ended the list (continue = false)"
            else:
                verdict = Verdict(
                    number=route.number,
                    label=route.label,
                    settings=route.settings,
                    refusal=refusal,
                    is_for_event=passed_over is None,
                )
            verdicts.append(verdict)
        return tuple(verdicts)

    def _find_candidates(self, source: str, event_type: str) -> _Candidates:
        found = tuple(route for route in self._routes if _is_for(route, source, event_type))
        paths = {path for route in found if route.condition for path in route.condition.paths}
        return _Candidates(found, shortest(paths))


def _compile(number: int, settings: RouteSettings, templates: Templates) -> _Route:
    if settings.template is not None and settings.template not in templates:
        raise ConfigError(f"route {settings.name or number}: {templates.hint(settings.template)}")
    label = settings.name or str(number)
    return _Route(
        number=number,
        label=label,
        settings=settings,
        fits=opening_types(settings),
        condition=None if settings.when is None else Condition(settings.when),
        title=None if settings.title is None else templates.inline(settings.title),
        body=None if settings.body is None else templates.inline(settings.body),
        noise=None
        if settings.noise == NO_OPTIONS
        else replace(settings.noise, scope=f"route {label} "),
        false_note=f"route {label}: `when` {IS_FALSE}",
    )


def _is_for(route: _Route, source: str, event_type: str) -> bool:
    return route.settings.source in (None, source) and bool(route.fits(event_type))


def _why_not_for(route: _Route, event: Event) -> str | None:
    """Why it is not for the event's source and type, in the order in which that is looked at."""
    if route.settings.source not in (None, event.source):
        return f'it is for the source "{route.settings.source}", not "{event.source}"'
    resolve = route.settings.resolve
    if resolve is not None and compile_patterns((resolve,))(event.type):
        return "it says that something has recovered, if that had failed before"
    if not route.fits(event.type):
        return f'its match "{route.settings.match}" does not fit the type "{event.type}"'
    return None


def _speak(route: _Route, event: Event, templates: Templates) -> Verdict:
    """What a route says of an event that it has not refused."""
    message, notes = _message(route, event, templates)
    forward, forward_note = _forward(route, event)
    messages = [
        replace(message, channel=channel, noise=route.noise) for channel in route.settings.notify
    ]
    if messages:
        # By the first alone, or there would be one for each channel.
        messages[0] = replace(messages[0], escalations=_escalations(route, event))
    return Verdict(
        number=route.number,
        label=route.label,
        settings=route.settings,
        messages=tuple(messages),
        forward=forward,
        notes=(*notes, f"its forward {forward_note}") if forward_note else notes,
    )


def _escalations(route: _Route, event: Event) -> tuple[Escalation, ...]:
    part_of = incident(route.settings, route.number, event)
    return tuple(
        Escalation(int(step.after.total_seconds() * 1000), tuple(step.notify), part_of)
        for step in route.settings.escalate
    )


def _forward(route: _Route, event: Event) -> tuple[Message | None, str]:
    """What tells of the event's forward, if the route has one and may; and a note."""
    if route.settings.forward is None:
        return None, ""
    if (so_often := hops(event)) >= MAX_HOPS:
        return None, f"was left out: it has been forwarded {so_often} times; do they go in a ring?"
    url = urlsplit(route.settings.forward.get_secret_value())
    # Only the host: a path may hold a token.
    told = Message(
        channel=forward_name(route.number, route.settings),
        title=f"{event.type} forwarded to {url.hostname}",
        body=f"the webhook itself: {len(event.body)} bytes, by {url.scheme} to {url.hostname}",
    )
    return told, ""


def _message(route: _Route, event: Event, templates: Templates) -> tuple[Message, tuple[str, ...]]:
    """What the route says, to no channel yet, and what failed: then it says it plainly."""
    settings = route.settings
    template = settings.template
    if template is None and route.title is None and route.body is None and event.type in templates:
        template = event.type
    if template is not None:
        title, bodies, notes = templates.render(template, event, settings.severity)
    else:
        title, bodies, notes = "", {}, ()
    values = templates.values(event, settings.severity)
    inline_title, title_note = _render(route.title, values, "title")
    body, body_note = _render(route.body, values, "body")
    title = inline_title or title or event.type
    text = body or bodies.get("text", listing(event.json)) or title
    return Message(
        channel="",
        title=title,
        body=text[:MAX_CHARS],
        severity=settings.severity,
        bodies={format_: said for format_, said in bodies.items() if said and format_ != "text"},
    ), (*notes, *title_note, *body_note)


def _render(
    template: "Template | None", values: Mapping[str, Any], what: str
) -> tuple[str, tuple[str, ...]]:
    """The rendered text, empty when there is no template or it fails; and a note."""
    if template is None:
        return "", ()
    try:
        return render_inline(template, values), ()
    except Exception as error:  # whatever a template does, the message goes out
        return "", (f"its {what} failed, a plain one was sent: {error}",)
