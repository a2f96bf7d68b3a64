"""`clarihook config`: are the settings right, and which are in force, from where?"""

import json
from collections.abc import Iterator
from typing import Any

import typer

from receiver.cli.deployment import store_of
from receiver.cli.options import HERE, HomeOption, JsonOption
from receiver.cli.output import print_json, print_line, print_table, print_warning
from receiver.errors import ConfigError
from receiver.settings import Loaded, Settings, is_sensitive, load, secrets_of
from receiver.settings.problems import KeyPath, dotted

app = typer.Typer(help="Check and show the settings.")


@app.command()
def check(home: HomeOption = HERE, as_json: JsonOption = False) -> None:
    """Say whether the settings can be used, with every fault's file, line, key and remedy.

    The exit status is 0 if they can, 2 if not.

    Example: clarihook config check --home /srv/hooks
    """
    try:
        loaded = load(home)
        _check_schemes(loaded)
        _check_store(loaded)
        _check_templates(loaded.settings)
    except ConfigError as error:
        if not as_json:
            raise
        print_json({"ok": False, "problems": error.problems})
        raise typer.Exit(2) from None
    warnings = [*loaded.warnings, *_missing_handlers(loaded.settings)]
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


def _check_schemes(loaded: Loaded) -> None:
    """Build every source's signature scheme; raises ConfigError with what is wrong in them."""
    from receiver.signatures import SchemeSpec, build_scheme  # noqa: PLC0415 - `show` needs none

    problems: list[str] = []
    for name, source in loaded.settings.sources.items():
        secrets = [secret.get_secret_value() for secret in source.secrets]
        try:
            build_scheme(SchemeSpec(**source.scheme_options), secrets)
        except ConfigError as error:
            place = loaded.origins.place(("sources", name))
            problems += [f"{place}: sources.{name}: {problem}" for problem in error.problems]
    if problems:
        raise ConfigError(*problems)


def _check_store(loaded: Loaded) -> None:
    """Raises ConfigError if this version has no store of that kind."""
    try:
        store_of(loaded.settings, "reader", must_exist=False)
    except ConfigError as error:
        place = loaded.origins.place(("store", "url"))
        raise ConfigError(*(f"{place}: {problem}" for problem in error.problems)) from None


def _check_templates(settings: Settings) -> None:
    """Raises ConfigError with what is wrong in the templates, and in the routes that name one."""
    from receiver.notify.routes import RouteTable  # noqa: PLC0415
    from receiver.wiring import load_templates  # noqa: PLC0415 - slow

    RouteTable(settings.routes, load_templates(settings))


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
        "routes": [f"{route.match} → {', '.join(route.notify)}" for route in settings.routes],
        "handlers": list(settings.handlers.paths),
    }


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
