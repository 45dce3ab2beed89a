"""How a store notes that it was restored from a backup."""

from __future__ import annotations

from datetime import timedelta

import pytest
from attrs import evolve

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.clients import ANN, BOB, connect
from vault_adapters.testing.contract.fixtures import ContractFixtures, attempts_of, events_of
from vault_adapters.testing.contract.refreshing import MINUTE, claimed, due_at, state_of
from vault_domain.entities.attempt import Failure
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.clients import MASS_REJECTION
from vault_domain.entities.errors import InvalidInputError
from vault_domain.facade.vault import TokenVault


class RestoreCases(ContractFixtures, given=("stored_account",)):
    """`ClientStates.note_restore`: the latest time counts, and spared accounts are due."""

    async def test_the_latest_time_counts(self, vault: TokenVault, store: Store, clock: ManualClock) -> None:
        change = await store.clients.note_restore(None, actor="me")
        first = clock.now()
        noted = AuditEvent(AuditAction.DATABASE_RESTORED, first, actor="me")
        assert (change.result, list(change.events)) == (first, [noted])
        assert [evolve(each, cursor=None) for each in await events_of(vault)][-1] == noted
        clock.advance(MINUTE)
        assert (await store.clients.note_restore(first - MINUTE, actor=None)).result == first - MINUTE
        assert (await store.clients.note_restore(first, actor=None)).result == first
        assert (await store.clients.records()).restored_at == first
        await store.clients.note_restore(None, actor=None)
        assert (await store.clients.records("google")).restored_at == clock.now()

    async def test_spared_accounts_are_due(self, vault: TokenVault, store: Store, clock: ManualClock) -> None:
        for account, code in ((ANN, MASS_REJECTION), (BOB, "timeout")):
            await connect(vault, store, account)
            attempt = await claimed(store, account)
            await attempts_of(store).fail(attempt, Failure(code, timedelta(hours=1), unknown=False))
        clock.advance(MINUTE)
        await store.clients.note_restore(clock.now() - MINUTE, actor=None)
        assert (await state_of(store, ANN)).next_attempt_at is None
        assert (await state_of(store, BOB)).next_attempt_at is not None
        assert await due_at(store, ANN) == clock.now()

    async def test_a_time_in_the_future_changes_nothing(
        self, vault: TokenVault, store: Store, clock: ManualClock
    ) -> None:
        before = await events_of(vault)
        with pytest.raises(InvalidInputError):
            await store.clients.note_restore(clock.now() + MINUTE, actor=None)
        assert (await store.clients.records()).restored_at is None
        assert await events_of(vault) == before
