"""What a shell offers at TAB for values: types, sources, handlers.

typer looks at the names of a callback's parameters: `ctx` and `incomplete`, if it has them.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import typer

from receiver.errors import ClarihookError
from receiver.settings import Settings, load_settings


def event_types(incomplete: str) -> list[str]:
    """clariBI's five."""
    from receiver.samples import SAMPLE_DATA  # noqa: PLC0415 - only at TAB

    return _beginning(SAMPLE_DATA, incomplete)


def sources(ctx: typer.Context, incomplete: str) -> list[str]:
    """Those of the settings."""
    settings = _settings(ctx)
    return [] if settings is None else _beginning(settings.sources, incomplete)


def channels(ctx: typer.Context, incomplete: str) -> list[str]:
    """Those of the settings."""
    settings = _settings(ctx)
    return [] if settings is None else _beginning(settings.channels, incomplete)


def handlers(ctx: typer.Context, incomplete: str) -> list[str]:
    """Those of the handler files, which are loaded for it."""
    from receiver.registry import load_handlers  # noqa: PLC0415 - only at TAB

    settings = _settings(ctx)
    if settings is None:
        return []
    try:
        paths = [settings.path(path) for path in settings.handlers.paths]
        found = load_handlers(paths, plugins=settings.handlers.plugins, on_error="skip")
    except ClarihookError:
        return []
    return _beginning([handler.name for handler in found.handlers], incomplete)


def one_of(*names: str) -> Callable[[str], list[str]]:
    """A closed list."""
    return lambda incomplete: _beginning(names, incomplete)


def _settings(ctx: typer.Context) -> Settings | None:
    """The deployment's settings; None, and no word, if they can't be read: this is no command."""
    home = ctx.params.get("home") or ctx.find_root().params.get("home") or Path()
    try:
        return load_settings(home, needs_secrets=False)
    except (ClarihookError, OSError):
        return None


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return sorted(name for name in names if name.startswith(incomplete))
