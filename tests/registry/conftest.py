from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from receiver.model import Event, EventId
from receiver.registry import Handler, Registry, load_handlers
from receiver.templates.library import Templates


class MemoryResources:
    """The shared half of a Context, without server, API or network."""

    def __init__(self) -> None:
        self.channels = {"ops", "finance"}
        self.templates = Templates()
        self.values: dict[tuple[str, str], str] = {}

    def claribi(self) -> Any:
        raise AssertionError("these tests do not call the API")

    def http(self) -> Any:
        raise AssertionError("these tests do not use the network")

    async def kv_get(self, handler_name: str, key: str) -> str | None:
        return self.values.get((handler_name, key))


@pytest.fixture
def resources() -> MemoryResources:
    return MemoryResources()


@pytest.fixture
def make_event() -> Callable[[bytes], Event]:
    """A stored event with this body."""

    def make(body: bytes) -> Event:
        return Event(
            id=EventId("evt_0123"),
            seq=1,
            source="claribi",
            type="data_source.sync_failed",
            received_at=datetime(2025, 7, 15, 8, 0, 1, tzinfo=UTC),
            body=body,
        )

    return make


Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write handler files into one folder: `write(name="source", …)` returns the folder."""

    def write_files(**files: str) -> Path:
        folder = tmp_path / "handlers"
        folder.mkdir(exist_ok=True)
        for name, source in files.items():
            (folder / f"{name}.py").write_text(dedent(source))
        return folder

    return write_files


@pytest.fixture
def load(write: Write) -> Callable[..., Registry]:
    """Write handler files and load them."""
    return lambda **files: load_handlers([write(**files)])


@pytest.fixture
def load_one(load: Callable[..., Registry]) -> Callable[[str], Handler]:
    """Load a file with one handler in it."""

    def load_source(source: str) -> Handler:
        (handler,) = load(sample=source).handlers
        return handler

    return load_source
