"""The contract on SQLite: a file, and a database in memory."""

import pytest
from tests.contract.stores import check_sqlite_idle, open_sqlite

from vault_adapters.testing.contract import SharedStoreContract, StoreContract


class TestSqliteFile(SharedStoreContract):
    @pytest.fixture
    def open_store(self, tmp_path):
        return open_sqlite(tmp_path / "vault.db")

    async def check_idle(self, store):
        await check_sqlite_idle(store)


class TestSqliteMemory(StoreContract):
    @pytest.fixture
    def open_store(self):
        return open_sqlite(":memory:")

    async def check_idle(self, store):
        await check_sqlite_idle(store)
