"""A mutation of an account, provider or tenant changes no tokens, labels, refresh states or data keys outside it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import ACCESS, ACCOUNT, REFRESH, ContractFixtures, attempts_of, rows_of
from vault_adapters.testing.contract.refreshing import claimed
from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.attempt import Failure
from vault_domain.entities.imported import ImportedToken, ImportReport
from vault_domain.entities.token import TokenRef, TokenWrite
from vault_domain.entities.token_set import TokenSet
from vault_domain.facade.vault import TokenVault
from vault_domain.ports.pages import AccountQuery

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)

STRANGERS = [Account(tenant, *place) for tenant in ("t", "t2") for place in (("google", "ann"), ("google", "bob"))]
"""Accounts of two other tenants. Each tenant has one with `ACCOUNT`'s provider and identifier, and one for ``bob``."""

AT_ANOTHER_PROVIDER = [Account("t1", "google2", "ann")]
AT_THE_SAME_PROVIDER = [Account("t1", "google"), Account("t1", "google", "anna")]

Mutation = Callable[[TokenVault, Store], Awaitable[Any]]


async def _claim(vault: TokenVault, store: Store) -> None:
    await claimed(store)


async def _commit(vault: TokenVault, store: Store) -> None:
    rows = await rows_of(store, [ACCESS, REFRESH])
    writes = [TokenWrite(row.info.key, row.sealed, scopes=None, refreshed=True, value_id=uuid4()) for row in rows]
    assert len(writes) == 2
    await attempts_of(store).commit(await claimed(store), writes, actor=None)


async def _rotate(vault: TokenVault, store: Store) -> None:
    await vault.keys.rotate_data_key("t1")
    assert (await vault.keys.reencrypt("t1")).emptied == 1


OF_AN_ACCOUNT: dict[str, Mutation] = {
    "store_token": lambda vault, _: vault.store_token(ACCESS, "new"),
    "store_token_set": lambda vault, _: vault.store_token_set(ACCOUNT, TokenSet("new", "new"), label="new"),
    "delete_account": lambda vault, _: vault.delete_account(ACCOUNT),
    "claim": _claim,
    "commit": _commit,
}

OF_A_TENANT: dict[str, Mutation] = {
    "rotate": _rotate,
    "erase_tenant": lambda vault, _: vault.erase_tenant("t1"),
}


