"""The contract of every store, kept by the SQLite one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from contract import StoreContract, Survivor
from store_data import die

from receiver.store.base import Store
from receiver.store.sqlite import SqliteStore

pytestmark = pytest.mark.anyio


class TestSqliteStore(StoreContract):
    @pytest.fixture
    async def stores(self) -> AsyncIterator[list[SqliteStore]]:
        made: list[SqliteStore] = []
        yield made
        for store in made:
            await store.close()

    @pytest.fixture
    async def store(self, database: Path, stores: list[SqliteStore]) -> SqliteStore:
        store = SqliteStore(database)
        stores.append(store)
        await store.open()
        return store

    @pytest.fixture
    async def survivor(self, database: Path, stores: list[SqliteStore]) -> Survivor:
        async def reopen(store: Store) -> Store:
            assert isinstance(store, SqliteStore)
            await die(store)
            after = SqliteStore(database)
            after.on_dead, after.on_dead_told = store.on_dead, store.on_dead_told
            after.fall_back = store.fall_back
            stores.append(after)
            await after.open()
            return after

        return reopen
