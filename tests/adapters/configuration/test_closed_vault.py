"""A vault that was closed says so, whichever store it has: a host may still hold the vault of an earlier lifespan."""

import aiosqlite
import pytest

from vault_adapters import Account, StorageError, VaultConfig, open_vault

SECRET = "an encryption secret of the tests, long enough"


async def test_sqlite(tmp_path):
    await says_so(f"sqlite:///{tmp_path}/vault.db")


async def test_postgres(postgres):
    await says_so(postgres.create_database("closed_vault"))


async def says_so(url):
    async with open_vault(VaultConfig(url, encryption_secret=SECRET, scrypt_log2_n=14)) as vault:
        pass
    with pytest.raises(StorageError, match="is closed") as caught:
        await vault.get_account(Account("t1", "google"))
    assert (caught.value.reason, caught.value.retryable) == ("closed", False)
    with pytest.raises(StorageError, match="is closed") as caught:
        await vault.on(aiosqlite.connect(":memory:")).delete_account(Account("t1", "google"))
    assert (caught.value.reason, caught.value.retryable) == ("closed", False)
