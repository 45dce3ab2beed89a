"""Counts the reads of a refresh, because every waiting caller waits for each round trip to the database."""

import pytest
from tests.adapters.refresh.refresh_kit import ACCOUNT, HOUR, answer, store
from tests.support.changes import name_of

from vault_adapters import TokenKind
from vault_adapters.composition import open_vault_over
from vault_adapters.stores.postgres.store import open_postgres_store
from vault_adapters.stores.sqlite.store import open_sqlite_store
from vault_adapters.testing import ScriptedRefresher

ACCESS = ACCOUNT.key(TokenKind.ACCESS_TOKEN)

# `get` finds the token expired, the first `read` decides, and the second `read` checks again under the lease.
ONE_REFRESH = ["get", "read", "claim", "read", "commit"]


class CountedPort:
    """A port of a real store that notes which of its methods are called."""

    def __init__(self, port, calls):
        self._port, self._calls = port, calls

    def __getattr__(self, name):
        method = getattr(self._port, name)

        def call(*arguments, **named):
            self._calls.append(name_of(name, arguments))
            return method(*arguments, **named)

        return call


class CountedStore:
    """A real store that notes the calls concerning tokens and refreshes."""

    def __init__(self, store):
        self._store, self.calls = store, []
        self.accounts = CountedPort(store.accounts, self.calls)

    def __getattr__(self, name):
        return getattr(self._store, name)

    def reset(self):
        self.calls.clear()


@pytest.fixture
async def counted(config, clock):
    url = config.database_url.reveal()
    if url.startswith("sqlite"):
        opening = open_sqlite_store(url.removeprefix("sqlite:///"), migrate=True, clock=clock.now)
    else:
        schema = config.postgres_schema
        opening = open_postgres_store(url, migrate=True, clock=clock.now, schema=schema)
    async with opening as opened:
        yield CountedStore(opened)


async def test_a_refresh_reads_the_account_three_times(counted, config, clock):
    refresher = ScriptedRefresher(answer(1), answer(2))
    async with open_vault_over(counted, config, refreshers={"acme": refresher}) as vault:
        await store(vault)
        for number in (1, 2):
            clock.advance(2 * HOUR)
            counted.reset()
            token = await vault.ensure_access_token(ACCOUNT)
            assert (token.value.reveal(), counted.calls) == (f"access-{number}", ONE_REFRESH)
            assert token == await vault.get_token(ACCESS)
        counted.reset()
        await vault.ensure_access_token(ACCOUNT)
        assert counted.calls == ["get"]


async def test_a_token_that_was_not_there_before_comes_from_the_commit_too(counted, config):
    async with open_vault_over(counted, config, refreshers={"acme": ScriptedRefresher(answer(1))}) as vault:
        await store(vault)
        await vault.delete_token(ACCESS)
        counted.reset()
        token = await vault.ensure_access_token(ACCOUNT)
        assert counted.calls == ONE_REFRESH
        assert token == await vault.get_token(ACCESS)


async def test_the_use_of_a_refreshed_token_is_recorded(counted, config, clock):
    async with open_vault_over(counted, config, refreshers={"acme": ScriptedRefresher(answer(1))}) as vault:
        await store(vault)
        clock.advance(2 * HOUR)
        await vault.ensure_access_token(ACCOUNT)
    [token] = (await counted.accounts.get_many([ACCESS]))[0]
    assert token.info.last_used_at == clock.now()
