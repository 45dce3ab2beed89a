"""Revival: condemned credentials become valid again, so that they are refreshed."""

from __future__ import annotations

from datetime import datetime, timedelta

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.clients import CLIENT, OTHER, THERE, connect, reject
from vault_adapters.testing.contract.fixtures import ACCOUNT, REFRESH, attempts_of, changes_of, tokens_of
from vault_adapters.testing.contract.refreshing import HOUR, MINUTE, SECOND, claimed, token_set
from vault_adapters.testing.contract.sweeps import RefreshFixtures
from vault_domain.entities.account import Account, TokenKey, TokenKind
from vault_domain.entities.attempt import Failure
from vault_domain.entities.reports import RevivalReport
from vault_domain.entities.token import TokenInfo, TokenRef, TokenStatus
from vault_domain.facade.vault import TokenVault
from vault_domain.ports.pages import Condemned

PROVIDER = ACCOUNT.provider
NONE, ONE = RevivalReport(), RevivalReport(revived=1)


class RevivalCases(RefreshFixtures):
    """`TokenVault.revive_accounts`, and `TokenInfo.rejected_at`, by which the vault finds condemned credentials."""

    async def check_condemned(self, vault: TokenVault, store: Store, account: Account = ACCOUNT) -> None:
        """Connect an account; its refresh fails once, and then the provider rejects its refresh token."""
        await vault.store_token_set(account, token_set(), label="l")
        failure = Failure("server_error", MINUTE, unknown=True, refused=True)
        await attempts_of(store).fail(await claimed(store, account), failure)
        await attempts_of(store).reject(await claimed(store, account), "invalid_grant", actor=None)

    async def test_the_window_includes_its_ends_and_nothing_outside(
        self, vault: TokenVault, store: Store, clock: ManualClock
    ) -> None:
        await self.check_condemned(vault, store)
        moment = clock.now()
        clock.advance(HOUR)
        tick = timedelta(microseconds=1)
        for since, until in ((moment + tick, None), (moment - HOUR, moment - tick)):
            assert await vault.revive_accounts(provider=PROVIDER, since=since, until=until) == NONE
        assert (await _info(vault)).status is TokenStatus.INVALID
        assert await vault.revive_accounts(provider=PROVIDER, since=moment, until=moment) == ONE
        assert await vault.revive_accounts(provider=PROVIDER, since=moment, until=moment) == NONE

    async def test_other_providers_and_other_tenants_stay_condemned(self, vault: TokenVault, store: Store) -> None:
        accounts = [ACCOUNT, Account("t2", PROVIDER, "ann"), Account("t1", "github", "ann"), Account("T1", PROVIDER)]
        for account in accounts:
            await self.check_condemned(vault, store, account)
        since = (await _info(vault)).updated_at
        assert await vault.revive_accounts(provider=PROVIDER, since=since, tenant_id="t1") == ONE
        assert await _condemned(vault, accounts) == [False, True, True, True]
        assert await vault.revive_accounts(provider=PROVIDER, since=since) == RevivalReport(revived=2)
        assert await _condemned(vault, accounts) == [False, False, True, False]

    async def test_a_hosts_own_mark_stays(self, vault: TokenVault, store: Store) -> None:
        await self.check_condemned(vault, store)
        other = Account("t1", PROVIDER, "bob")
        await vault.store_token_set(other, token_set())
        await vault.mark_token_invalid(await _info(vault, other.key(TokenKind.REFRESH_TOKEN)), "host_says_so")
        assert await vault.revive_accounts(provider=PROVIDER, since=(await _info(vault)).updated_at) == ONE
        assert await _condemned(vault, [ACCOUNT, other]) == [False, True]

    async def test_pages_cover_all_condemned_credentials_once(
        self, vault: TokenVault, store: Store, clock: ManualClock
    ) -> None:
        for number in range(5):
            await self.check_condemned(vault, store, Account("t1", PROVIDER, str(number)))
            clock.advance(SECOND if number != 2 else timedelta(0))  # two accounts are condemned at the same time
        condemned = Condemned(PROVIDER, clock.now() - HOUR, clock.now())
        pages: list[list[TokenInfo]] = []
        while not pages or pages[-1]:
            last = Condemned.place(pages[-1][-1]) if pages else None
            pages.append(await store.pages.tokens(condemned, limit=2, after=last))
        assert [len(page) for page in pages] == [2, 2, 1, 0]
        names = [info.key.identifier for page in pages for info in page]
        assert sorted(map(str, names)) == ["0", "1", "2", "3", "4"]

    async def test_of_a_client_its_own_and_those_without_a_known_client_come_back(
        self, vault: TokenVault, store: Store, clock: ManualClock
    ) -> None:
        begin = clock.now()
        accounts = {name: Account("t1", PROVIDER, name) for name in ("own", "unknown", "other", "there", "old")}
        clients = {"own": CLIENT, "unknown": None, "other": OTHER, "there": CLIENT, "old": CLIENT}
        for name in sorted(accounts, key="old".__ne__):
            await connect(vault, store, accounts[name], client=clients[name])
            clock.advance(SECOND)
        for name, account in accounts.items():
            await reject(store, account, THERE if name == "there" else None)

        async def revive(client: bytes | None, stored_since: datetime | None = begin + SECOND) -> list[str]:
            condemned = Condemned(PROVIDER, begin, clock.now(), client=client, stored_since=stored_since)
            found = await store.pages.tokens(condemned, limit=9, after=None)
            for info in found:
                await changes_of(store).revive(TokenRef.of(info), MINUTE, actor=None)
            return sorted(info.key.identifier or "" for info in found)

        assert await revive(CLIENT) == ["own", "unknown"]
        assert await revive(OTHER) == ["other"]
        assert await revive(b"") == []
        assert await revive(None) == ["there"]
        assert await revive(b"", None) == ["old"]


async def _info(vault: TokenVault, key: TokenKey = REFRESH) -> TokenInfo:
    return (await tokens_of(vault, key.tenant_id))[key]


async def _condemned(vault: TokenVault, accounts: list[Account]) -> list[bool]:
    """Return for each account whether its refresh token is invalid."""
    infos = [await _info(vault, account.key(TokenKind.REFRESH_TOKEN)) for account in accounts]
    return [info.status is TokenStatus.INVALID for info in infos]
