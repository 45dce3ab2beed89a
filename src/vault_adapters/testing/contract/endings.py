"""Cases for refresh tokens that expire soon: their health, and the event that reports each of them once."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import ACCESS, ACCOUNT, REFRESH, ContractFixtures, changes_of
from vault_domain.entities.account import Account
from vault_domain.entities.token_set import TokenSet
from vault_domain.facade.vault import TokenVault
from vault_domain.ports.pages import Ending

DAY, STEP = timedelta(days=1), timedelta(microseconds=1)
NOTICE = 10 * DAY


class EndingCases(ContractFixtures):
    """`Ending`, `AccountChanges.tell_end`, and `count_health` with a reconnect notice."""

    async def ending(self, store: Store, limit: int = 10) -> list[str | None]:
        """Find a page of refresh tokens that expire soon, and tell of each; return the accounts' identifiers."""
        found = await store.pages.tokens(Ending(NOTICE), limit=limit, after=None)
        for info in found:
            change = await changes_of(store).tell_end(info.key.account, NOTICE, actor="sweep")
            [event] = change.events
            assert (event.action.value, event.kind, event.actor) == ("refresh_token_expiring", REFRESH.kind, "sweep")
            again = await changes_of(store).tell_end(info.key.account, NOTICE, actor="sweep")
            assert (change.result, again.result, again.events) == (True, False, ())
        return [info.key.identifier for info in found]

    async def connect(self, vault: TokenVault, ends: datetime | None, *, name: str | None = ACCOUNT.identifier) -> None:
        """Store a token set whose refresh token expires at ``ends``, or never if ``ends`` is None."""
        account = Account(ACCOUNT.tenant_id, ACCOUNT.provider, name)
        await vault.store_token_set(account, TokenSet("a", "r", refresh_token_expires_at=ends))

    async def test_the_end_of_a_refresh_token_is_told_once_for_each_value(
        self, vault: TokenVault, store: Store, clock: ManualClock
    ) -> None:
        ends = clock.now() + NOTICE + STEP
        await self.connect(vault, ends)
        assert await self.ending(store) == []
        clock.advance(STEP)
        assert await self.ending(store) == [ACCOUNT.identifier]
        clock.advance(DAY)
        assert await self.ending(store) == []
        await self.connect(vault, ends)
        assert await self.ending(store) == [ACCOUNT.identifier]
        found = [event for event in (await vault.audit_events()).items if event.action == "refresh_token_expiring"]
        assert [(event.generation, event.account, event.occurred_at) for event in found] == [
            (1, ACCOUNT, ends - NOTICE),
            (2, ACCOUNT, clock.now()),
        ]

    async def test_only_a_refresh_token_that_still_works_ends_soon(
        self, vault: TokenVault, store: Store, clock: ManualClock
    ) -> None:
        await self.connect(vault, None)
        await self.connect(vault, clock.now(), name="expired")
        await self.connect(vault, clock.now() + DAY, name="invalid")
        invalid = await vault.get_token(Account(ACCOUNT.tenant_id, ACCOUNT.provider, "invalid").key(REFRESH.kind))
        assert invalid is not None
        await vault.mark_token_invalid(invalid, "invalid_grant")
        await vault.store_token(ACCESS, "a", expires_at=clock.now() + DAY)
        assert await self.ending(store) == []

    async def test_those_that_end_first_are_told_first(
        self, vault: TokenVault, store: Store, clock: ManualClock
    ) -> None:
        for days in (3, 1, 2):
            await self.connect(vault, clock.now() + days * DAY, name=f"in {days}")
        assert sorted(map(str, await self.ending(store, 2))) == ["in 1", "in 2"]
        assert await self.ending(store, 2) == ["in 3"]

    async def test_a_short_lived_refresh_token_ends_soon_from_half_of_its_lifetime_on(
        self, vault: TokenVault, store: Store, clock: ManualClock
    ) -> None:
        await vault.store_token_set(ACCOUNT, TokenSet("a", "r", refresh_token_expires_in=2 * DAY))
        clock.advance(DAY - STEP)
        assert await self.ending(store) == []
        clock.advance(STEP)
        assert await self.ending(store) == [ACCOUNT.identifier]

    @pytest.mark.parametrize(("left", "expected"), [(NOTICE, "expiring"), (NOTICE + STEP, "fresh")])
    async def test_health_counts_a_refresh_token_that_ends_soon_as_expiring(
        self, vault: TokenVault, store: Store, clock: ManualClock, left: timedelta, expected: str
    ) -> None:
        await vault.store_token(REFRESH, "r", expires_at=clock.now() + left)
        [count] = await store.pages.count_health(None, timedelta(minutes=5), notice=NOTICE)
        assert count.health.value == expected
