"""Test cases: the holder of a lease renews the lease as long as the provider has not answered."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
from attrs import evolve

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import ACCESS, ACCOUNT, REFRESH, ContractFixtures
from vault_adapters.testing.contract.refreshing import (
    HOUR,
    LEASE,
    MINUTE,
    SECOND,
    answer,
    claimed,
    due_at,
    state_of,
    unclaimed,
)
from vault_domain.entities.attempt import Failure
from vault_domain.entities.token import TokenRef
from vault_domain.facade.vault import TokenVault


class RenewalCases(ContractFixtures, given=("stored_account",)):
    """`RefreshLedger.renew`."""

    async def test_a_renewed_lease_ends_later_and_nothing_else_changes(self, store: Store, clock: ManualClock) -> None:
        attempt = await claimed(store)
        before = await state_of(store)
        for _ in range(3):
            clock.advance(LEASE - SECOND)
            assert await store.refreshes.renew(attempt, LEASE)
            assert await state_of(store) == evolve(before, lease_until=clock.now() + LEASE)
        clock.advance(LEASE - SECOND)
        assert await store.refreshes.claim(await unclaimed(store), attempt.attempt_id) is None
        clock.advance(SECOND)
        assert await store.refreshes.claim(await unclaimed(store), attempt.attempt_id) == clock.now()
        assert (await state_of(store)).unknown_since == clock.now()  # the renewed end of the lease, not the first

    async def test_a_renewal_moves_the_due_time_that_the_claim_set(self, store: Store, clock: ManualClock) -> None:
        attempt = await claimed(store)
        clock.advance(SECOND)
        await store.refreshes.renew(attempt, LEASE)
        assert await due_at(store) == clock.now() + LEASE

    async def test_a_renewal_does_not_put_off_another_due_time(self, store: Store, clock: ManualClock) -> None:
        attempt = await claimed(store)
        await store.refreshes.reschedule(ACCOUNT, lambda record, now: now + SECOND)
        earlier = clock.now() + SECOND
        clock.advance(MINUTE)
        await store.refreshes.renew(attempt, LEASE)
        assert await due_at(store) == earlier

    async def test_only_the_latest_attempt_renews(self, store: Store, clock: ManualClock) -> None:
        first = await claimed(store)
        stranger = evolve(first, attempt_id=uuid4())
        before = await state_of(store)
        assert not await store.refreshes.renew(stranger, LEASE)
        assert await state_of(store) == before
        clock.advance(LEASE)
        await claimed(store)
        before = await state_of(store)
        clock.advance(SECOND)
        assert not await store.refreshes.renew(first, LEASE)
        assert await state_of(store) == before

    @pytest.mark.parametrize("how", ["released", "failed", "rejected", "committed"])
    async def test_an_attempt_that_has_ended_does_not_renew(self, store: Store, clock: ManualClock, how: str) -> None:
        attempt = await claimed(store)
        if how == "released":
            await store.refreshes.release(attempt)
        elif how == "failed":
            await store.refreshes.fail(attempt, Failure("server_error", HOUR, unknown=True))
        elif how == "rejected":
            await store.refreshes.reject(attempt, "invalid_grant", actor=None)
        else:
            await store.refreshes.commit(attempt, await answer(store), actor=None)
        before, due = await state_of(store), clock.now()
        assert before.lease_until is None
        await due_at(store)  # as a side effect, this call makes the account due now
        clock.advance(SECOND)
        assert not await store.refreshes.renew(attempt, LEASE)
        assert (await state_of(store), await due_at(store)) == (before, due)

    async def test_a_lease_that_ran_out_is_renewed_if_nobody_else_began(self, store: Store, clock: ManualClock) -> None:
        attempt = await claimed(store)
        clock.advance(3 * LEASE)  # the holder's process stood still
        assert await store.refreshes.renew(attempt, LEASE)
        state = await state_of(store)
        assert (state.leased_until(clock.now()), state.unknown_since) == (clock.now() + LEASE, None)
        assert await store.refreshes.claim(await unclaimed(store), attempt.attempt_id) is None

    async def test_after_the_clock_was_set_back_a_renewal_counts_from_the_new_time(
        self, store: Store, clock: ManualClock
    ) -> None:
        attempt = await claimed(store)
        clock.advance(-HOUR)
        assert (await state_of(store)).leased_until(clock.now()) is None
        assert await store.refreshes.renew(attempt, LEASE)
        assert (await state_of(store)).lease_until == clock.now() + LEASE

    async def test_a_renewal_keeps_what_is_known_of_earlier_attempts(self, store: Store, clock: ManualClock) -> None:
        await store.refreshes.fail(await claimed(store), Failure("server_error", SECOND, unknown=True, refused=True))
        clock.advance(MINUTE)
        attempt = await claimed(store)
        before = await state_of(store)
        clock.advance(SECOND)
        assert await store.refreshes.renew(attempt, LEASE)
        assert await state_of(store) == evolve(before, lease_until=clock.now() + LEASE)

    async def test_of_a_renewal_and_a_claim_at_the_end_of_the_lease_one_wins(
        self, store: Store, clock: ManualClock
    ) -> None:
        for _ in range(5):
            attempt = await claimed(store)
            clock.advance(LEASE)
            other = await unclaimed(store)
            renewed, taken = await asyncio.gather(
                store.refreshes.renew(attempt, LEASE), store.refreshes.claim(other, attempt.attempt_id)
            )
            assert renewed is (taken is None)
            holder = attempt if renewed else other
            assert (await state_of(store)).attempt_id == holder.attempt_id
            await store.refreshes.release(holder)

    async def test_a_renewal_for_an_account_that_is_gone_creates_nothing(self, store: Store, vault: TokenVault) -> None:
        attempt = await claimed(store)
        await vault.erase_tenant(ACCOUNT.tenant_id)
        assert not await store.refreshes.renew(attempt, LEASE)
        assert (await store.accounts.get(ACCOUNT))[0] is None

    async def test_an_answer_is_committed_after_renewals(self, store: Store, clock: ManualClock) -> None:
        attempt = await claimed(store)
        clock.advance(LEASE - SECOND)
        await store.refreshes.renew(attempt, LEASE)
        clock.advance(LEASE - SECOND)
        await store.refreshes.commit(attempt, await answer(store), actor=None)
        record, _ = await store.accounts.get(ACCOUNT)
        assert record is not None
        assert TokenRef.of(record.tokens[REFRESH.kind]) != attempt.credential
        assert record.tokens[ACCESS.kind].generation == 2
        assert record.refresh.lease_until is None
