"""Test cases: storing token sets, and reading and deleting the accounts that they belong to."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from attrs import evolve

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import (
    ACCESS,
    ACCOUNT,
    REFRESH,
    ContractFixtures,
    events_of,
    tokens_of,
    value_of,
)
from vault_domain.entities.account import ConnectionState, TokenKind
from vault_domain.entities.attempt import Attempt, Failure
from vault_domain.entities.token import SealedToken, TokenRef, TokenWrite
from vault_domain.entities.token_set import TokenSet
from vault_domain.facade.vault import TokenVault
from vault_domain.ports.change import DataKeyInactiveError

HOUR = timedelta(hours=1)


async def _attempt(store: Store) -> Attempt:
    """Claim the account as a refresh does, and return the attempt."""
    record, now = await store.accounts.get(ACCOUNT)
    assert record is not None
    tokens = record.tokens
    access = tokens.get(TokenKind.ACCESS_TOKEN)
    attempt = Attempt(
        ACCOUNT,
        uuid4(),
        TokenRef.of(tokens[TokenKind.REFRESH_TOKEN]),
        None if access is None else TokenRef.of(access),
        now,
        timedelta(minutes=1),
    )
    assert await store.refreshes.claim(attempt, record.refresh.attempt_id) is not None
    return attempt


class TokenSetCases(ContractFixtures):
    """store_token_set, get_account and delete_account."""

    async def test_a_set_is_stored_as_an_account(self, vault: TokenVault, clock: ManualClock) -> None:
        until = clock.now() + 24 * HOUR
        token_set = TokenSet("a1", "r1", expires_in=HOUR, scopes=["x", "y"], refresh_token_expires_at=until)
        info = await vault.store_token_set(ACCOUNT, token_set, label="ann@example.com")
        assert (info.account, info.state, info.reason) == (ACCOUNT, ConnectionState.CONNECTED, None)
        assert (info.label, info.scopes, info.expires_at) == ("ann@example.com", ("x", "y"), clock.now() + HOUR)
        assert await vault.get_account(ACCOUNT) == info
        stored = await tokens_of(vault)
        assert set(stored) == {ACCESS, REFRESH}
        assert (stored[ACCESS].lifetime, stored[ACCESS].expires_at) == (HOUR, clock.now() + HOUR)
        assert (stored[REFRESH].lifetime, stored[REFRESH].expires_at) == (None, until)
        assert await value_of(vault, ACCESS) == "a1"
        assert await value_of(vault, REFRESH) == "r1"

    async def test_a_set_is_written_whole_or_not_at_all(self, store: Store, vault: TokenVault) -> None:
        await vault.store_token_set(ACCOUNT, TokenSet("a1", "r1"), label="before")
        before, events = await tokens_of(vault), await events_of(vault)
        for victim in (ACCESS, REFRESH):
            row = (await store.tokens.get(victim)).row
            assert row is not None
            good = [TokenWrite(key, row.sealed) for key in (ACCESS, REFRESH)]
            bad = [
                evolve(write, sealed=SealedToken(bytes(16), row.sealed.blob)) if write.key == victim else write
                for write in good
            ]
            with pytest.raises(DataKeyInactiveError):
                await store.changes.store_set(ACCOUNT, bad, label="after", actor=None)
            with pytest.raises(DataKeyInactiveError):
                await store.tokens.store(bad, actor=None)
        info = await vault.get_account(ACCOUNT)
        assert info is not None
        assert info.label == "before"
        assert await tokens_of(vault) == before
        assert await events_of(vault) == events
        assert await value_of(vault, ACCESS) == "a1"

    @pytest.mark.parametrize("how", ["delete_token", "delete_account", "delete_provider_tokens"])
    async def test_an_account_ends_with_its_last_token(self, store: Store, vault: TokenVault, how: str) -> None:
        await vault.store_token_set(ACCOUNT, TokenSet("a", "r"), label="gone")
        await store.refreshes.fail(await _attempt(store), Failure(None, HOUR, unknown=True))
        if how == "delete_token":
            await vault.delete_token(ACCESS)
            kept = await vault.get_account(ACCOUNT)
            assert kept is not None
            assert kept.label == "gone"
            await vault.delete_token(REFRESH)
        elif how == "delete_account":
            await vault.delete_account(ACCOUNT)
        else:
            await vault.delete_provider_tokens("t1", "google")
        assert await vault.get_account(ACCOUNT) is None
        assert (await vault.list_accounts("t1")).items == ()
        again = await vault.store_token_set(ACCOUNT, TokenSet("a", "r"))
        assert (again.label, again.state) == (None, ConnectionState.CONNECTED)
