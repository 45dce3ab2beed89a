"""Cases for reports of rejected tokens, and for whether an account is due after its token was marked invalid."""

from __future__ import annotations

from datetime import timedelta

import pytest

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.failures import UNWRITABLE
from vault_adapters.testing.contract.fixtures import ACCESS, ACCOUNT, REFRESH, ContractFixtures
from vault_domain.entities.account import TokenKind
from vault_domain.entities.suspicion import ConfirmationWindow
from vault_domain.entities.token import MarkOutcome, Token, TokenHealth, TokenRef, TokenStatus
from vault_domain.facade.vault import TokenVault
from vault_domain.ports.change import Change

KEY = ACCOUNT.key(TokenKind.API_KEY)
LEAST, MOST, STEP = timedelta(seconds=20), timedelta(minutes=5), timedelta(microseconds=1)
WINDOW = ConfirmationWindow(LEAST, MOST)


class RejectionCases(ContractFixtures):
    """`AccountChanges.report_rejected`, and whether an account is due after `mark_invalid`."""

    async def stored_key(self, vault: TokenVault) -> Token:
        """Store an API key and return it."""
        await vault.store_token(KEY, "a key")
        token = await vault.get_token(KEY)
        assert token is not None
        return token

    async def report(self, store: Store, token: Token) -> Change[MarkOutcome]:
        """Report that a resource rejected a token."""
        ref = TokenRef.of(token.info)
        return await store.changes.report_rejected(ref, "invalid_token", window=WINDOW, actor="me")

    async def test_a_first_report_makes_a_value_suspect(
        self, vault: TokenVault, store: Store, clock: ManualClock
    ) -> None:
        token = await self.stored_key(vault)
        clock.advance(LEAST)
        change = await self.report(store, token)
        assert change.result is MarkOutcome.SUSPECTED
        [event] = change.events
        assert (event.action, event.actor, event.code, event.kind) == (
            "token_suspected",
            "me",
            "invalid_token",
            KEY.kind,
        )
        found = await vault.get_token(KEY)
        assert found is not None
        assert found.info.suspect_since == clock.now()
        assert (found.info.status, found.info.updated_at) == (TokenStatus.VALID, token.info.updated_at)

    async def test_a_report_whose_event_cannot_be_written_changes_nothing(
        self, vault: TokenVault, store: Store
    ) -> None:
        token = await self.stored_key(vault)
        with pytest.raises(Exception):  # noqa: B017, PT011 - a store may raise any error here
            await store.changes.report_rejected(
                TokenRef.of(token.info), "invalid_token", window=WINDOW, actor=UNWRITABLE
            )
        assert await vault.get_token(KEY) == token

    async def test_health_counts_suspects_while_a_report_could_confirm(
        self, vault: TokenVault, store: Store, clock: ManualClock
    ) -> None:
        await self.report(store, await self.stored_key(vault))
        for passed, expected in [(timedelta(0), "suspect"), (MOST, "suspect"), (STEP, "fresh")]:
            clock.advance(passed)
            [count] = await store.tokens.count_health(None, timedelta(0), MOST)
            assert (count.health, count.count) == (TokenHealth(expected), 1)

    @pytest.mark.parametrize("confirmed", [False, True])
    async def test_an_invalid_access_token_makes_its_account_due(
        self, vault: TokenVault, store: Store, clock: ManualClock, *, confirmed: bool
    ) -> None:
        await vault.store_token(ACCESS, "access")
        await vault.store_token(REFRESH, "refresh")
        token = await vault.get_token(ACCESS)
        assert token is not None
        if confirmed:
            await self.report(store, token)
            assert await self.due(store) == []
            clock.advance(LEAST)
            await self.report(store, token)
        else:
            await store.changes.mark_invalid(TokenRef.of(token.info), "revoked", actor=None)
        assert await self.due(store) == [clock.now()]

    async def due(self, store: Store) -> list[object]:
        """Return the `due_at` of each due account."""
        hold = timedelta(0)
        due, _ = await store.refreshes.reserve_due(ACCOUNT.provider, hold=hold, limit=10, since=None, until=None)
        return [each.due_at for each in due]
