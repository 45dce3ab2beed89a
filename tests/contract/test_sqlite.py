"""The contract on SQLite: a file, and a database in memory."""

import pytest

from vault_adapters.stores.sqlite.store import open_sqlite_store
from vault_adapters.testing.contract import SharedStoreContract, StoreContract


async def check_idle(store):
    database = store.tokens._database
    assert not database._writes
    assert not database._lock.locked()
    assert not database._writer.in_transaction
    assert not database._reader.in_transaction


class TestSqliteFile(SharedStoreContract):
    @pytest.fixture
    def open_store(self, tmp_path):
        return lambda clock: open_sqlite_store(str(tmp_path / "vault.db"), migrate=True, clock=clock.now)

    async def check_idle(self, store):
        await check_idle(store)


class TestSqliteMemory(StoreContract):
    @pytest.fixture
    def open_store(self):
        return lambda clock: open_sqlite_store(":memory:", migrate=True, clock=clock.now)

    async def check_idle(self, store):
        await check_idle(store)
