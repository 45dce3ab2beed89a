"""A standby answers reads and takes no writes: what a vault over it reports and logs, until it is promoted."""

import time

import pytest
from tests.support.postgres_standby import start_failover_pair

from vault_adapters import Account, StorageError, TokenSet, VaultConfig, open_vault
from vault_adapters.stores.postgres.store import open_postgres_store
from vault_domain.entities.clients import INVALID_CLIENT, ClientDecision, ClientRecord, ClientScope

SECRET = "an encryption secret of the tests, long enough"
ACCOUNT = Account("t1", "google", "ann")
LOGGER = "vault_adapters.stores.postgres.peer"


def config(url):
    return VaultConfig(url, encryption_secret=SECRET, scrypt_log2_n=14)


async def pause_client(url):
    async with open_postgres_store(url, migrate=False) as store:
        scope = ClientScope("google", None, INVALID_CLIENT)
        await store.clients.change(
            scope, lambda _, now: ClientDecision(ClientRecord(scope, now, now, (b"1234",), now, now), None)
        )


async def test_a_standby_reports_what_it_answers_and_logs_that_it_is_one(caplog):
    def lines():
        return [record.getMessage() for record in caplog.records if record.name == LOGGER]

    with start_failover_pair(synchronous=False) as pair:
        async with open_vault(config(pair.primary.url)) as vault:
            await vault.store_token_set(ACCOUNT, TokenSet("access", expires_in=3600))
        await pause_client(pair.primary.url)
        pair.wait_until_caught_up()
        async with open_vault(config(pair.standby.url), migrate=False) as vault:
            began = time.monotonic()
            report = await vault.health()
            assert time.monotonic() - began < 2
            assert (report.ok, report.store_reason, report.master_key_error) == (False, "read_only", None)
            assert sum(count.count for count in report.counts) == 1
            assert [incident.reason for incident in report.incidents] == [INVALID_CLIENT]
            assert report.store_time is not None
            census = await vault.measures.census()
            assert (len(census.states) > 0, census.tokens) == (True, report.counts)
            for _ in range(3):
                assert (await vault.get_token(ACCOUNT.key("access_token"))).value.reveal() == "access"
                with pytest.raises(StorageError):
                    await vault.store_token_set(ACCOUNT, TokenSet("next"))
                assert (await vault.ready()).store == "read_only"
            assert [line.rpartition(" ")[2] for line in lines()] == ["read_only"]
            pair.promote()
            await vault.store_token_set(ACCOUNT, TokenSet("next", expires_in=3600))
            assert (await vault.health()).ok
        assert ["works again" in line for line in lines()] == [False, True]
