"""The options that select events, for all commands of `clarihook events`."""

from typing import Annotated

import typer

from receiver.cli.completing import event_types, sources
from receiver.cli.output import print_warning
from receiver.cli.times import span_ms
from receiver.errors import UsageError
from receiver.settings import Settings
from receiver.settings.problems import name_hint
from receiver.store.base import EventFilter

TypeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--type",
        metavar="PATTERN",
        help="Of this type, such as data_source.*",
        autocompletion=event_types,
    ),
]
SourceOption = Annotated[
    list[str] | None,
    typer.Option("--source", metavar="PATTERN", help="From this source.", autocompletion=sources),
]

WhereOption = Annotated[
    str | None,
    typer.Option(
        metavar="CEL",
        help="That fit a condition on event, source and received_at, as a route's `when`.",
    ),
]


def checked_condition(text: str) -> str:
    """The --where that was given. Raises UsageError for what is no CEL."""
    from receiver.settings.checks import parse_cel  # noqa: PLC0415 - slow, seldom needed

    try:
        return parse_cel(text)
    except ValueError as error:
        raise UsageError(f"--where {text!r}: {error}") from None


def event_filter(
    types: list[str] | None, from_: list[str] | None, since: str | None, until: str | None
) -> EventFilter:
    """The filter that the options say. Raises UsageError."""
    since_ms, until_ms = span_ms(since, until)
    return EventFilter(types=types or (), sources=from_ or (), since_ms=since_ms, until_ms=until_ms)


def warn_of_mistyped(settings: Settings, which: EventFilter) -> None:
    """Say so if nothing can fit, or has fitted, since a name is nearly another one."""
    from receiver.samples import nearest_type  # noqa: PLC0415 - seldom needed

    for source in which.sources:
        if "*" not in source and source not in settings.sources:
            hint = name_hint(source, settings.sources)
            print_warning(f"there is no source {source!r} in the settings; {hint}")
    for event_type in which.types:
        near = nearest_type(event_type)
        if near is not None:
            print_warning(f"clariBI sends no {event_type}; did you mean {near}?")
