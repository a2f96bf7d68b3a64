"""A real SQLite store per test, on a file of its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from store_data import OpenSqlite

from receiver.store.sqlite import SqliteStore

# Else a failing assert of the contract would not show its values.
pytest.register_assert_rewrite("contract")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Where the test's database is, or will be."""
    return tmp_path / "data" / "clarihook.db"


@pytest.fixture
def opened(database: Path) -> OpenSqlite:
    """`async with opened() as store`: a store on `database`, closed at the end."""

    @asynccontextmanager
    async def open_(**options: Any) -> AsyncIterator[SqliteStore]:
        store = SqliteStore(database, **options)
        await store.open()
        try:
            yield store
        finally:
            await store.close()

    return open_


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
