"""Attempts that end without tokens: failed, released, or rejected by the provider."""

from __future__ import annotations

from uuid import uuid4

import pytest
from attrs import evolve

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import ACCESS, ACCOUNT, REFRESH, ContractFixtures, events_of, tokens_of
from vault_adapters.testing.contract.refreshing import HOUR, LEASE, MINUTE, SECOND, answer, claimed, due_at, state_of
from vault_domain.entities.account import TokenKind
from vault_domain.entities.attempt import Failure
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.token import TokenStatus
from vault_domain.facade.vault import TokenVault

# A lone surrogate has no UTF-8 encoding, so no store can write an event with this actor.
UNWRITABLE = "\ud800"


class FailureCases(ContractFixtures, given=("stored_account",)):
    """`RefreshLedger.fail`, `release` and `reject`."""

    @pytest.mark.parametrize("unknown", [False, True])
    async def test_a_failure_is_noted(self, store: Store, vault: TokenVault, clock: ManualClock, unknown: bool) -> None:
        before, events = await tokens_of(vault), await events_of(vault)
        attempt = await claimed(store)
        leased = await state_of(store)
        clock.advance(SECOND)
        await store.refreshes.fail(attempt, Failure("server_error", 90 * SECOND, unknown))
        assert await state_of(store) == evolve(
            leased,
            lease_until=None,
            failures=1,
            next_attempt_at=clock.now() + 90 * SECOND,
            error_code="server_error",
            unknown_since=clock.now() if unknown else None,
        )
        assert await tokens_of(vault) == before
        assert len(await events_of(vault)) == len(events) + 1

    async def test_events_tell_changes_of_the_state_only(self, store: Store, vault: TokenVault) -> None:
        known = len(await events_of(vault))
        told: list[AuditEvent] = []
        for code in ("server_error", "server_error", None):
            change = await store.refreshes.fail(await claimed(store), Failure(code, SECOND, unknown=False), actor="me")
            told += change.events
        attempt = await claimed(store)
        change_of_commit = await store.refreshes.commit(attempt, await answer(store), actor="you")
        told += change_of_commit.events
        told += (await store.refreshes.commit(await claimed(store), await answer(store, 2), actor="you")).events
        told += (await store.refreshes.fail(await claimed(store), Failure(None, SECOND, unknown=True))).events
        told += (await store.refreshes.fail(attempt, Failure(None, SECOND, unknown=True))).events
        told += (await store.refreshes.reject(await claimed(store), "invalid_grant", actor=None)).events
        stored = [evolve(event, cursor=None) for event in (await events_of(vault))[known:]]
        assert stored == told
        assert [(event.action, event.kind, event.actor, event.code) for event in stored] == [
            (AuditAction.REFRESH_FAILING, None, "me", "server_error"),
            (AuditAction.TOKEN_REFRESHED, ACCESS.kind, "you", None),
            (AuditAction.REFRESH_RECOVERED, None, "you", None),
            (AuditAction.TOKEN_REFRESHED, ACCESS.kind, "you", None),
            (AuditAction.REFRESH_FAILING, None, None, "outcome_unknown"),
            (AuditAction.TOKEN_INVALIDATED, REFRESH.kind, None, "invalid_grant"),
            (AuditAction.REAUTHORIZATION_REQUIRED, None, None, "invalid_grant"),
        ]
        assert {event.account for event in stored} == {ACCOUNT}

    @pytest.mark.parametrize("kind", [ACCESS.kind, REFRESH.kind])
    async def test_a_refresh_of_one_token_tells_of_that_one(
        self, store: Store, vault: TokenVault, kind: TokenKind
    ) -> None:
        attempt = await claimed(store)
        change = await store.refreshes.commit(attempt, await answer(store, keys=[ACCOUNT.key(kind)]), actor=None)
        [event] = change.events
        assert (event.kind, event.generation, event.credential_generation) == (kind, 2, None)
        assert evolve((await events_of(vault))[-1], cursor=None) == event

    async def test_a_refresh_that_adds_the_access_token_is_one_event(self, store: Store, vault: TokenVault) -> None:
        await vault.delete_token(ACCESS)
        known = len(await events_of(vault))
        change = await store.refreshes.commit(await claimed(store), await answer(store), actor=None)
        [event] = change.events
        assert (event.kind, event.generation, event.credential_generation) == (ACCESS.kind, 1, 2)
        assert [evolve(each, cursor=None) for each in (await events_of(vault))[known:]] == [event]

    async def test_failures_are_counted_and_the_latest_code_is_stored(self, store: Store) -> None:
        for code in ("server_error", None, "temporarily_unavailable"):
            await store.refreshes.fail(await claimed(store), Failure(code, SECOND, unknown=False))
            assert (await state_of(store)).error_code == code
        assert (await state_of(store)).failures == 3

    async def test_a_later_failure_does_not_clear_an_unknown_outcome(self, store: Store, clock: ManualClock) -> None:
        start = clock.now()
        await store.refreshes.fail(await claimed(store), Failure(None, SECOND, unknown=True))
        clock.advance(MINUTE)
        await store.refreshes.fail(await claimed(store), Failure(None, SECOND, unknown=False))
        assert (await state_of(store)).unknown_since == start

    async def test_a_failure_after_the_lease_ran_out_is_stored(self, store: Store, clock: ManualClock) -> None:
        attempt = await claimed(store)
        clock.advance(2 * LEASE)
        await store.refreshes.fail(attempt, Failure("server_error", SECOND, unknown=False))
        state = await state_of(store)
        assert (state.failures, state.lease_until, state.unknown_since) == (1, None, None)

    @pytest.mark.parametrize("ending", ["fail", "release", "reject"])
    async def test_an_attempt_that_is_no_longer_the_latest_changes_nothing(
        self, store: Store, vault: TokenVault, clock: ManualClock, ending: str
    ) -> None:
        late = await claimed(store)
        clock.advance(LEASE)
        await claimed(store)
        if ending == "reject":  # a late rejection still marks its credential, unless the credential was replaced
            await vault.store_token(REFRESH, "another")
        before, tokens = await state_of(store), await tokens_of(vault)
        if ending == "fail":
            await store.refreshes.fail(late, Failure("server_error", HOUR, unknown=True))
        elif ending == "release":
            await store.refreshes.release(late)
        else:
            assert (await store.refreshes.reject(late, "invalid_grant", actor=None)).result is False
        assert (await state_of(store), await tokens_of(vault)) == (before, tokens)

    async def test_a_release_keeps_failures_and_unknown_outcomes(self, store: Store, clock: ManualClock) -> None:
        await store.refreshes.fail(await claimed(store), Failure("server_error", SECOND, unknown=True))
        known = await state_of(store)
        clock.advance(MINUTE)
        attempt = await claimed(store)
        await store.refreshes.release(attempt)
        expected = evolve(known, attempt_id=attempt.attempt_id, next_attempt_at=None)
        assert await state_of(store) == expected
        await store.refreshes.release(attempt)
        assert await state_of(store) == expected

    async def test_a_rejection_makes_the_credential_invalid(
        self, store: Store, vault: TokenVault, clock: ManualClock
    ) -> None:
        before, attempt = await tokens_of(vault), await claimed(store)
        clock.advance(SECOND)
        change = await store.refreshes.reject(attempt, "invalid_grant", actor="me")
        assert change.result is True
        now = clock.now()
        dead = evolve(before[REFRESH], status=TokenStatus.INVALID, error_code="invalid_grant", updated_at=now)
        assert await tokens_of(vault) == {ACCESS: before[ACCESS], REFRESH: evolve(dead, rejected_at=now)}
        assert (await state_of(store)).lease_until is None
        event, required = (await events_of(vault))[-2:]
        assert [evolve(event, cursor=None), evolve(required, cursor=None)] == list(change.events)
        assert (required.action, required.code) == (AuditAction.REAUTHORIZATION_REQUIRED, "invalid_grant")
        assert (event.action, event.account, event.kind) == (AuditAction.TOKEN_INVALIDATED, ACCOUNT, REFRESH.kind)
        assert (event.generation, event.actor, event.code) == (1, "me", "invalid_grant")

    async def test_a_credential_can_be_rejected_after_the_commit_of_its_attempt(
        self, store: Store, vault: TokenVault
    ) -> None:
        attempt = await claimed(store)
        await store.refreshes.commit(attempt, await answer(store, keys=[ACCESS]), actor=None)
        change = await store.refreshes.reject(attempt, "refresh_token_too_long", actor=None)
        assert change.result is True
        tokens = await tokens_of(vault)
        assert (tokens[ACCESS].status, tokens[ACCESS].generation) == (TokenStatus.VALID, 2)
        assert (tokens[REFRESH].status, tokens[REFRESH].generation) == (TokenStatus.INVALID, 1)
        assert tokens[REFRESH].error_code == "refresh_token_too_long"

    async def test_a_credential_that_is_invalid_already_stays_as_it_is(
        self, store: Store, vault: TokenVault, clock: ManualClock
    ) -> None:
        attempt = await claimed(store)
        await vault.mark_token_invalid((await tokens_of(vault))[REFRESH], "revoked")
        before, events = await tokens_of(vault), await events_of(vault)
        clock.advance(SECOND)
        change = await store.refreshes.reject(attempt, "invalid_grant", actor=None)
        assert (change.result, tuple(change.events)) == (True, ())
        assert (await tokens_of(vault), await events_of(vault)) == (before, events)
        assert (await state_of(store)).lease_until is None

    async def test_an_access_token_that_an_earlier_attempt_presented_makes_its_account_due(
        self, store: Store, clock: ManualClock
    ) -> None:
        latest = await claimed(store)
        assert latest.access is not None
        clock.advance(SECOND)
        change = await store.refreshes.reject(
            evolve(latest, attempt_id=uuid4(), credential=latest.access), "invalid_grant", actor=None
        )
        assert change.result
        assert await due_at(store) == clock.now()
        assert (await state_of(store)).lease_until == latest.claimed_at + latest.lease

    @pytest.mark.parametrize("how", ["replaced", "deleted", "stored_again"])
    async def test_a_rejection_marks_only_the_credential_of_its_attempt(
        self, store: Store, vault: TokenVault, how: str
    ) -> None:
        attempt = await claimed(store)
        if how != "replaced":
            await vault.delete_token(REFRESH)
        if how != "deleted":
            await vault.store_token(REFRESH, "another")
        before, events = await tokens_of(vault), await events_of(vault)
        change = await store.refreshes.reject(attempt, "invalid_grant", actor=None)
        assert (change.result, tuple(change.events)) == (False, ())
        assert (await tokens_of(vault), await events_of(vault)) == (before, events)
        assert (await state_of(store)).lease_until is None

    async def test_a_rejection_whose_event_cannot_be_written_changes_nothing(
        self, store: Store, vault: TokenVault
    ) -> None:
        attempt = await claimed(store)
        before, state = await tokens_of(vault), await state_of(store)
        with pytest.raises(Exception):  # noqa: B017, PT011 - a store may raise any error
            await store.refreshes.reject(attempt, "invalid_grant", actor=UNWRITABLE)
        assert (await tokens_of(vault), await state_of(store)) == (before, state)

    async def test_an_attempt_of_a_deleted_account_stores_nothing(self, store: Store, vault: TokenVault) -> None:
        attempt = await claimed(store)
        await vault.delete_account(ACCOUNT)
        await store.refreshes.fail(attempt, Failure("server_error", SECOND, unknown=True))
        await store.refreshes.release(attempt)
        assert (await store.refreshes.reject(attempt, "invalid_grant", actor=None)).result is False
        assert await vault.get_account(ACCOUNT) is None
        assert (await vault.list_accounts("t1")).items == ()
