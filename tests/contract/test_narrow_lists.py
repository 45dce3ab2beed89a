"""The stores' pages of one state hold few accounts of other states, so that a page reads few rows."""

from vault_adapters import Account, ConnectionState, TokenSet, VaultConfig
from vault_adapters.composition import open_vault_over
from vault_adapters.testing import ManualClock

CONFIG = VaultConfig(encryption_secret="narrow-lists-" + "0" * 40, scrypt_log2_n=14)


async def test_a_page_of_failing_accounts_holds_no_dead_ones(opener):
    async with opener(ManualClock()) as store, open_vault_over(store, CONFIG) as vault:
        account = Account("t1", "google", "dead")
        await vault.store_token_set(account, TokenSet("a", "r"))
        dead = await vault.get_refresh_token(account)
        await vault.mark_token_invalid(dead, "invalid_grant")
        failing, _ = await store.accounts.list_all(provider=None, state=ConnectionState.RETRYING, limit=10, after=None)
        assert account not in {record.account for record in failing}
        doubtful, _ = await store.accounts.list_all(
            provider=None, state=ConnectionState.REAUTHORIZATION_REQUIRED, limit=10, after=None
        )
        assert account in {record.account for record in doubtful}
