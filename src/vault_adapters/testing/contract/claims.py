"""Leases: which attempt gets a lease, and what a claim keeps of earlier attempts."""

from __future__ import annotations

import asyncio
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
    rows_of,
    tokens_of,
)
from vault_adapters.testing.contract.refreshing import (
    HOUR,
    LEASE,
    MINUTE,
    SECOND,
    claimed,
    state_of,
    token_set,
    unclaimed,
)
from vault_domain.entities.attempt import Failure
from vault_domain.entities.audit import AuditAction
from vault_domain.entities.refresh_state import RefreshState
from vault_domain.entities.token import TokenRef
from vault_domain.facade.vault import TokenVault


class ClaimCases(ContractFixtures, given=("stored_account",)):
    """`RefreshLedger.claim`, and `read`."""

    async def test_a_snapshot_holds_the_account_and_its_values(self, store: Store, clock: ManualClock) -> None:
        snapshot = await store.refreshes.read(ACCOUNT)
        record, now = await store.accounts.get(ACCOUNT)
        assert (snapshot.record, snapshot.now, now) == (record, clock.now(), clock.now())
        [access, refresh] = await rows_of(store, [ACCESS, REFRESH])
        assert snapshot.sealed == {ACCESS.kind: access.sealed, REFRESH.kind: refresh.sealed}
        nobody = await store.refreshes.read(evolve(ACCOUNT, identifier="nobody"))
        assert (nobody.record, nobody.sealed, nobody.now) == (None, {}, clock.now())

    async def test_a_claim_is_a_lease_and_changes_no_token(
        self, store: Store, vault: TokenVault, clock: ManualClock
    ) -> None:
        before, events = await tokens_of(vault), await events_of(vault)
        attempt = await unclaimed(store)
        assert await store.refreshes.claim(attempt, None) == clock.now()
        assert await state_of(store) == RefreshState(
            credential_value_id=attempt.credential.value_id,
            attempt_id=attempt.attempt_id,
            lease_until=clock.now() + LEASE,
            sent_at=clock.now(),
        )
        assert (await tokens_of(vault), await events_of(vault)) == (before, events)
        record, _ = await store.accounts.get(ACCOUNT)
        assert record is not None
        assert record.label == "Ann"

    async def test_of_many_concurrent_claims_one_wins(self, store: Store, clock: ManualClock) -> None:
        seen = None
        for _ in range(3):
            attempts = [await unclaimed(store) for _ in range(12)]
            times = await asyncio.gather(*(store.refreshes.claim(attempt, seen) for attempt in attempts))
            winners = [attempt.attempt_id for attempt, at in zip(attempts, times, strict=True) if at is not None]
            assert winners == [(await state_of(store)).attempt_id]
            [seen] = winners
            clock.advance(LEASE)

    async def test_a_claim_whose_answer_was_lost_is_released_by_its_id(self, store: Store) -> None:
        lost = await unclaimed(store)
        await store.refreshes.release(lost)  # the claim never arrived
        assert (await state_of(store)).lease_until is None
        await store.refreshes.claim(lost, None)  # this claim arrives, but the store's answer is lost
        await store.refreshes.release(await unclaimed(store))  # releases nothing: another attempt's id
        assert (await state_of(store)).lease_until is not None
        await store.refreshes.release(lost)
        assert (await state_of(store)).unknown_since is None
        assert await store.refreshes.claim(await unclaimed(store), lost.attempt_id) is not None

    async def test_a_claim_whose_answer_was_lost_is_withdrawn(self, store: Store) -> None:
        first, lost = await claimed(store), await unclaimed(store)
        await store.refreshes.release(first)
        assert await store.refreshes.claim(lost, first.attempt_id) is not None  # the caller does not hear of it
        await store.refreshes.withdraw(await unclaimed(store), first.attempt_id)  # of another attempt: changes nothing
        assert (await state_of(store)).lease_until is not None
        await store.refreshes.withdraw(lost, first.attempt_id)
        state = await state_of(store)
        assert (state.attempt_id, state.lease_until, state.unknown_since) == (lost.attempt_id, None, None)
        assert await store.refreshes.claim(await unclaimed(store), lost.attempt_id) is not None

    async def test_only_the_latest_attempt_counts_as_seen(self, store: Store) -> None:
        first = await claimed(store)
        await store.refreshes.release(first)
        for seen in (None, uuid4()):
            assert await store.refreshes.claim(await unclaimed(store), seen) is None
        second = await unclaimed(store)
        assert await store.refreshes.claim(second, first.attempt_id) is not None
        await store.refreshes.release(second)
        assert await store.refreshes.claim(await unclaimed(store), first.attempt_id) is None

    async def test_a_first_claim_has_seen_nothing(self, store: Store) -> None:
        assert await store.refreshes.claim(await unclaimed(store), uuid4()) is None
        assert await state_of(store) == RefreshState()

    async def test_a_running_lease_is_left_alone_until_its_end(self, store: Store, clock: ManualClock) -> None:
        first = await claimed(store)
        clock.advance(LEASE - SECOND)
        assert await store.refreshes.claim(await unclaimed(store), first.attempt_id) is None
        clock.advance(SECOND)
        assert await store.refreshes.claim(await unclaimed(store), first.attempt_id) == clock.now()

    async def test_a_lease_that_ran_out_is_an_unknown_outcome_since_its_end(
        self, store: Store, clock: ManualClock
    ) -> None:
        start = clock.now()
        await claimed(store)
        clock.advance(5 * MINUTE)
        await claimed(store)
        state = await state_of(store)
        assert (state.unknown_since, state.sent_at) == (start + LEASE, start)
        assert state.lease_until == clock.now() + LEASE
        clock.advance(5 * MINUTE)
        await claimed(store)
        state = await state_of(store)
        # The end of the latest lease that ran out, and the start of the first attempt with an unknown outcome.
        assert (state.unknown_since, state.sent_at) == (start + 5 * MINUTE + LEASE, start)

    async def test_an_attempt_that_ended_without_a_trace_is_told_once(
        self, store: Store, vault: TokenVault, clock: ManualClock
    ) -> None:
        await store.refreshes.release(await claimed(store))
        await claimed(store)
        events = await events_of(vault)
        clock.advance(LEASE)
        await store.refreshes.release(await claimed(store))
        await claimed(store)
        told = (await events_of(vault))[len(events) :]
        assert [(event.action, event.account) for event in told] == [(AuditAction.REFRESH_OUTCOME_UNKNOWN, ACCOUNT)]

    @pytest.mark.parametrize("is_claimed", [False, True])
    @pytest.mark.parametrize("back", [3 * MINUTE, 2 * HOUR + 3 * MINUTE, HOUR, 3 * HOUR])
    async def test_what_is_unknown_after_the_clock_was_set_back_is_what_the_rule_says(
        self, store: Store, clock: ManualClock, is_claimed: bool, back: timedelta
    ) -> None:
        await store.refreshes.fail(await claimed(store), Failure("timeout", SECOND, unknown=True))
        clock.advance(2 * HOUR)
        if is_claimed:
            await claimed(store)
        clock.set(clock.now() - back)
        state = await state_of(store)
        if state.leased_until(clock.now()) is not None:
            clock.advance(2 * back)
        await claimed(store)
        assert (await state_of(store)).unknown_since == state.unknown_at(clock.now())

    async def test_the_first_unknown_request_stays_through_failures(self, store: Store, clock: ManualClock) -> None:
        start = clock.now()
        for number in range(3):
            attempt = await claimed(store)
            clock.advance(SECOND)
            await store.refreshes.fail(attempt, Failure("server_error", SECOND, unknown=number != 1))
            clock.advance(MINUTE)
        attempt = await claimed(store)
        state = await state_of(store)
        assert (state.sent_at, state.failures, state.error_code) == (start, 3, "server_error")
        assert state.unknown_since == start + 2 * (MINUTE + SECOND) + SECOND
        assert state.next_attempt_at is None

    async def test_where_all_outcomes_are_known_the_latest_request_counts(
        self, store: Store, clock: ManualClock
    ) -> None:
        await store.refreshes.fail(await claimed(store), Failure(None, SECOND, unknown=False))
        clock.advance(MINUTE)
        await store.refreshes.release(await claimed(store))
        clock.advance(MINUTE)
        await claimed(store)
        state = await state_of(store)
        assert (state.sent_at, state.unknown_since, state.failures) == (clock.now(), None, 1)

    async def test_what_is_known_of_another_credential_is_dropped(
        self, store: Store, vault: TokenVault, clock: ManualClock
    ) -> None:
        await store.refreshes.fail(await claimed(store), Failure("server_error", HOUR, unknown=True))
        await vault.store_token(REFRESH, "another")
        clock.advance(MINUTE)
        attempt = await claimed(store)
        assert await state_of(store) == RefreshState(
            credential_value_id=attempt.credential.value_id,
            attempt_id=attempt.attempt_id,
            lease_until=clock.now() + LEASE,
            sent_at=clock.now(),
        )

    async def test_a_lease_on_another_credential_keeps_nobody_out(
        self, store: Store, vault: TokenVault, clock: ManualClock
    ) -> None:
        await claimed(store)
        await vault.store_token(REFRESH, "another")
        attempt = await claimed(store)
        state = await state_of(store)
        assert (state.attempt_id, state.unknown_since, state.sent_at) == (attempt.attempt_id, None, clock.now())

    @pytest.mark.parametrize("how", ["invalid", "replaced", "deleted", "stored_again", "lost"])
    async def test_a_credential_that_is_no_longer_good_is_not_claimed(
        self, store: Store, vault: TokenVault, how: str
    ) -> None:
        attempt = await unclaimed(store)
        if how == "invalid":
            await vault.mark_token_invalid((await tokens_of(vault))[REFRESH], "revoked")
        elif how == "replaced":
            await vault.store_token(REFRESH, "another")
        elif how == "lost":  # the database was restored, and another value got the same generation
            attempt = evolve(attempt, credential=evolve(attempt.credential, value_id=uuid4()))
        else:
            await vault.delete_token(REFRESH)
        if how == "stored_again":
            assert (await vault.store_token(REFRESH, "again")).generation == attempt.credential.generation
        assert await store.refreshes.claim(attempt, None) is None
        assert await state_of(store) == RefreshState()

    async def test_a_new_access_token_does_not_stop_a_claim(self, store: Store, vault: TokenVault) -> None:
        attempt = await unclaimed(store)
        await vault.store_token(ACCESS, "another")
        assert await store.refreshes.claim(attempt, None) is not None

    async def test_a_claim_holds_for_its_own_account(self, store: Store, vault: TokenVault) -> None:
        others = [
            evolve(ACCOUNT, identifier=None),
            evolve(ACCOUNT, tenant_id="t2"),
            evolve(ACCOUNT, provider="github"),
        ]
        for account in others:
            await vault.store_token_set(account, token_set())
        mine = await claimed(store)
        for account in others:
            assert await state_of(store, account) == RefreshState()
            stolen = evolve(await unclaimed(store, account), credential=mine.credential)
            other_place = evolve(mine.credential, key=account.key(REFRESH.kind))
            assert await store.refreshes.claim(evolve(stolen, credential=other_place), None) is None
            await claimed(store, account)
        assert TokenRef.of((await tokens_of(vault))[REFRESH]) == mine.credential