class NeighbourCases(ContractFixtures):
    """Each mutation of an account, a provider or a tenant, beside similar accounts that it must not change."""

    @pytest.mark.parametrize("name", OF_AN_ACCOUNT)
    async def test_a_mutation_of_an_account_leaves_the_others(
        self, vault: TokenVault, store: Store, clock: ManualClock, name: str
    ) -> None:
        others = [*STRANGERS, *AT_ANOTHER_PROVIDER, *AT_THE_SAME_PROVIDER]
        await self._check(vault, store, clock, OF_AN_ACCOUNT[name], others)

    async def test_deleting_a_provider_leaves_others_labels_and_refresh_states(
        self, vault: TokenVault, store: Store, clock: ManualClock
    ) -> None:
        others = [*STRANGERS, *AT_ANOTHER_PROVIDER]
        await self._check(vault, store, clock, lambda vault, _: vault.delete_provider_tokens("t1", "google"), others)

    @pytest.mark.parametrize("name", OF_A_TENANT)
    async def test_a_mutation_of_a_tenant_leaves_the_others(
        self, vault: TokenVault, store: Store, clock: ManualClock, name: str
    ) -> None:
        await self._check(vault, store, clock, OF_A_TENANT[name], STRANGERS)

    async def test_emptied_data_keys_of_others_wait_for_their_own_turn(
        self, vault: TokenVault, store: Store, clock: ManualClock
    ) -> None:
        for tenant in ("t1", "t2"):
            account = Account(tenant, "google", "ann")
            await vault.store_token_set(account, TokenSet("a", "r"))
            await vault.keys.rotate_data_key(tenant)
            rows = await store.keys.rows_to_reseal(tenant, None, 10)
            await vault.store_token_set(account, TokenSet("b", "s"))  # now no value is under the old data key
            assert len(rows) == 2
        assert (await vault.keys.reencrypt("t1")).emptied == 1
        clock.advance(DAY)
        assert (await vault.keys.reencrypt("t2")).destroyed == 0
        assert (await vault.keys.reencrypt("t1")).destroyed == 1
        status = await vault.keys.status(tenant_id="t2")
        assert (status.active, status.decrypt_only, status.destroyed) == (1, 1, 0)

    async def test_keys_are_counted_for_one_tenant(self, vault: TokenVault) -> None:
        for account in (ACCOUNT, Account("t2", "google", "ann")):
            await vault.store_token_set(account, TokenSet("a", "r"))
            await vault.keys.rotate_data_key(account.tenant_id)
        await vault.keys.rotate_data_key("t2")
        counted = {}
        for tenant in ("t1", "t2", None):
            status = await vault.keys.status(tenant_id=tenant)
            [master_key] = status.master_keys
            counted[tenant] = (status.active, status.decrypt_only, master_key.data_keys, status.tokens_to_reencrypt)
        assert counted == {"t1": (1, 1, 2, 2), "t2": (1, 2, 3, 2), None: (2, 3, 5, 4)}

    async def test_others_take_no_room_on_a_page(self, vault: TokenVault) -> None:
        for account in (Account("t2", "a", "a"), Account("t", "google", "aa"), ACCOUNT, Account("t1", "x")):
            await vault.store_token_set(account, TokenSet("a"))
        accounts = await vault.list_accounts("t1", limit=1)
        assert [info.account for info in accounts.items] == [ACCOUNT]
        accounts = await vault.list_accounts("t1", limit=1, after=accounts.next)
        assert ([info.account.provider for info in accounts.items], accounts.next) == (["x"], None)
        tokens = await vault.list_tokens("t1", limit=1)
        assert [info.key for info in tokens.items] == [ACCESS]
        events = await vault.audit_events(tenant_id="t1", limit=1)
        assert [event.account for event in events.items] == [ACCOUNT]

    async def test_an_import_is_not_kept_out_by_another_tenants_token(self, vault: TokenVault) -> None:
        stranger = STRANGERS[-2].key(TokenKind.ACCESS_TOKEN)
        stored = await vault.store_token(stranger, "theirs")
        for overwrite, expected in ((False, ImportReport(imported=1)), (True, ImportReport(replaced=1))):
            assert await vault.import_tokens([ImportedToken(ACCESS, "mine")], overwrite=overwrite) == expected
        theirs = await vault.get_token(stranger)
        assert theirs is not None
        assert (theirs.value.reveal(), theirs.info) == ("theirs", stored)

    async def _check(
        self, vault: TokenVault, store: Store, clock: ManualClock, mutate: Mutation, others: Sequence[Account]
    ) -> None:
        for number, account in enumerate([ACCOUNT, *others]):
            tokens = TokenSet(f"access {number}", f"refresh {number}", expires_in=HOUR)
            await vault.store_token_set(account, tokens, label=f"label {number}")
        for account in others:
            await attempts_of(store).fail(await claimed(store, account), Failure("slow_down", DAY, unknown=True))
            rows = await rows_of(store, [account.key(kind) for kind in TokenKind])
            # Later than the uses by `_all_of`, which the vault writes in the background, maybe between the two reads.
            await store.accounts.record_uses({TokenRef.of(row.info): clock.now() + DAY for row in rows})
        before = [await _all_of(vault, store, account) for account in others]
        clock.advance(timedelta(seconds=1))
        await mutate(vault, store)
        assert [await _all_of(vault, store, account) for account in others] == before

    async def test_a_sibling_is_an_account_of_another_tenant_with_the_same_name(
        self, vault: TokenVault, store: Store
    ) -> None:
        unnamed, others = Account("t1", "google"), [*AT_ANOTHER_PROVIDER, Account("t1", "google", "ANN")]
        for account in (ACCOUNT, unnamed, *others, Account("t2", "google", "bob")):
            await vault.store_token_set(account, TokenSet("a", "r"))
        assert not any([await _siblings(store, account) for account in (ACCOUNT, unnamed, *others)])
        for kind in (TokenKind.ACCESS_TOKEN, TokenKind.REFRESH_TOKEN):
            for sibling, account in [(STRANGERS[0], ACCOUNT), (Account("t2", "google"), unnamed)]:
                await vault.store_token(sibling.key(kind), "v")
                assert await _siblings(store, account)
                await vault.delete_account(sibling)
                assert not await _siblings(store, account)
        await vault.store_token(STRANGERS[0].key(TokenKind.WEBHOOK_SECRET), "v")
        assert not await _siblings(store, ACCOUNT)


async def _siblings(store: Store, account: Account) -> list[Account]:
    found, _ = await store.pages.accounts(AccountQuery(sibling_of=account), limit=9, after=None)
    return [record.account for record in found]


async def _all_of(vault: TokenVault, store: Store, account: Account) -> list[object]:
    """Return an account's record, its sealed and decrypted tokens, their data keys, and the account's events."""
    record = (await store.accounts.read(account)).record
    rows = await rows_of(store, [account.key(kind) for kind in TokenKind])
    values = await vault.get_tokens([row.info.key for row in rows])
    data_keys = [await store.keys.data_key(account.tenant_id, row.sealed.data_key_id) for row in rows]
    events = [event async for event in vault.iter_audit_events(tenant_id=account.tenant_id)]
    mine = [event for event in events if event.account == account]
    return [record, rows, {key: token.value.reveal() for key, token in values.items()}, data_keys, mine]
