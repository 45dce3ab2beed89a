"""Writes over damaged rows raise typed errors or repair them, and an erasure removes them."""

import sqlite3
from datetime import timedelta

import pytest
from tests.support.loose_sqlite import loosen_sqlite

from vault_adapters import (
    Account,
    DecryptionError,
    ImportedToken,
    Secret,
    TokenKind,
    TokenSet,
    VaultConfig,
    open_vault,
)
from vault_adapters.testing import ManualClock, ScriptedRefresher

ACCOUNT = Account("bad", "google", "ann")
ACCESS = ACCOUNT.key(TokenKind.ACCESS_TOKEN)
SECRET = Secret("damaged-rows-" + "0" * 40)
SHOWN = b"\xff bytes that stand in no error"


@pytest.fixture
async def config(tmp_path):
    config = VaultConfig(database_url=f"sqlite:///{tmp_path}/vault.db", encryption_secret=SECRET, scrypt_log2_n=14)
    async with open_vault(config) as vault:
        await vault.store_token_set(ACCOUNT, TokenSet("access", "refresh", expires_in=3600))
    loosen_sqlite(tmp_path / "vault.db")
    return config


def damage(config, sql):
    connection = sqlite3.connect(config.database_url.reveal().removeprefix("sqlite:///"))
    connection.execute(sql, [SHOWN])
    connection.commit()
    connection.close()


@pytest.mark.parametrize(("column", "generation"), [("id", 2), ("created_at", 2), ("generation", 1)])
async def test_a_value_replaces_a_damaged_row_but_a_set_needs_all_rows(config, column, generation):
    damage(config, f"UPDATE token_vault_token SET {column} = ?")
    async with open_vault(config) as vault:
        assert (await vault.store_token(ACCESS, "new")).generation == generation
        with pytest.raises(DecryptionError) as caught:
            await vault.store_token_set(ACCOUNT, TokenSet("newer"))
        assert (caught.value.__context__, "stand in no" in repr(caught.value)) == (None, False)
        assert (await vault.get_token(ACCESS)).value.reveal() == "new"
        assert (await vault.delete_account(ACCOUNT)).deleted == 2


@pytest.mark.parametrize("column", ["id", "generation", "updated_at"])
async def test_an_import_counts_a_damaged_row_as_another_writers(config, column):
    damage(config, f"UPDATE token_vault_token SET {column} = ?")
    async with open_vault(config) as vault:
        report = await vault.import_tokens([ImportedToken(ACCESS, "new")], source="dump")
        assert (report.imported, report.skipped) == (0, 1)


async def test_an_erasure_removes_a_damaged_data_key(config):
    damage(config, "UPDATE token_vault_data_key SET data_key_id = ?")
    async with open_vault(config) as vault:
        assert (await vault.erase_tenant("bad")).tokens == 2


async def test_a_damaged_refresh_token_that_ends_soon_does_not_end_a_sweep(tmp_path):
    """Only the token table was restored from a dump, without column types; the table of events still has its types."""
    config = VaultConfig(f"sqlite:///{tmp_path}/vault.db", encryption_secret=SECRET, scrypt_log2_n=14)
    clock, good = ManualClock(), Account("good", "google", "bob")
    async with open_vault(config, clock=clock) as vault:
        for account in (ACCOUNT, good):
            lasting = TokenSet("access", "refresh", expires_in=10**6, refresh_token_expires_in=24 * 3600)
            await vault.store_token_set(account, lasting)
    loosen_sqlite(tmp_path / "vault.db", "token_vault_token")
    damage(config, "UPDATE token_vault_token SET generation = ? WHERE tenant_id = 'bad'")
    clock.advance(timedelta(hours=23))
    async with open_vault(config, clock=clock, refreshers={"google": ScriptedRefresher()}) as vault:
        await vault.refresh_due()
        events = (await vault.audit_events()).items
    assert [event.account for event in events if event.action == "refresh_token_expiring"] == [good]
