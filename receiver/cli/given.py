"""The event that a command's arguments mean: a stored one, a file's, or a sample of a type."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from receiver.cli.answers import json_object
from receiver.cli.deployment import find_event, opened
from receiver.errors import UsageError
from receiver.model import Event
from receiver.samples import SAMPLE_DATA
from receiver.settings import Settings

EventArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="EVENT", help="A stored event's id, or a file with a webhook's body; - is stdin."
    ),
]
"""`event: EventArgument = None`, beside the two options that may stand in its place."""

EventTypeOption = Annotated[
    str | None, typer.Option("--type", help="Instead of EVENT: the event's type, …")
]
"""`event_type: EventTypeOption = None`."""

EventDataOption = Annotated[
    str | None, typer.Option("--data", help="… and its data, as a JSON object; else a sample's.")
]
"""`data: EventDataOption = None`."""


def check_given(event: str | None, event_type: str | None) -> None:
    """Raises UsageError unless exactly one of them says which event is meant."""
    if (event is None) == (event_type is None):
        raise UsageError("give the event: its id, a file with its body, or --type (and --data)")


def stored_or_body(settings: Settings, text: str) -> Event | bytes:
    """The stored event of that id, or the body that a file has; - is stdin. Raises UsageError."""
    if text == "-":
        return sys.stdin.buffer.read()
    path = Path(text)
    if not path.is_file() and (text.startswith("evt_") or not path.suffix):
        return asyncio.run(_stored(settings, text))
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{text} can't be read: {error.strerror}") from None


def data_of(event_type: str, data: str | None) -> dict[str, Any] | None:
    """What --data says, or else what `events send` sends of that type. Raises UsageError."""
    return SAMPLE_DATA.get(event_type) if data is None else json_object("--data", data)


async def _stored(settings: Settings, text: str) -> Event:
    async with opened(settings, "reader") as store:
        return await find_event(store, text)
