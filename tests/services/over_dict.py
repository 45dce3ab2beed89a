"""Cases about the vault's methods, over the example store: no store can get wrong what they tell."""

import pytest
from tests.examples.dict_store import open_dict_store
from tests.examples.dict_store.database import DictDatabase


class OverDict:
    """Opens the example store. Comes before `ContractFixtures` among the bases."""

    @pytest.fixture
    def open_store(self):
        database = DictDatabase()
        return lambda clock: open_dict_store(database, clock)
