"""Importing tokens from another system."""

from functools import partial

from tests.examples.dict_store.account_states import change_each, require_active_data_keys
from tests.examples.dict_store.database import Port

from vault_adapters.stores.import_ids import ImportIds
from vault_domain.transitions.importing import imported


class DictImportRepository(Port):
    """Implements `ImportRepository`."""

    def begin(self, source):
        return DictImportRun(self._database, self._clock, ImportIds.of(source))

    async def existing(self, keys):
        return {key for key in keys if key in self._tables.tokens}


class DictImportRun:
    """Implements `ImportRun`."""

    def __init__(self, database, clock, ids):
        self._database, self._clock, self._ids = database, clock, ids

    async def prepare(self, late, *, overwrite, actor):
        writes = late.take(range(len(late.keys)))

        def decide(state, now, own):
            named = [(write, self._ids.new()) for write in own]
            return imported(state, now, named, self._ids, actor, overwrite=overwrite)

        def work(transaction):
            require_active_data_keys(transaction, writes)
            return change_each(transaction, writes, decide)

        return partial(self._database.transact, work, self._clock)
