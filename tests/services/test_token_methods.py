"""Storing tokens and token sets."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.services.over_dict import OverDict

from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import (
    ACCESS,
    ACCOUNT,
    REFRESH,
    ContractFixtures,
    events_of,
    key,
    tokens_of,
    value_of,
)
from vault_domain.entities.account import ConnectionState, TokenKey, TokenKind
from vault_domain.entities.errors import GenerationConflictError, InvalidInputError
from vault_domain.entities.token import (
    TokenStatus,
)
from vault_domain.entities.token_set import TokenSet
from vault_domain.facade.vault import TokenVault

HOUR = timedelta(hours=1)


class TestTokens(OverDict, ContractFixtures):
    """`TokenVault.store_token` and `store_tokens`."""

    async def test_expected_generation(self, vault: TokenVault) -> None:
        with pytest.raises(GenerationConflictError) as caught:
            await vault.store_token(ACCESS, "x", expected_generation=1)
        assert caught.value.account == ACCESS.account
        assert (await vault.store_token(ACCESS, "v1", expected_generation=0)).generation == 1
        for wrong in (0, 2, 2**63 - 1):
            with pytest.raises(GenerationConflictError):
                await vault.store_token(ACCESS, "x", expected_generation=wrong)
        assert (await vault.store_token(ACCESS, "v2", expected_generation=1)).generation == 2
        await vault.delete_token(ACCESS)
        with pytest.raises(GenerationConflictError):
            await vault.store_token(ACCESS, "x", expected_generation=2)
        assert await vault.get_token(ACCESS) is None
        assert len(await events_of(vault)) == 3

    async def test_many_at_once_are_all_or_nothing(self, vault: TokenVault) -> None:
        await vault.store_token(key(0), "before")
        for bad in ["x" * 65_537, "\ud800", 7, ""]:
            with pytest.raises(InvalidInputError):
                await vault.store_tokens([(key(0), "after"), (key(1), "after"), (key(2), bad)])  # type: ignore[list-item]
        assert await value_of(vault, key(0)) == "before"
        assert len(await tokens_of(vault)) == 1

    async def test_a_key_twice_is_refused(self, vault: TokenVault) -> None:
        twice = [TokenKey("t1", "google", TokenKind.API_KEY, None), TokenKey("t1", "google", TokenKind.API_KEY, "")]
        with pytest.raises(InvalidInputError):
            await vault.store_tokens([(twice[0], "a"), (twice[1], "b")])
        assert await tokens_of(vault) == {}


class TestTokenSets(OverDict, ContractFixtures):
    """`TokenVault.store_token_set`."""

    async def test_the_expiry_given_wins_over_the_lifetime(self, vault: TokenVault, clock: ManualClock) -> None:
        until = clock.now() + timedelta(minutes=59)
        info = await vault.store_token_set(ACCOUNT, TokenSet("a", expires_at=until, expires_in=3600))
        assert info.expires_at == until
        assert (await tokens_of(vault))[ACCESS].lifetime == HOUR

    async def test_a_set_without_refresh_token_label_and_scopes_keeps_the_stored_ones(
        self, vault: TokenVault, clock: ManualClock
    ) -> None:
        await vault.store_token_set(ACCOUNT, TokenSet("a1", "r1", expires_in=60, scopes=["x"]), label="first")
        kept = (await tokens_of(vault))[REFRESH]
        clock.advance(HOUR)
        info = await vault.store_token_set(ACCOUNT, TokenSet("a2", ""))
        assert (info.label, info.scopes, info.expires_at) == ("first", ("x",), None)
        stored = await tokens_of(vault)
        assert stored[REFRESH] == kept
        assert (stored[ACCESS].generation, stored[ACCESS].lifetime) == (2, None)
        assert await value_of(vault, REFRESH) == "r1"
        info = await vault.store_token_set(ACCOUNT, TokenSet("a3", "r2", scopes=["y"]), label="second")
        assert (info.label, info.scopes) == ("second", ("y",))
        assert await value_of(vault, REFRESH) == "r2"

    async def test_a_set_without_refresh_token_leaves_the_stored_one_invalid(self, vault: TokenVault) -> None:
        await vault.store_token_set(ACCOUNT, TokenSet("a1", "r1"))
        dead = await vault.get_refresh_token(ACCOUNT)
        assert dead is not None
        await vault.mark_token_invalid(dead, "invalid_grant")
        info = await vault.store_token_set(ACCOUNT, TokenSet("a2"))
        assert (info.state, info.reason) == (ConnectionState.REAUTHORIZATION_REQUIRED, "invalid_grant")
        assert (await tokens_of(vault))[REFRESH].status is TokenStatus.INVALID
        info = await vault.store_token_set(ACCOUNT, TokenSet("a3", "r2"))
        assert (info.state, info.reason) == (ConnectionState.CONNECTED, None)
        assert (await tokens_of(vault))[REFRESH].status is TokenStatus.VALID

    async def test_a_set_replaces_an_invalid_access_token(self, vault: TokenVault) -> None:
        await vault.store_token_set(ACCOUNT, TokenSet("a1"))
        usable = await vault.get_access_token(ACCOUNT)
        assert usable is not None
        await vault.mark_token_invalid(usable.token, "invalid_token")
        assert (await vault.store_token_set(ACCOUNT, TokenSet("a2"))).state is ConnectionState.CONNECTED
        assert (await tokens_of(vault))[ACCESS].error_code is None

    async def test_only_token_sets_are_taken(self, vault: TokenVault) -> None:
        with pytest.raises(InvalidInputError):
            await vault.store_token_set(ACCOUNT, {"access_token": "a"})  # type: ignore[arg-type]
        assert await vault.get_account(ACCOUNT) is None
