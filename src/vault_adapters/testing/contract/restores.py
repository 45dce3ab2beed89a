"""How a store notes that it was restored from a backup, and believes rejections from then on."""

from __future__ import annotations

from datetime import timedelta

import pytest
from attrs import evolve

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.clients import REJECTED, RULES, condemn, connect, connect_fleet, credential_of
from vault_adapters.testing.contract.fixtures import ContractFixtures, events_of
from vault_adapters.testing.contract.refreshing import MINUTE, claimed, due_at, state_of
from vault_domain.entities.account import Account
from vault_domain.entities.attempt import Failure
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.clients import MASS_REJECTION
from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.token import TokenStatus
from vault_domain.facade.vault import TokenVault
from vault_domain.ports.client_ledger import Verdict


class RestoreCases(ContractFixtures, given=("stored_account",)):
    """`ClientLedger.note_restore`: rejections of what was stored before are believed."""

    async def test_rejections_of_older_credentials_are_believed(
        self, vault: TokenVault, store: Store, clock: ManualClock
    ) -> None:
        fleet = await connect_fleet(store)
        for account in fleet[:5]:
            await condemn(store, account)
        clock.advance(MINUTE)
        change = await store.clients.note_restore(None, actor="me")
        now = clock.now()
        resumed = AuditEvent(AuditAction.CLIENT_RESUMED, now, code=MASS_REJECTION, provider="google")
        noted = AuditEvent(AuditAction.DATABASE_RESTORED, now, actor="me")
        assert (change.result, list(change.events)) == (now, [resumed, noted])
        stored = [evolve(each, cursor=None) for each in await events_of(vault)]
        assert [each for each in stored if each in (resumed, noted)] == [resumed, noted]
        assert (await store.clients.records())[0] == []
        for account in fleet[4:]:
            attempt = evolve(await claimed(store, account, MINUTE), stored_at=now - MINUTE)
            verdict = await store.clients.condemn(attempt, "invalid_grant", REJECTED, RULES, actor=None)
            assert verdict.result is Verdict.CONDEMNED
        attempt = evolve(await claimed(store, fleet[0], MINUTE), stored_at=now)
        judged = await store.clients.condemn(attempt, "invalid_grant", REJECTED, RULES, actor=None)
        assert judged.result is Verdict.CONDEMNED  # alone: what was believed does not count as a mass
        assert (await credential_of(store, fleet[5])).status is TokenStatus.INVALID

    async def test_what_was_stored_since_counts(self, store: Store, clock: ManualClock) -> None:
        await store.clients.note_restore(None, actor=None)
        clock.advance(MINUTE)
        fleet = await connect_fleet(store)
        verdicts = [await condemn(store, account) for account in fleet[:5]]
        assert verdicts == [*[Verdict.CONDEMNED] * 4, Verdict.SPARED]

    async def test_spared_accounts_are_due(self, store: Store, clock: ManualClock) -> None:
        for name, code in (("ann", MASS_REJECTION), ("bob", "timeout")):
            account = Account("t1", "google", name)
            await connect(store, account)
            attempt = await claimed(store, account)
            await store.refreshes.fail(attempt, Failure(code, timedelta(hours=1), unknown=False))
        clock.advance(MINUTE)
        await store.clients.note_restore(clock.now() - MINUTE, actor=None)
        ann, bob = Account("t1", "google", "ann"), Account("t1", "google", "bob")
        assert (await state_of(store, ann)).next_attempt_at is None
        assert (await state_of(store, bob)).next_attempt_at is not None
        assert await due_at(store, ann) == clock.now()

    async def test_a_time_in_the_future_changes_nothing(self, store: Store, clock: ManualClock) -> None:
        with pytest.raises(InvalidInputError):
            await store.clients.note_restore(clock.now() + MINUTE, actor=None)
        clock.advance(2 * MINUTE)
        fleet = await connect_fleet(store)
        attempts = [evolve(await claimed(store, account, MINUTE), stored_at=clock.now()) for account in fleet[:5]]
        clock.advance(-MINUTE)
        verdicts = [
            (await store.clients.condemn(each, "invalid_grant", REJECTED, RULES, actor=None)).result
            for each in attempts
        ]
        assert verdicts[-1] is Verdict.SPARED
