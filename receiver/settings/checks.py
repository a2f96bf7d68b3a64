"""Checks of meaning: expressions and templates that compile, names that exist, failing closed.

`cross_check` reads plain data and not the models, so that it finds its faults also where other
settings are wrong: a user gets every fault in one go.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from receiver.model import INTERNAL_SOURCE
from receiver.settings.noise import check_noise
from receiver.settings.problems import KeyPath, Problem, name_hint
from receiver.settings.retrying import check_retries

ROUTE_VARIABLES = frozenset({"event", "source", "received_at"})
"""What a route's condition can speak of."""

_YES = frozenset({"true", "1", "yes", "on", "t", "y"})
"""How an environment variable may say true; the same words that pydantic takes."""

_CEL_PLACE = re.compile(r"ERROR: <input>:(\d+):(\d+): (?:Syntax error: )?(.+)")
_DEDUPE = re.compile(r"body|header:[!#$%&'*+.^_`|~0-9A-Za-z-]+|json:(/.*)?", re.ASCII)
_LOCATOR = re.compile(r"header:[!#$%&'*+.^_`|~0-9A-Za-z-]+|json:/.*", re.ASCII)


def parse_cel(expression: str) -> str:
    """The expression as it is, if it is CEL. Raises ValueError with the column of the fault."""
    import cel  # noqa: PLC0415 - 0.2 s of import that most commands and settings don't need

    try:
        names = cel.compile(expression).variables()
    except ValueError as error:
        place = _CEL_PLACE.search(str(error))
        if place is None:
            raise ValueError(f"is no CEL expression: {error}") from None
        line, column, message = place.groups()
        where = f"line {line}, column {column}" if line != "1" else f"column {column}"
        raise ValueError(f"is no CEL expression: {where}: {message}") from None
    # A comprehension's own variables are among the names, so one known name has to be enough.
    if names and not ROUTE_VARIABLES.intersection(names):
        known = ", ".join(sorted(ROUTE_VARIABLES))
        raise ValueError(f"there is no {names[0]} in a condition; use {known}")
    return expression


def parse_template(text: str) -> str:
    """The text as it is, if it is a Jinja template. Raises ValueError otherwise."""
    from jinja2 import TemplateSyntaxError  # noqa: PLC0415 - only settings with templates need it

    from receiver.templates.sandbox import Environment  # noqa: PLC0415

    try:
        Environment("text").compile(text)
    except TemplateSyntaxError as error:
        raise ValueError(f"is no Jinja template: line {error.lineno}: {error.message}") from None
    return text


def valid_dedupe(rule: str) -> str:
    """The rule as it is, if it says what makes an event unique. Raises ValueError otherwise."""
    if not _DEDUPE.fullmatch(rule):
        raise ValueError('write "header:NAME", "body" or "json:/pointer"')
    return rule


def valid_locator(text: str) -> str:
    """The text as it is, if it says where a type stands. Raises ValueError otherwise."""
    if not _LOCATOR.fullmatch(text):
        raise ValueError('write "header:NAME" or "json:/pointer"')
    return text


def cross_check(data: Mapping[str, Any]) -> Iterator[Problem]:
    """The faults that lie between settings: what names what, and what must not stand alone."""
    sources = _table(data, "sources")
    channels = _table(data, "channels")
    for name in sources:
        yield from _check_source(name, _table(sources, name), data)
        yield from check_retries(("sources", name), _table(sources, name))
    for name in channels:
        yield from check_retries(("channels", name), _table(channels, name))
        yield from _check_fallback(name, channels)
        yield from check_noise(("channels", name), _table(channels, name))
    yield from check_retries(("dispatch",), _table(data, "dispatch"))
    routes = data.get("routes")
    if not isinstance(routes, list | tuple):
        routes = ()
    yield from _check_route_names(routes)
    for index, route in enumerate(routes):
        if isinstance(route, Mapping):
            yield from _check_route(("routes", index), route, sources, channels)
    yield from _check_claribi(_table(data, "claribi"))


