"""A real SQLite store per test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from receiver.dispatch import claiming
from receiver.store.sqlite import SqliteStore

pytest.register_assert_rewrite("dispatch_parts")


@pytest.fixture(autouse=True)
def quick_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries of these tests come due within milliseconds."""
    monkeypatch.setattr(claiming, "POLL_SECONDS", 0.01)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "clarihook.db")
    await store.open()
    yield store
    await store.close()
