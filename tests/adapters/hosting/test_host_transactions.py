"""The host's transaction holds the vault's writes: both are committed, or neither."""

from datetime import timedelta

import pytest
from tests.adapters.hosting.hosts import ASYNCHRONOUS, BLOCKING, names, table_of

from vault_adapters import Account, HostTransactionError, TokenSet, open_sync_vault, open_vault

OLD = TokenSet("old", refresh_token="r-old", expires_in=3600)
NEW = TokenSet("new", refresh_token="r-new", expires_in=3600)


def account(name="ada", tenant="t1"):
    return Account(tenant, "github", name)


def config(database, **settings):
    return database.config(**{"read_cache": timedelta(minutes=5), "serve_stale": timedelta(minutes=5), **settings})


def insert(database, name="ada"):
    return f"INSERT INTO {table_of(database)} VALUES ('{name}')"


async def value(vault, name="ada"):
    token = await vault.get_access_token(account(name))
    return None if token is None else token.token.value.reveal()


@pytest.mark.parametrize("host", ASYNCHRONOUS, ids=lambda host: host.__name__)
@pytest.mark.parametrize("vault_first", [True, False])
async def test_both_are_committed_or_neither(database, host, vault_first):
    async with open_vault(config(database)) as vault, host(database) as (connection, execute):
        for is_kept in (False, True):
            if not vault_first:
                await execute(insert(database))
            info = await vault.on(connection).store_token_set(account(), NEW, label="Ada")
            assert info.label == "Ada"
            if vault_first:
                await execute(insert(database))
            assert await value(vault) is None
            await (connection.commit() if is_kept else connection.rollback())
            assert (names(database), await value(vault)) == (({"ada"}, "new") if is_kept else (set(), None))
        for is_kept in (False, True):
            deletion = await vault.on(connection).delete_account(account())
            await execute(f"DELETE FROM {table_of(database)}")
            assert (deletion.deleted, deletion.revoked) == (2, None)
            await (connection.commit() if is_kept else connection.rollback())
            assert (names(database), await value(vault)) == ((set(), None) if is_kept else ({"ada"}, "new"))


@pytest.mark.parametrize("host", BLOCKING, ids=lambda host: host.__name__)
@pytest.mark.parametrize("vault_first", [True, False])
def test_both_are_committed_or_neither_without_an_event_loop(database, host, vault_first):
    def stored():
        token = vault.get_access_token(account())
        return None if token is None else token.token.value.reveal()

    with open_sync_vault(config(database)) as vault, host(database) as (connection, execute):
        for is_kept in (False, True):
            if not vault_first:
                execute(insert(database))
            vault.on(connection).store_token_set(account(), NEW)
            if vault_first:
                execute(insert(database))
            assert stored() is None
            (connection.commit if is_kept else connection.rollback)()
            assert (names(database), stored()) == (({"ada"}, "new") if is_kept else (set(), None))
        key = account().key("access_token")
        info = vault.on(connection).store_token(key, "third", expected_generation=1)
        assert (info.generation, stored()) == (2, "new")
        connection.rollback()
        assert vault.on(connection).delete_account(account()).deleted == 2
        connection.commit()
        assert stored() is None
        with pytest.raises(HostTransactionError) as caught:
            vault.on(connection).get_access_token(account())
        assert caught.value.reason == "not_part"