def _check_source(
    name: str, source: Mapping[str, Any], data: Mapping[str, Any]
) -> Iterator[Problem]:
    path: KeyPath = ("sources", name)
    if name == INTERNAL_SOURCE:
        yield Problem(path, "is the source of clarihook's own events; give it another name")
    if source.get("scheme") != "none":
        if not source.get("secrets"):
            variable = f"CLARIHOOK_SOURCES__{name.upper().replace('-', '_')}__SECRETS"
            text = f'no secret is set; write secrets = ["env:NAME"], or set {variable}'
            yield Problem((*path, "secrets"), text)
        return
    host = _table(data, "server").get("host", "127.0.0.1")
    if str(source.get("insecure")).lower() not in _YES:
        text = '"none" accepts forged events; set a scheme, or insecure = true to accept them'
        yield Problem((*path, "scheme"), text)
    elif not _is_loopback(str(host)):
        text = f'"none" is only for a loopback address, and server.host is "{host}"; set a scheme'
        yield Problem((*path, "scheme"), text)
    if source.get("secrets"):
        yield Problem((*path, "secrets"), 'are not used with scheme = "none"; set a scheme')


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _check_route(
    path: KeyPath, route: Mapping[str, Any], sources: Mapping[str, Any], channels: Mapping[str, Any]
) -> Iterator[Problem]:
    source = route.get("source")
    if isinstance(source, str) and source not in sources and source != INTERNAL_SOURCE:
        hint = name_hint(source, sources)
        yield Problem((*path, "source"), f'there is no source "{source}"; {hint}')
    yield from _check_forward(path, route)
    if route.get("template") is not None and route.get("body") is not None:
        yield Problem((*path, "body"), "is what `template` is for; leave out one of both")
    yield from _check_resolve(path, route)
    yield from _check_notify(path, route, channels)
    steps = route.get("escalate")
    if steps and not route.get("notify"):
        yield Problem((*path, "escalate"), "needs a message that escalates; set notify")
    for index, step in enumerate(steps if isinstance(steps, list | tuple) else []):
        if isinstance(step, Mapping):
            yield from _check_notify((*path, "escalate", index), step, channels)


def _check_notify(
    path: KeyPath, table: Mapping[str, Any], channels: Mapping[str, Any]
) -> Iterator[Problem]:
    notify = table.get("notify")
    names = (
        [notify] if isinstance(notify, str) else notify if isinstance(notify, list | tuple) else []
    )
    for index, channel in enumerate(names):
        if isinstance(channel, str) and channel not in channels:
            hint = name_hint(channel, channels)
            text = f'there is no channel "{channel}"; {hint}'
            yield Problem((*path, "notify", index), text)


def _check_resolve(path: KeyPath, route: Mapping[str, Any]) -> Iterator[Problem]:
    for one, other in (("resolve", "resolve_by"), ("resolve_by", "resolve")):
        if one in route and other not in route:
            yield Problem((*path, one), f"needs {other} as well; set both")
    if "resolve" in route and "notify" not in route:
        yield Problem((*path, "resolve"), "has nobody to tell; set notify")


def _check_forward(path: KeyPath, route: Mapping[str, Any]) -> Iterator[Problem]:
    if "forward" not in route:
        if "notify" not in route:
            yield Problem(path, "says nothing to anybody; set notify, forward, or both")
        for key in ("forward_secret", "allow_private"):
            if key in route:
                yield Problem((*path, key), "is used only with forward; set that too")
    elif "forward_secret" not in route:
        text = 'needs forward_secret, to sign with: "env:NAME" or "file:PATH" of a whsec_ secret'
        yield Problem((*path, "forward"), text)


def _check_fallback(name: str, channels: Mapping[str, Any]) -> Iterator[Problem]:
    path: KeyPath = ("channels", name, "fallback")
    way = [name]
    while isinstance(following := _table(channels, way[-1]).get("fallback"), str):
        if following not in channels:
            if len(way) == 1:
                hint = name_hint(following, channels)
                yield Problem(path, f'there is no channel "{following}"; {hint}')
            return
        if following in way:
            if following == name:
                shown = " → ".join([*way, following])
                yield Problem(path, f"goes in a circle: {shown}; let one of them have none")
            return
        way.append(following)


def _check_route_names(routes: Sequence[Any]) -> Iterator[Problem]:
    known: set[str] = set()
    for index, route in enumerate(routes):
        name = route.get("name") if isinstance(route, Mapping) else None
        if isinstance(name, str):
            if name in known:
                text = f'is the name of an earlier route: "{name}"'
                yield Problem(("routes", index, "name"), text)
            known.add(name)


def _check_claribi(claribi: Mapping[str, Any]) -> Iterator[Problem]:
    has_key, has_login = "api_key" in claribi, "email" in claribi or "password" in claribi
    if has_key and has_login:
        yield Problem(("claribi", "api_key"), "set either api_key, or email and password; not both")
    for one, other in (("email", "password"), ("password", "email")):
        if one in claribi and other not in claribi:
            yield Problem(("claribi", one), f"needs claribi.{other} as well; set both")
    if "totp" in claribi and not has_login:
        yield Problem(("claribi", "totp"), "is used only with email and password; set them")


def _table(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = data.get(key)
    return value if isinstance(value, Mapping) else {}
