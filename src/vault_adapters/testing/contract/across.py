"""The lists across tenants: all tenants, and the accounts of all tenants by state."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import Any

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import ContractFixtures, attempts_of, rows_of, walk
from vault_adapters.testing.contract.refreshing import claimed
from vault_domain.entities.account import Account, ConnectionState, TokenKey, TokenKind
from vault_domain.entities.attempt import Failure
from vault_domain.entities.measures import AccountCount
from vault_domain.entities.page import encode_cursor
from vault_domain.entities.token import TokenRef
from vault_domain.entities.token_set import TokenSet
from vault_domain.facade.vault import TokenVault
from vault_domain.ports.pages import AccountQuery, Expiring, Owned

HOUR = timedelta(hours=1)
_NAMES = ("B", "a", "aa", "b", "\u00e9", "\U0001f511")


def _owner(account: Account) -> tuple[bytes, ...]:
    return account.tenant_id.encode(), account.provider.encode(), (account.identifier or "").encode()


async def _walk(vault: TokenVault, limit: int, *place: str, **wanted: Any) -> list[Account]:
    return [info.account for info in await walk(partial(vault.list_accounts, *place, **wanted), limit)]


async def _of_every_state(vault: TokenVault, clock: ManualClock) -> dict[ConnectionState, list[Account]]:
    """Store accounts that are connected, or must be connected again for various reasons; return them by state.

    Each of several tenants gets the same accounts. No account is retrying.
    """
    required, connected = ConnectionState.REAUTHORIZATION_REQUIRED, ConnectionState.CONNECTED
    found: dict[ConnectionState, list[Account]] = {state: [] for state in ConnectionState}
    for tenant in _NAMES:
        alive, rejected, lapsed, ended, key, late = (Account(tenant, "google", name) for name in "alrekx")
        await vault.store_token_set(alive, TokenSet("a", "r", expires_in=60), label="Ann")
        await vault.store_token_set(rejected, TokenSet("a", "r"))
        dead = await vault.get_refresh_token(rejected)
        assert dead is not None
        await vault.mark_token_invalid(dead, "invalid_grant")
        await vault.store_token_set(lapsed, TokenSet("a", expires_in=60))
        await vault.store_token_set(ended, TokenSet("a", "r", expires_in=60, refresh_token_expires_in=60))
        await vault.store_token(key.key(TokenKind.API_KEY), "v", expires_at=clock.now() + timedelta(seconds=60))
        await vault.store_token_set(late, TokenSet("a", "r", expires_in=7200))
        found[required] += [rejected, lapsed, ended, key]
        found[connected] += [alive, late]
    clock.advance(HOUR)
    return found


class AcrossCases(ContractFixtures):
    """`TokenVault.list_tenants`, and `list_accounts` without a tenant."""

    async def test_tenants_are_listed_once_each(self, vault: TokenVault) -> None:
        for name in _NAMES:
            for number in range(3):
                await vault.store_token_set(Account(name, "google", str(number)), TokenSet("a", "r"))
        await vault.store_token_set(Account("gone", "google"), TokenSet("a"))
        await vault.delete_account(Account("gone", "google"))
        expected = sorted(_NAMES, key=str.encode)
        for limit in (1, 2, len(_NAMES), 100):
            assert await walk(vault.list_tenants, limit) == expected
        assert [tenant async for tenant in vault.iter_tenants()] == expected

    async def test_all_tenants_accounts_by_state(self, vault: TokenVault, clock: ManualClock) -> None:
        by_state = await _of_every_state(vault, clock)
        everything = [account for accounts in by_state.values() for account in accounts]
        for limit in (1, 3, len(everything), 1000):
            assert await _walk(vault, limit) == sorted(everything, key=_owner)
            for state, accounts in by_state.items():
                assert await _walk(vault, limit, state=state) == sorted(accounts, key=_owner)
                mine = [account for account in accounts if account.tenant_id == _NAMES[0]]
                assert await _walk(vault, limit, _NAMES[0], state=state) == sorted(mine, key=_owner)
        assert await _walk(vault, 5, provider="github") == []
        assert await _walk(vault, 5, provider="google", state=ConnectionState.CONNECTED) == sorted(
            by_state[ConnectionState.CONNECTED], key=_owner
        )
        assert [info.account async for info in vault.iter_accounts()] == sorted(everything, key=_owner)

    async def test_all_tenants_accounts_at_one_provider(self, vault: TokenVault) -> None:
        providers = ("github", "google", "slack")
        everything = [Account(tenant, name, str(n)) for tenant in _NAMES for name in providers for n in range(2)]
        for account in everything:
            await vault.store_token_set(account, TokenSet("a", "r"))
        for name in providers:
            expected = sorted((account for account in everything if account.provider == name), key=_owner)
            for limit in (1, 3, 1000):
                assert await _walk(vault, limit, provider=name) == expected

    async def test_accounts_are_found_by_label_identifier_and_provider(self, vault: TokenVault) -> None:
        labels = {
            Account("t1", "google", "Ana@Example.com"): "50%_off \u00c4nne",
            Account("t1", "google", "b"): "ANA@example.com",
            Account("t2", "ana", "50x"): "other \U0010ffff",
            Account("t2", "anatomy", "c\u00e9"): None,
            Account("t3", "google"): "Oana",
        }
        for account, label in labels.items():
            await vault.store_token_set(account, TokenSet("a", "r"), label=label)
        first, second, ana, anatomy, _ = sorted(labels, key=_owner)
        for text, expected in {
            "ANA": [first, second, ana],
            " ana@EXAMPLE.com ": [first, second],
            "50%": [first],
            "50%_OFF \u00c4": [first],
            "50%_off \u00e4": [],
            "50x": [ana],
            "other \U0010ffff": [ana],
            "Ce\u0301": [anatomy],
            "anatomy": [anatomy],
            "google": [account for account in sorted(labels, key=_owner) if account.provider == "google"],
            "' OR 1=1": [],
        }.items():
            for limit in (1, 2, 100):
                found = await walk(partial(vault.find, text), limit)
                assert [info.account for info in found] == expected, text

    async def test_a_narrowed_list_holds_every_account_of_the_state(
        self, store: Store, vault: TokenVault, clock: ManualClock
    ) -> None:
        # A store must list each account that is in the wanted state. It may also list accounts in other states.
        by_state = await _of_every_state(vault, clock)
        for state, accounts in by_state.items():
            records, _ = await store.pages.accounts(AccountQuery(state=state), limit=1000, after=None)
            assert set(accounts) <= {record.account for record in records}

    async def test_a_page_across_tenants_begins_after_its_cursor(self, vault: TokenVault) -> None:
        accounts = [
            Account(tenant, provider, identifier)
            for tenant in ("t1", "t2")
            for provider in ("a", "b")
            for identifier in (None, "x")
        ]
        for account in accounts:
            await vault.store_token_set(account, TokenSet("a", "r"))
        first = await vault.list_accounts(limit=3)
        assert first.next is not None
        await vault.store_token_set(Account("t0", "a"), TokenSet("a"))
        await vault.delete_account(accounts[3])
        rest = await vault.list_accounts(after=first.next)
        assert [info.account for info in (*first.items, *rest.items)] == accounts[:3] + accounts[4:]
        for hostile in ("'; --", "\U0001f511", "x" * 1000):
            await vault.list_accounts(after=encode_cursor((hostile, hostile, hostile)))
            await vault.list_tenants(after=encode_cursor((hostile,)))

    async def test_all_tenants_accounts_are_counted_with_those_that_are_due(
        self, store: Store, vault: TokenVault, clock: ManualClock
    ) -> None:
        for tenant in ("t1", "t2"):
            for provider, lifetime in (("google", 600), ("github", 7200), ("slack", None)):
                await vault.store_token_set(Account(tenant, provider), TokenSet("a", "r", expires_in=lifetime))
        await vault.store_token(Account("t1", "slack", "x").key(TokenKind.API_KEY), "v")
        no_time = timedelta(0)

        async def counted() -> dict[str, AccountCount]:
            return {count.provider: count for count in await store.pages.count_accounts()}

        counts = await counted()
        assert {name: count.accounts for name, count in counts.items()} == {"google": 2, "github": 2, "slack": 3}
        assert (counts["google"].due, counts["google"].oldest) == (0, no_time)
        clock.advance(timedelta(minutes=5))  # half of the lifetime at google is over, so those accounts are due
        counts = await counted()
        assert counts["google"] == AccountCount("google", 2, 2, no_time)
        await claimed(store, Account("t1", "google"))  # the claimed account is due again at the end of the lease
        clock.advance(timedelta(seconds=5))
        counts = await counted()
        assert counts["google"] == AccountCount("google", 2, 1, timedelta(seconds=5))
        assert counts["github"] == AccountCount("github", 2, 0, no_time)

    async def test_accounts_whose_refreshes_fail_are_found(
        self, store: Store, vault: TokenVault, clock: ManualClock
    ) -> None:
        failing, unknown, crashed, marked = (Account(tenant, "google", "x") for tenant in "abcd")
        for account in (failing, unknown, crashed, marked, Account("a", "google", "well")):
            await vault.store_token_set(account, TokenSet("a", "r"))
        await attempts_of(store).fail(await claimed(store, failing), Failure("server_error", HOUR, unknown=False))
        await attempts_of(store).fail(await claimed(store, unknown), Failure(None, HOUR, unknown=True))
        await claimed(store, crashed)
        dead = await vault.get_refresh_token(marked)
        assert dead is not None
        await vault.mark_token_invalid(dead, "invalid_grant")
        clock.advance(HOUR)
        for limit in (1, 2, 10):
            assert await _walk(vault, limit, state=ConnectionState.RETRYING) == [failing, unknown, crashed]
            assert await _walk(vault, limit, state=ConnectionState.REAUTHORIZATION_REQUIRED) == [marked]

    async def test_every_read_finds_the_tokens_own_use(
        self, store: Store, vault: TokenVault, clock: ManualClock
    ) -> None:
        tenants, places = ("t", "t1", "t2"), (("google", "ann"), ("google", "bob"), ("google2", "ann"))
        accounts = [Account(tenant, *place) for tenant in tenants for place in places]
        kinds = (TokenKind.ACCESS_TOKEN, TokenKind.REFRESH_TOKEN)
        keys = [account.key(kind) for account in accounts for kind in kinds]
        used: dict[TokenKey, datetime] = {}
        for account in accounts:
            await vault.store_token_set(account, TokenSet("a", "r", expires_in=60))
        for row in await rows_of(store, keys):
            used[row.key] = clock.now() - len(used) * timedelta(minutes=1)
            await store.accounts.record_uses({TokenRef.of(row.info): used[row.key]})
        clock.advance(HOUR)

        infos = [row.info for row in await rows_of(store, keys)]
        infos += [reading.row.info for key in keys if (reading := await store.accounts.get(key)).row is not None]
        infos += await store.pages.tokens(Expiring(timedelta(0)), limit=100, after=None)
        records = [(await store.accounts.read(account)).record for account in accounts]
        for tenant in tenants:
            infos += await store.pages.tokens(Owned(tenant), limit=100, after=None)
        for query in (AccountQuery(), AccountQuery(provider="google"), *map(AccountQuery, tenants)):
            records += (await store.pages.accounts(query, limit=100, after=None))[0]
        infos += [info for record in records if record is not None for info in record.tokens.values()]
        assert len(infos) == 6 * len(keys) + len(keys) // 2 + 2 * 6
        assert [info.last_used_at for info in infos] == [used[info.key] for info in infos]
