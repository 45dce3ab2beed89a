"""Token sets as accounts."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from tests.services.over_dict import OverDict

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import (
    ACCESS,
    ACCOUNT,
    REFRESH,
    ContractFixtures,
    key,
    tokens_of,
    value_of,
)
from vault_domain.entities.account import ConnectionState, TokenKey, TokenKind
from vault_domain.entities.attempt import Attempt, Failure
from vault_domain.entities.token import TokenRef
from vault_domain.entities.token_set import TokenSet
from vault_domain.facade.vault import TokenVault
from vault_domain.services.refresh.attempt_ledger import AttemptLedger

HOUR = timedelta(hours=1)


class TestAccounts(OverDict, ContractFixtures):
    """`TokenVault.store_token_set` and `get_account`."""

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

    @pytest.mark.parametrize("how", ["delete_token", "delete_account", "delete_provider_tokens"])
    async def test_an_account_ends_with_its_last_token(self, store: Store, vault: TokenVault, how: str) -> None:
        await vault.store_token_set(ACCOUNT, TokenSet("a", "r"), label="gone")
        await AttemptLedger(store.accounts).fail(await _attempt(store), Failure(None, HOUR, unknown=True))
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


class TestKeys(OverDict, ContractFixtures):
    """Identifiers that are the same, and others that are not."""

    async def test_no_identifier_and_an_empty_identifier_are_the_same_key(self, vault: TokenVault) -> None:
        await vault.store_token(TokenKey("t1", "google", TokenKind.ACCESS_TOKEN), "v1")
        stored = await vault.store_token(TokenKey("t1", "google", TokenKind.ACCESS_TOKEN, ""), "v2")
        assert (stored.generation, stored.key.identifier) == (2, None)
        assert len(await tokens_of(vault)) == 1
        assert len((await vault.list_accounts("t1")).items) == 1

    async def test_identifiers_are_compared_in_nfc_and_with_their_case(self, vault: TokenVault) -> None:
        await vault.store_token(key("Zo\u0065\u0308"), "decomposed")
        assert await value_of(vault, key("Zo\u00eb")) == "decomposed"
        assert await vault.get_token(key("zo\u00eb")) is None
        assert await vault.get_token(key("Zo\u00eb ")) is None


async def _attempt(store: Store) -> Attempt:
    """Claim the account as a refresh does, and return the attempt."""
    snapshot = await store.accounts.read(ACCOUNT)
    record, now = snapshot.record, snapshot.now
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
    assert await AttemptLedger(store.accounts).claim(attempt, record.refresh.attempt_id) is not None
    return attempt
