"""A call with another tenant's key gets the same answer as a call with a key that does not exist."""

from __future__ import annotations

import logging

import pytest
from attrs import evolve

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import (
    ACCESS,
    ACCOUNT,
    ContractFixtures,
    changes_of,
    events_of,
    row_of,
    rows_of,
    tokens_of,
)
from vault_domain.entities.account import Account, TokenKey, TokenKind
from vault_domain.entities.errors import GenerationConflictError
from vault_domain.entities.token import MarkOutcome, TokenWrite
from vault_domain.entities.token_set import TokenSet
from vault_domain.facade.vault import TokenVault
from vault_domain.ports.change import DataKeyInactiveError

STRANGERS = ["t2", "T1", "t", "t11", " t1", "t1 ", "%", "_1", "t1'", "0"]


class IsolationCases(ContractFixtures):
    """The methods of vault and store, called for another tenant."""

    async def test_a_stranger_finds_and_changes_nothing(
        self, vault: TokenVault, caplog: pytest.LogCaptureFixture
    ) -> None:
        await vault.store_token_set(ACCOUNT, TokenSet("a", "r", expires_in=60), label="mine")
        before = await tokens_of(vault)
        token = await vault.get_token(ACCESS)
        assert token is not None
        for stranger in STRANGERS:
            account = Account(stranger, "google", "ann")
            keys = [account.key(kind) for kind in TokenKind]
            info = evolve(token.info, key=keys[0])

            assert [await vault.get_token(key) for key in keys] == [None] * 4
            assert await vault.get_tokens(keys) == {}
            assert await vault.get_access_token(account) is None
            assert await vault.get_refresh_token(account) is None
            assert await vault.mark_token_invalid(info, "invalid_token") is MarkOutcome.STALE
            assert [await vault.delete_token(key) for key in keys] == [False] * 4
            assert await vault.delete_provider_tokens(stranger, "google") == 0
            assert await vault.get_account(account) is None
            assert (await vault.delete_account(account)).deleted == 0
            assert (await vault.list_tokens(stranger)).items == ()
            assert (await vault.list_accounts(stranger)).items == ()
            assert await events_of(vault, stranger) == []
            assert (await vault.health(tenant_id=stranger)).counts == ()
            with pytest.raises(GenerationConflictError):
                await vault.store_token(keys[0], "x", expected_generation=1)

        assert await tokens_of(vault) == before
        assert [event.tenant_id for event in await events_of(vault)] == ["t1", "t1"]
        # A store that reads other tenants' rows and leaves them out afterwards logs them as wrong rows.
        assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []

    async def test_each_question_is_answered_by_its_own_row(
        self, store: Store, vault: TokenVault, clock: ManualClock
    ) -> None:
        """Some names differ only by case, trailing space or Unicode form, so a database might treat them as equal."""
        names = ["ann", "ANN", "ann ", "\u00e5nn", "a\u030ann", "\uff41nn", "ann\u200b", "%", "_nn", "*"]
        accounts = [Account(name, "google", other) for name in names for other in ("ann", *names[:2], None)]
        accounts = list(dict.fromkeys(accounts))
        for number, account in enumerate(accounts[::2]):
            await vault.store_token_set(account, TokenSet(f"a{number}", f"r{number}", expires_in=60), label=str(number))
        stored = {account: number for number, account in enumerate(accounts[::2])}
        for account in accounts:
            keys = [account.key(kind) for kind in (TokenKind.ACCESS_TOKEN, TokenKind.REFRESH_TOKEN)]
            place = stored.get(account)
            expected = {} if place is None else dict(zip(keys, (f"a{place}", f"r{place}"), strict=True))
            single = [(key, (await store.accounts.get(key)).row) for key in keys]
            assert {key: row.key for key, row in single if row is not None} == {key: key for key in expected}
            assert [row.key for row in await rows_of(store, keys)] == list(expected)
            found = await vault.get_tokens(keys)
            assert {key: token.value.reveal() for key, token in found.items()} == expected
            snapshot = await store.accounts.read(account)
            record = (await store.accounts.read(account)).record
            assert snapshot.record == record
            assert {info.key for info in ({} if record is None else record.tokens).values()} == set(expected)
            assert (None if record is None else (record.account, record.label)) == (
                None if place is None else (account, str(place))
            )
            listed = await tokens_of(vault, account.tenant_id)
            assert {key.tenant_id for key in listed} <= {account.tenant_id}
            data_key = await store.keys.data_key(account.tenant_id, None)
            assert data_key is None or data_key.tenant_id == account.tenant_id

    async def test_only_its_own_tenant_finds_a_data_key(self, store: Store, vault: TokenVault) -> None:
        await vault.store_token(ACCESS, "v")
        row = await row_of(store)
        key_id = row.sealed.data_key_id
        mine = await store.keys.data_key("t1", key_id)
        assert mine is not None
        assert (mine.tenant_id, mine.key_id) == ("t1", key_id)
        active = await store.keys.data_key("t1", None)
        assert active == mine
        for stranger in STRANGERS:
            assert await store.keys.data_key(stranger, key_id) is None
            assert await store.keys.data_key(stranger, None) is None

    async def test_a_value_under_another_tenants_data_key_is_not_stored(self, store: Store, vault: TokenVault) -> None:
        await vault.store_token(ACCESS, "mine")
        stranger = TokenKey("t2", "google", TokenKind.ACCESS_TOKEN, "ann")
        await vault.store_token(stranger, "theirs")
        row = await row_of(store)
        with pytest.raises(DataKeyInactiveError):
            await store.accounts.store([TokenWrite(stranger, row.sealed)], actor=None)
        with pytest.raises(DataKeyInactiveError):
            await changes_of(store).store_set(
                stranger.account, [TokenWrite(stranger, row.sealed)], label=None, actor=None
            )
        token = await vault.get_token(stranger)
        assert token is not None
        assert (token.value.reveal(), token.info.generation) == ("theirs", 1)
