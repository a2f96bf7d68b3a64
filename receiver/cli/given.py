"""The event that a command's arguments mean: a stored one, a file's, or a sample of a type."""

import asyncio
import sys
from pathlib import Path
from typing import Any

from receiver.cli.answers import json_object
from receiver.cli.deployment import find_event, opened
from receiver.errors import UsageError
from receiver.model import Event
from receiver.samples import SAMPLE_DATA
from receiver.settings import Settings


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
