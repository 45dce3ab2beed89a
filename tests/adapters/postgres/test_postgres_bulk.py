"""Many values at once: the next ones are sealed while the server stores those before."""

import asyncio

import psycopg
import pytest
from tests.adapters.postgres.samples import SCHEMA, prepare, write

from vault_adapters import TokenKey, VaultConfig, open_vault
from vault_adapters.stores.taking import VALUES_AT_ONCE
from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.imported import ImportedToken
from vault_domain.entities.secret import Secret
from vault_domain.ports.late_writes import LateWrites

MANY = 2500
PER_STATEMENT = 1000


def keys(count=MANY):
    return [Account("acme", "google", f"u{number:04}").key(TokenKind.ACCESS_TOKEN) for number in range(count)]


def config(url, **options):
    return VaultConfig(database_url=url, encryption_secret="0123456789abcdefghijklmnopqrstuv", **options)


class Sealing:
    """Seals when it is asked, and notes for which keys it was asked."""

    def __init__(self, keys):
        self.keys = keys
        self.taken = []
        self.most = 0

    def take(self, indexes):
        self.taken += indexes
        self.most = max(self.most, len(indexes))
        return [write(self.keys[index]) for index in indexes]

    @property
    def writes(self):
        return LateWrites(self.keys, self.take)


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what it waits for happens in the code under test
            await asyncio.sleep(0.01)


async def test_the_next_values_are_sealed_while_the_server_stores_the_last_ones(store, raw, execute):
    await prepare(store)
    sealing = Sealing(keys())
    await raw.execute("BEGIN")
    await raw.execute(f"LOCK TABLE {SCHEMA}.token IN SHARE ROW EXCLUSIVE MODE")
    storing = asyncio.create_task(store.tokens.store_many(sealing.writes, actor=None))
    await until(lambda: len(sealing.taken) == 2 * PER_STATEMENT)
    await asyncio.sleep(0.1)
    assert len(sealing.taken) == 2 * PER_STATEMENT  # those of the third statement are not sealed yet
    await raw.execute("ROLLBACK")
    assert [info.key for info in (await storing).result] == sealing.keys
    assert sealing.taken == list(range(MANY))
    assert sealing.most <= VALUES_AT_ONCE
    assert execute(f"SELECT count(*) FROM {SCHEMA}.token") == [(MANY,)]


async def test_values_are_sealed_in_the_order_in_which_tokens_are_locked(store):
    await prepare(store)
    sealing = Sealing(keys()[::-1])
    change = await store.tokens.store_many(sealing.writes, actor=None)
    assert [info.key for info in change.result] == sealing.keys
    assert sealing.taken == list(range(MANY))[::-1]


async def test_the_next_batch_of_an_import_is_prepared_while_the_server_stores_the_last_one(postgres):
    rows = [ImportedToken(key, Secret("v")) for key in keys(3 * PER_STATEMENT)]
    read = []

    async def reading():
        for row in rows:
            read.append(row)
            yield row

    url = postgres.create_database("bulk_import")
    async with open_vault(config(url)) as vault:
        await vault.store_token(TokenKey("acme", "google", "api_key"), "v")
        with psycopg.connect(url) as blocking:
            blocking.execute(f"LOCK TABLE {SCHEMA}.token IN SHARE ROW EXCLUSIVE MODE")
            importing = asyncio.create_task(vault.import_tokens(reading()))
            await until(lambda: len(read) == 2 * PER_STATEMENT)
            await asyncio.sleep(0.1)
            assert len(read) == 2 * PER_STATEMENT
        report = await importing
    assert report.imported == len(rows)


@pytest.mark.parametrize("way", ["store", "import"])
async def test_one_connection_is_enough_for_many_values_of_new_tenants(postgres, way):
    """A transaction that waited for a data key would wait for a second connection."""
    url = postgres.create_database(f"bulk_with_one_connection_{way}")
    wanted = [TokenKey(f"t{number % 50}", "google", "api_key", str(number)) for number in range(MANY)]
    async with open_vault(config(url, pool_size=1)) as vault:
        async with asyncio.timeout(60):
            if way == "store":
                await vault.store_tokens([(key, "v") for key in wanted])
            else:
                await vault.import_tokens([ImportedToken(key, Secret("v")) for key in wanted])
        assert len(await vault.get_tokens(wanted)) == MANY
