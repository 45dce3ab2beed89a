"""In both stores, a record of a client that is dropped leaves nothing behind."""

import pytest
from tests.contract.test_damaged_rows import states_of
from tests.support.databases import both_stores

from vault_adapters import open_vault
from vault_domain.entities.clients import INVALID_CLIENT, ClientDecision, ClientRecord, ClientScope

SCOPE = ClientScope("google", b"a" * 16, INVALID_CLIENT)


@both_stores
@pytest.mark.parametrize("was_there", [True, False])
async def test_a_record_that_is_dropped_leaves_no_row(database, was_there):
    async with open_vault(database.config()):
        pass  # makes the tables
    async with states_of(database) as (store, _):
        if was_there:
            await store.clients.change(
                SCOPE, lambda _, now: ClientDecision(ClientRecord(SCOPE, now, now, (b"1234",)), None)
            )
            assert len((await store.clients.records()).records) == 1
        await store.clients.change(SCOPE, lambda record, _: ClientDecision(None, None))
    assert database.execute("SELECT * FROM {client_refusal}") == []
