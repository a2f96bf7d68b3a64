"""`clarihook config`: are the settings right, and which are in force, from where?"""

import json
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from receiver.cli.deployment import store_of
from receiver.cli.options import HERE, HomeOption, JsonOption
from receiver.cli.output import print_json, print_line, print_table, print_warning
from receiver.errors import ConfigError, HandlerLoadError
from receiver.settings import Loaded, RouteSettings, Settings, is_sensitive, load, secrets_of
from receiver.settings.problems import KeyPath, dotted

app = typer.Typer(help="Check and show the settings.")


@app.command()
def check(
    home: HomeOption = HERE,
    *,
    strict: Annotated[bool, typer.Option("--strict", help="Take warnings for errors.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say whether the settings can be used, with every fault's file, line, key and remedy.

    Handler files are loaded and the channels' URLs opened; nothing is sent. What can be used but is
    hardly meant is a warning: a route that is never reached, a type or a field that no event has.
    The exit status is 0 if the settings can be used, 2 if not, or if --strict finds a warning.

    Example: clarihook config check --home /srv/hooks

    Example: clarihook config check --strict
    """
    warnings: list[str] = []
    try:
        loaded = load(home)
        _raise_all(
            *_scheme_faults(loaded),
            *_store_faults(loaded),
            *_template_faults(loaded.settings),
            *_target_faults(loaded),
            *_handler_faults(loaded),
        )
        warnings = [*loaded.warnings, *_missing_handlers(loaded.settings), *_findings(loaded)]
        if strict:
            _raise_all(*warnings)
    except ConfigError as error:
        if not as_json:
            raise
        print_json({"ok": False, "problems": error.problems, "warnings": warnings})
        raise typer.Exit(2) from None
    summary = _summary(loaded.settings)
    if as_json:
        print_json({"ok": True, **summary, "warnings": warnings})
        return
    for warning in warnings:
        print_warning(warning)
    print_line("OK", "bold green")
    for word, value in summary.items():
        shown = ", ".join(value) if isinstance(value, list) else value
        print_line(f"  {word:9} {shown or 'none'}")


@app.command()
def show(home: HomeOption = HERE, as_json: JsonOption = False) -> None:
    """Print every setting with its value and where it was given; secrets stay hidden.

    Example: clarihook config show --json
    """
    loaded = load(home)
    rows = [
        (dotted(path), value, loaded.origins.get(path, "default"))
        for path, value in _values(loaded.settings)
    ]
    if as_json:
        settings = [{"key": key, "value": value, "origin": origin} for key, value, origin in rows]
        print_json({"home": str(loaded.settings.home), "settings": settings})
        return
    print_line(f"home: {loaded.settings.home}")
    print_table(("setting", "value", "from"), [(key, _literal(v), o) for key, v, o in rows])


def _raise_all(*problems: str) -> None:
    if problems:
        raise ConfigError(*problems)


def _scheme_faults(loaded: Loaded) -> Iterator[str]:
    """What is wrong in the signature schemes of sources and forwards."""
    from receiver.dispatch.forwarding import signer  # noqa: PLC0415 - `show` needs none
    from receiver.signatures import SchemeSpec, build_scheme  # noqa: PLC0415

    for name, source in loaded.settings.sources.items():
        secrets = [secret.get_secret_value() for secret in source.secrets]
        try:
            build_scheme(SchemeSpec(**source.scheme_options), secrets)
        except ConfigError as error:
            yield from _placed(loaded, ("sources", name), error)
    for index, route in enumerate(loaded.settings.routes):
        if route.forward_secret is not None:
            try:
                signer(route.forward_secret.get_secret_value())
            except ConfigError as error:
                yield from _placed(loaded, ("routes", index, "forward_secret"), error)


def _placed(loaded: Loaded, path: KeyPath, error: ConfigError) -> list[str]:
    place = loaded.origins.place(path)
    return [f"{place}: {dotted(path)}: {problem}" for problem in error.problems]


def _store_faults(loaded: Loaded) -> Iterator[str]:
    """Whether this version has no store of that kind."""
    try:
        store_of(loaded.settings, "reader", must_exist=False)
    except ConfigError as error:
        place = loaded.origins.place(("store", "url"))
        yield from (f"{place}: {problem}" for problem in error.problems)


def _template_faults(settings: Settings) -> Iterator[str]:
    """What is wrong in the templates, and in the routes that name one."""
    from receiver.notify.routes import RouteTable  # noqa: PLC0415
    from receiver.wiring import load_templates  # noqa: PLC0415 - slow

    try:
        RouteTable(settings.routes, load_templates(settings))
    except ConfigError as error:
        yield from error.problems


def _target_faults(loaded: Loaded) -> Iterator[str]:
    """What is wrong in the channels' URLs, several recipients among it."""
    from receiver.notify import Notifier  # noqa: PLC0415 - slow

    for name, channel in loaded.settings.channels.items():
        try:
            notifier = Notifier.from_settings({name: channel}, home=loaded.settings.home)
            notifier.check()
        except ConfigError as error:
            place = loaded.origins.place(("channels", name, "urls"))
            yield from (f"{place}: {problem}" for problem in error.problems)


def _handler_faults(loaded: Loaded) -> Iterator[str]:
    """Handler files that can't be loaded and stop a start, and names of handlers that are none."""
    from receiver.engine import load_registry  # noqa: PLC0415 - slow

    try:
        load_registry(_with_paths_there(loaded.settings))
    except HandlerLoadError as error:
        is_disabled = str(error).startswith("disabled: ")
        path = ("handlers", "disabled" if is_disabled else "paths")
        yield f"{loaded.origins.place(path) or 'default'}: handlers: {error}"


def _findings(loaded: Loaded) -> Iterator[str]:
    """What can be used but is hardly meant."""
    from receiver.cli.findings import channel_findings, route_findings  # noqa: PLC0415 - slow
    from receiver.engine import load_registry  # noqa: PLC0415

    registry = load_registry(_with_paths_there(loaded.settings))
    for problem in registry.problems:
        yield f"{problem.file}: can't be loaded, and events are held for it: {problem.text}"
    found = channel_findings(loaded.settings, registry.handlers)
    for finding in (*route_findings(loaded.settings), *found):
        place = loaded.origins.place(finding.path) or "default"
        yield f"{place}: {dotted(finding.path)}: {finding.text}"


def _with_paths_there(settings: Settings) -> Settings:
    """The settings without paths of handlers that do not exist: these are told by themselves."""
    there = tuple(path for path in settings.handlers.paths if settings.path(path).exists())
    handlers = settings.handlers.model_copy(update={"paths": there})
    return settings.model_copy(update={"handlers": handlers})


def _missing_handlers(settings: Settings) -> list[str]:
    return [
        f"handlers.paths: {settings.path(path)} does not exist, so none of its handlers will run"
        for path in settings.handlers.paths
        if not settings.path(path).exists()
    ]


def _summary(settings: Settings) -> dict[str, Any]:
    return {
        "home": str(settings.home),
        "sources": [f"{name} ({source.scheme})" for name, source in settings.sources.items()],
        "channels": [f"{name} ({len(c.urls)})" for name, c in settings.channels.items()],
        "routes": [
            f"{route.match} → {', '.join(_receivers(n, route))}"
            for n, route in enumerate(settings.routes, 1)
        ],
        "handlers": list(settings.handlers.paths),
    }


def _receivers(number: int, route: RouteSettings) -> list[str]:
    forwards = [f"forward/{route.name or number}"] if route.forward is not None else []
    return [*route.notify, *forwards]


def _values(settings: Settings) -> Iterator[tuple[KeyPath, Any]]:
    """Every setting as plain data that may be shown."""
    data = settings.model_dump(mode="json", exclude={"home"})
    for path, secret in secrets_of(settings):
        if secret.reference is not None:
            shown = f"{secret.reference} (set)"
        else:
            shown = "**********" if is_sensitive(path, secret) else secret.get_secret_value()
        *parents, last = path
        table: Any = data
        for part in parents:
            table = table[part]
        table[last] = shown
    return _leaves(data, ())


def _leaves(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    """The values in tables and lists of tables; a list of plain values is one value."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for index, inner in enumerate(value):
            yield from _leaves(inner, (*path, index))
    else:
        yield path, value


def _literal(value: Any) -> str:
    """The value as TOML writes it; what is not set as a dash."""
    return "-" if value is None else json.dumps(value, ensure_ascii=False)
