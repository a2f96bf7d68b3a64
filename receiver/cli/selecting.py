"""The options that select events, for all commands of `clarihook events`."""

from typing import Annotated

import typer

from receiver.cli.times import span_ms
from receiver.store.base import EventFilter

TypeOption = Annotated[
    list[str] | None,
    typer.Option("--type", metavar="PATTERN", help="Of this type, such as data_source.*"),
]
SourceOption = Annotated[
    list[str] | None, typer.Option("--source", metavar="PATTERN", help="From this source.")
]


def event_filter(
    types: list[str] | None, sources: list[str] | None, since: str | None, until: str | None
) -> EventFilter:
    """The filter that the options say. Raises UsageError."""
    since_ms, until_ms = span_ms(since, until)
    return EventFilter(
        types=types or (), sources=sources or (), since_ms=since_ms, until_ms=until_ms
    )
