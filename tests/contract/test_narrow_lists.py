"""A store that is asked for the accounts in one connection state reads few accounts in other states."""

from datetime import timedelta

from vault_adapters import Account, ConnectionState, TokenSet, VaultConfig
from vault_adapters.composition import open_vault_over
from vault_adapters.testing import ManualClock
from vault_domain.ports.pages import AccountQuery
from vault_domain.services.tokens import listing

CONFIG = VaultConfig(encryption_secret="narrow-lists-" + "0" * 40, scrypt_log2_n=14)


async def test_a_page_of_failing_accounts_holds_no_dead_ones(opener):
    async with opener(ManualClock()) as store, open_vault_over(store, CONFIG) as vault:
        account = Account("t1", "google", "dead")
        await vault.store_token_set(account, TokenSet("a", "r"))
        dead = await vault.get_refresh_token(account)
        await vault.mark_token_invalid(dead, "invalid_grant")
        failing, _ = await store.pages.accounts(AccountQuery(state=ConnectionState.RETRYING), limit=10, after=None)
        assert account not in {record.account for record in failing}
        doubtful, _ = await store.pages.accounts(
            AccountQuery(state=ConnectionState.REAUTHORIZATION_REQUIRED), limit=10, after=None
        )
        assert account in {record.account for record in doubtful}


async def test_a_tenant_with_many_accounts_is_not_read_as_a_whole_for_a_state(opener, monkeypatch):
    """The few accounts of a state are found by the index, and they are the same ones as when each account is judged."""
    clock = ManualClock()
    async with opener(clock) as store, open_vault_over(store, CONFIG) as vault:
        for tenant in ("t0", "t1", "t2"):
            for number in range(12):
                account = Account(tenant, "google", f"a{number:02}")
                await vault.store_token_set(account, TokenSet("a", "r", expires_in=60 if number == 7 else 7200))
                if number in (3, 11):
                    await vault.mark_token_invalid(await vault.get_refresh_token(account), "invalid_grant")
        clock.advance(timedelta(hours=1))
        pages = {}
        for many in (1000, 2):
            monkeypatch.setattr(listing, "_MOST_JUDGED", many)
            asked = []
            read = store.pages.accounts

            async def counted(*arguments, read=read, asked=asked, **named):
                if arguments[0].tenant_id is not None:
                    asked.append(arguments)
                return await read(*arguments, **named)

            with monkeypatch.context() as patch:
                patch.setattr(store.pages, "accounts", counted)
                pages[many] = [
                    await walked(vault, "t1", state, provider, limit)
                    for state in ConnectionState
                    for provider in (None, "google", "github")
                    for limit in (1, 2, 3, 50)
                ]
                asked.clear()
                await vault.list_accounts("t1", state=ConnectionState.RETRYING, limit=1)
            assert len(asked) == (1 if many == 2 else 7)
        assert pages[2] == pages[1000]
        dead = await walked(vault, "t1", ConnectionState.REAUTHORIZATION_REQUIRED, None, 1)
        assert {"a03", "a11"} <= {account.identifier for account in dead}


async def walked(vault, tenant, state, provider, limit):
    found, after = [], None
    while True:
        page = await vault.list_accounts(tenant, state=state, provider=provider, limit=limit, after=after)
        found += [info.account for info in page.items]
        if (after := page.next) is None:
            return found
