"""The event that a command's arguments mean: a stored one, or a file's."""

import asyncio
import sys
from pathlib import Path

from receiver.cli.deployment import find_event, opened
from receiver.errors import UsageError
from receiver.model import Event
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


async def _stored(settings: Settings, text: str) -> Event:
    async with opened(settings, "reader") as store:
        return await find_event(store, text)
