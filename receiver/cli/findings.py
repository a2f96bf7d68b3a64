"""What is legal in the settings but hardly meant: routes that never speak, fields that no event
has, channels that nobody uses. All of it is a guess, so none of it is an error by itself.
"""

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pydantic import AliasChoices, AliasPath, BaseModel

from receiver.events import MODELS, ClariBIEvent, DeliveryDead
from receiver.model import INTERNAL_SOURCE
from receiver.patterns import compile_patterns
from receiver.registry import Handler
from receiver.settings import RouteSettings, Settings
from receiver.settings.problems import KeyPath, Problem, nearest

KNOWN: dict[str, type[ClariBIEvent]] = {**MODELS, "clarihook.delivery.dead": DeliveryDead}
_FIELD = re.compile(r"(?<![\w.'\"])event\.data\.([A-Za-z_]\w*)(?!\w|\s*\()", re.ASCII)


def route_findings(settings: Settings) -> Iterator[Problem]:
    """Routes that no event gets to, and what in them names nothing that is known."""
    for index, route in enumerate(settings.routes):
        path: KeyPath = ("routes", index)
        yield from _shadowed(path, route, settings.routes[:index])
        yield from _unknown_type(path, route, settings)
        yield from _unknown_fields(path, route, settings)


def channel_findings(settings: Settings, handlers: Sequence[Handler]) -> Iterator[Problem]:
    """Channels that nothing uses, as far as can be seen, and handlers' channels that are none."""
    used = {name for route in settings.routes for name in route.notify}
    used |= {name for route in settings.routes for step in route.escalate for name in step.notify}
    used |= {each.fallback for each in settings.channels.values() if each.fallback is not None}
    named: list[str] = []
    is_sure = True
    for file in dict.fromkeys(handler.file for handler in handlers):
        for line, channel in channels_of(file):
            if channel is None:
                is_sure = False
                continue
            named.append(channel)
            if channel not in settings.channels:
                hint = nearest(channel, settings.channels)
                meant = f'did you mean "{hint}"?' if hint else "add it, or change the handler"
                text = f'{file}:{line} speaks to "{channel}", and there is no such channel; {meant}'
                yield Problem(("channels",), text)
    for name in settings.channels:
        if is_sure and name not in used and name not in named:
            yield Problem(("channels", name), "no route and no handler speaks to it")


def channels_of(file: str | Path) -> Iterator[tuple[int, str | None]]:
    """The line and the channel of each `.notify(…)` in a file; None where it is worked out."""
    tree = ast.parse(Path(file).read_bytes())
    constants = {
        target.id: each.value.value
        for each in tree.body
        if isinstance(each, ast.Assign) and isinstance(each.value, ast.Constant)
        for target in each.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if node.func.attr != "notify":
            continue
        first = node.args[0] if node.args else None
        for keyword in node.keywords:
            first = keyword.value if keyword.arg == "channel" else first
        value: object = None
        if isinstance(first, ast.Constant):
            value = first.value
        elif isinstance(first, ast.Name):
            value = constants.get(first.id)
        yield node.lineno, value if isinstance(value, str) else None


def covers(wide: str, narrow: str) -> bool:
    """Whether every type that fits the one pattern fits the other too.

    >>> covers("billing.*", "billing.credits_*"), covers("billing.credits_*", "billing.*")
    (True, False)
    """
    # A star of the narrow one is a character that only a star can stand for.
    return compile_patterns((wide,))(narrow)


def _shadowed(
    path: KeyPath, route: RouteSettings, before: Sequence[RouteSettings]
) -> Iterator[Problem]:
    for number, other in enumerate(before, 1):
        label = other.name or number
        if _says(other) == _says(route):
            yield Problem(path, f"is the same as route {label}; remove one of them")
            return
        ends_it = other.when is None or other.when == route.when
        is_covered = other.source in (None, route.source) and covers(other.match, route.match)
        if not other.goes_on and ends_it and is_covered:
            text = (
                f"is never reached: route {label} takes all that it would, and has "
                "continue = false; put this one above it"
            )
            yield Problem(path, text)
            return


def _says(route: RouteSettings) -> object:
    return route.model_copy(update={"name": None})


def _unknown_type(path: KeyPath, route: RouteSettings, settings: Settings) -> Iterator[Problem]:
    if any(map(compile_patterns((route.match,)), KNOWN)):
        return
    families = {f"{name.rpartition('.')[0]}.*" for name in KNOWN}
    near = nearest(route.match, families if route.match.endswith("*") else KNOWN)
    if near is not None:
        text = f'fits no event type that is known; did you mean "{near}"?'
        yield Problem((*path, "match"), text)
    elif _is_for_claribi(route, settings):
        yield Problem((*path, "match"), f"fits no event of clariBI: {', '.join(MODELS)}")


def _unknown_fields(path: KeyPath, route: RouteSettings, settings: Settings) -> Iterator[Problem]:
    """Only where all types that it is for are known: other senders have other fields."""
    if route.when is None or route.match == "*" or not _is_for_claribi(route, settings):
        return
    fits = compile_patterns((route.match,))
    models = [model for name, model in KNOWN.items() if fits(name)]
    known = {field for model in models for field in _fields(model)}
    for field in dict.fromkeys(_FIELD.findall(route.when)):
        if known and field not in known:
            near = nearest(field, known)
            meant = f"did you mean {near}?" if near else f"known: {', '.join(sorted(known))}"
            yield Problem((*path, "when"), f"no such event has event.data.{field}; {meant}")


def _is_for_claribi(route: RouteSettings, settings: Settings) -> bool:
    if route.source == INTERNAL_SOURCE:
        return True
    names = [route.source] if route.source is not None else list(settings.sources)
    return all(settings.sources[name].scheme == "claribi" for name in names)


def _fields(model: type[ClariBIEvent]) -> Iterator[str]:
    """The names that a field of the event's data may come under."""
    data = model.model_fields["data"].annotation
    assert isinstance(data, type), "every event has a model of its data"
    assert issubclass(data, BaseModel), "every event has a model of its data"
    for name, field in data.model_fields.items():
        yield name
        alias = field.validation_alias
        if isinstance(alias, AliasChoices):
            yield from _first_steps(alias.choices)


def _first_steps(choices: Iterable[str | AliasPath]) -> Iterator[str]:
    for choice in choices:
        yield choice if isinstance(choice, str) else str(choice.path[0])
