"""The example store passes the whole contract."""

import pytest
from tests.examples.dict_store import open_dict_store
from tests.examples.dict_store.database import DictDatabase

from vault_adapters.testing.contract import SharedStoreContract


class TestDictStore(SharedStoreContract):
    @pytest.fixture
    def open_store(self):
        database = DictDatabase()
        return lambda clock: open_dict_store(database, clock)
