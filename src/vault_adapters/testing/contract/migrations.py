"""Migrating a populated database with an older schema loses nothing, and afterwards due accounts are refreshed.

If there are earlier versions of a store's schema, the store overrides the fixture `older_schema`. Otherwise the cases
are skipped.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

import pytest

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import (
    ACCESS,
    ACCOUNT,
    REFRESH,
    ContractFixtures,
    OpenStore,
    attempts_of,
    events_of,
    tokens_of,
)
from vault_adapters.testing.contract.refreshing import HOUR, MINUTE, blobs_of, claimed, state_of, token_set
from vault_adapters.testing.refresher import ScriptedRefresher
from vault_domain.entities.account import Account, TokenKey, TokenKind
from vault_domain.entities.attempt import Failure
from vault_domain.entities.errors import SchemaOutdatedError
from vault_domain.entities.reports import SweepReport
from vault_domain.facade.vault import TokenVault
from vault_domain.ports.clock import Clock

FRESH, ENDLESS = Account("t1", "google", "fresh"), Account("t2", "google", "endless")
API_KEY = TokenKey("t2", "github", TokenKind.API_KEY)


class OlderSchema(Protocol):
    """Takes the test's closed database back to the oldest schema that the store can migrate."""

    def take_back(self) -> None:
        """Give the database the older schema, and keep all data that this schema can hold."""

    def open_as_it_is(self, clock: Clock, /) -> AbstractAsyncContextManager[Store]:
        """Open the database without permission to migrate it."""


class MigrationCases(ContractFixtures):
    """Opens a populated database whose schema is older than the store's current schema."""

    @pytest.fixture
    def older_schema(self) -> OlderSchema | None:
        """Give the store's `OlderSchema`, or None if the store's schema has no earlier version."""
        return None

    @pytest.fixture
    async def before(self, open_store: OpenStore, clock: ManualClock, older_schema: OlderSchema | None) -> list[object]:
        """Fill the database, read its contents, take it back to the older schema, and give these contents."""
        if older_schema is None:
            pytest.skip("the store has no older schema")
        async with open_store(clock) as store, self.vault_over(store) as vault:
            await vault.store_token_set(ACCOUNT, token_set(), label="Ann")
            await vault.store_token_set(FRESH, token_set(lifetime=3 * HOUR))
            await vault.store_token_set(ENDLESS, token_set(lifetime=None))
            await vault.store_token(API_KEY, "key")
            await vault.keys.rotate_data_key("t2")
            await attempts_of(store).fail(await claimed(store), Failure("server_error", MINUTE, unknown=False))
            before = await _contents(store, vault)
        older_schema.take_back()
        return before

    async def test_without_permission_to_migrate_an_older_schema_is_refused_and_unchanged(
        self, before: list[object], older_schema: OlderSchema, open_store: OpenStore, clock: ManualClock
    ) -> None:
        for _ in range(2):
            with pytest.raises(SchemaOutdatedError):
                async with older_schema.open_as_it_is(clock):
                    pass
        async with open_store(clock) as store:
            assert set(await blobs_of(store)) == {ACCESS.kind, REFRESH.kind}
        async with older_schema.open_as_it_is(clock) as store:
            assert set(await blobs_of(store)) == {ACCESS.kind, REFRESH.kind}

    async def test_nothing_is_lost(self, before: list[object], open_store: OpenStore, clock: ManualClock) -> None:
        for _ in range(2):
            async with open_store(clock) as store, self.vault_over(store) as vault:
                assert await _contents(store, vault) == before

    async def test_accounts_that_are_due_are_refreshed(
        self, before: list[object], open_store: OpenStore, clock: ManualClock
    ) -> None:
        refresher = ScriptedRefresher(token_set(1), token_set(2), token_set(3))
        async with open_store(clock) as store, self.vault_over(store, refreshers={"google": refresher}) as vault:
            assert await vault.refresh_due() == SweepReport()
            clock.advance(50 * MINUTE)
            assert await vault.refresh_due() == SweepReport(claimed=1, refreshed=1)
            assert refresher.calls[0].account == ACCOUNT
            clock.advance(2 * HOUR)
            assert await vault.refresh_due() == SweepReport(claimed=2, refreshed=2)
            assert {call.account for call in refresher.calls} == {ACCOUNT, FRESH}


async def _contents(store: Store, vault: TokenVault) -> list[object]:
    """Return everything that is stored, without recording a use of a token."""
    tokens = {**await tokens_of(vault), **await tokens_of(vault, "t2")}
    values, _ = await store.accounts.get_many(sorted(tokens, key=repr))
    accounts = [await vault.get_account(account) for account in (ACCOUNT, FRESH, ENDLESS)]
    keys = [await store.keys.master_keys(), await store.keys.key_counts()]
    return [tokens, values, accounts, await state_of(store), await events_of(vault), keys]
