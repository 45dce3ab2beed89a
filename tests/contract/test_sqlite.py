"""The contract on SQLite: a file, and a database in memory."""

import shutil

import pytest
from tests.contract.older_schemas import OlderSqlite
from tests.contract.stores import check_sqlite_idle, open_sqlite

from vault_adapters.testing.contract import SharedStoreContract
from vault_adapters.testing.contract.concurrency import ConcurrencyCases
from vault_adapters.testing.contract.events import EventCases
from vault_adapters.testing.contract.keys import KeyTableCases
from vault_adapters.testing.contract.reserving import ReserveCases
from vault_adapters.testing.contract.rotation import DataKeyCases
from vault_adapters.testing.contract.sweeps import SweepCases
from vault_adapters.testing.contract.tokens import TokenCases


class TestSqliteFile(SharedStoreContract):
    @pytest.fixture
    def open_store(self, request, tmp_path):
        if "older_schema" not in request.fixturenames:
            shutil.copy(request.getfixturevalue("prepared_file"), tmp_path)
        return open_sqlite(tmp_path / "vault.db")

    @pytest.fixture
    def older_schema(self, tmp_path):
        return OlderSqlite(tmp_path / "vault.db")

    async def check_idle(self, store):
        await check_sqlite_idle(store)


class TestSqliteMemory(
    KeyTableCases,
    TokenCases,
    EventCases,
    ConcurrencyCases,
    ReserveCases,
    SweepCases,
    DataKeyCases,
):
    """A database in memory has one connection for reads and writes, and runs the same statements as a file.

    So only those parts run here whose cases read during a write, roll back, cancel, run concurrently, or purge. The
    statements of the other parts are tested over a file.
    """

    @pytest.fixture
    def open_store(self):
        return open_sqlite(":memory:")

    async def check_idle(self, store):
        await check_sqlite_idle(store)
