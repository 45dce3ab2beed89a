"""Extra members of an answer."""

from __future__ import annotations

import pytest
from attrs import evolve
from tests.services.forging import beside, extra_of, forge, forged
from tests.services.over_dict import OverDict

from vault_adapters.composition import Store
from vault_adapters.testing.contract.fixtures import (
    ACCESS,
    ACCOUNT,
    REFRESH,
    ContractFixtures,
    rows_of,
    value_of,
)
from vault_adapters.testing.contract.refreshing import HOUR, token_set
from vault_adapters.testing.contract.sweeps import RefreshFixtures
from vault_adapters.testing.refresher import ScriptedRefresher
from vault_domain.entities.errors import DecryptionError
from vault_domain.entities.token_set import TokenSet
from vault_domain.facade.vault import TokenVault

EXTRA = {"instance_url": "https://one.example.com", "team": "T1"}


class TestExtra(OverDict, ContractFixtures):
    """`TokenSet.extra` and `Token.token_type`."""

    async def test_extra_members_are_read_with_their_token(self, vault: TokenVault) -> None:
        await vault.store_token_set(ACCOUNT, TokenSet("a", "r", expires_in=HOUR, extra=EXTRA))
        assert await extra_of(vault) == EXTRA
        assert await extra_of(vault, REFRESH) == {}
        assert (await vault.get_tokens([ACCESS]))[ACCESS].extra == EXTRA
        usable = await vault.get_access_token(ACCOUNT)
        assert usable is not None
        assert (usable.token.extra, usable.token.value.reveal()) == (EXTRA, "a")

    async def test_a_type_other_than_bearer_is_kept(self, vault: TokenVault) -> None:
        for token_type in ("DPoP", "Bearer", "bearer"):
            await vault.store_token_set(ACCOUNT, TokenSet("a", token_type=token_type))
            token = await vault.get_token(ACCESS)
            assert token is not None
            assert (token.token_type, token.extra) == ("DPoP" if token_type == "DPoP" else "Bearer", {})

    async def test_a_token_without_extra_members_costs_no_ciphertext(self, store: Store, vault: TokenVault) -> None:
        await vault.store_token_set(ACCOUNT, TokenSet("a", "r"))
        assert [row.sealed.extra for row in await rows_of(store, [ACCESS, REFRESH])] == [None, None]


class TestKeptExtra(OverDict, RefreshFixtures):
    """What a refresh does to the extra members."""

    async def test_a_refresh_brings_new_members_with_the_new_token(
        self, sweeping: TokenVault, refresher: ScriptedRefresher
    ) -> None:
        await sweeping.store_token_set(ACCOUNT, evolve(token_set(0), extra=EXTRA))
        moved = {"instance_url": "https://two.example.com"}
        refresher.then(evolve(token_set(1), extra=moved))
        token = await sweeping.refresh_account(ACCOUNT)
        assert (token.value.reveal(), token.extra) == ("access-1", EXTRA | moved)
        assert await extra_of(sweeping) == EXTRA | moved

    async def test_an_answer_without_members_keeps_them(
        self, sweeping: TokenVault, refresher: ScriptedRefresher, store: Store
    ) -> None:
        await sweeping.store_token_set(ACCOUNT, evolve(token_set(0), extra=EXTRA, token_type="DPoP"))
        [before] = await rows_of(store, [ACCESS])
        for number in (1, 2):
            refresher.then(token_set(number))
            token = await sweeping.refresh_account(ACCOUNT)
            assert (token.value.reveal(), token.extra, token.token_type) == (f"access-{number}", EXTRA, "Bearer")
        await forge(store, beside(before, (await rows_of(store, [ACCESS]))[0]))
        with pytest.raises(DecryptionError):
            await sweeping.get_token(ACCESS)

    async def test_members_that_do_not_open_do_not_hinder_a_refresh(
        self, sweeping: TokenVault, refresher: ScriptedRefresher, store: Store
    ) -> None:
        await sweeping.store_token_set(ACCOUNT, evolve(token_set(0), extra=EXTRA))
        [row] = await rows_of(store, [ACCESS])
        await forge(store, forged("changed", row, row, row))
        refresher.then(evolve(token_set(1), extra={"team": "T2"}))
        token = await sweeping.refresh_account(ACCOUNT)
        assert (token.value.reveal(), token.extra) == ("access-1", {"team": "T2"})

    async def test_an_answer_that_was_overtaken_leaves_the_members_of_the_other_value(
        self, sweeping: TokenVault, vault: TokenVault, refresher: ScriptedRefresher
    ) -> None:
        await sweeping.store_token_set(ACCOUNT, evolve(token_set(0), extra=EXTRA))
        other = {"instance_url": "https://other.example.com"}

        async def overtake(_: object) -> TokenSet:
            await vault.store_token_set(ACCOUNT, TokenSet("overtaking", expires_in=HOUR, extra=other))
            return evolve(token_set(1), extra={"team": "T9"})

        refresher.then(overtake)
        token = await sweeping.refresh_account(ACCOUNT)
        assert (token.value.reveal(), token.extra) == ("overtaking", other)
        assert await value_of(sweeping, REFRESH) == "refresh-1"
