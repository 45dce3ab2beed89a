"""Refreshes and schedules where a store can get them wrong: several writers, many accounts at once, and erasure.

What becomes of an account when nothing else happens meanwhile is in `FactCases`.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest
from attrs import evolve

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import (
    ACCESS,
    ACCOUNT,
    REFRESH,
    ContractFixtures,
    attempts_of,
    events_of,
    import_sealed,
    tokens_of,
)
from vault_adapters.testing.contract.refreshing import (
    HOUR,
    LEAD,
    LEASE,
    MINUTE,
    SECOND,
    answer,
    claimed,
    due_at,
    schedule_of,
    state_of,
    token_set,
    unclaimed,
)
from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.attempt import Commit, CommitOutcome, Failure
from vault_domain.entities.imported import ImportedToken
from vault_domain.entities.refresh_state import AccountRecord, RefreshState
from vault_domain.entities.secret import Secret
from vault_domain.facade.vault import TokenVault
from vault_domain.ports.change import DataKeyInactiveError
from vault_domain.ports.late_writes import LateWrites


class AttemptCases(ContractFixtures, given=("stored_account",)):
    """`AttemptLedger` over the store, and `due_at` after many values were stored."""

    async def test_of_many_concurrent_claims_one_wins(self, store: Store, clock: ManualClock) -> None:
        seen = None
        for _ in range(3):
            attempts = [await unclaimed(store) for _ in range(12)]
            times = await asyncio.gather(*(attempts_of(store).claim(attempt, seen) for attempt in attempts))
            winners = [attempt.attempt_id for attempt, at in zip(attempts, times, strict=True) if at is not None]
            assert winners == [(await state_of(store)).attempt_id]
            [seen] = winners
            clock.advance(LEASE)

    async def test_of_a_renewal_and_a_claim_at_the_end_of_the_lease_one_wins(
        self, store: Store, clock: ManualClock
    ) -> None:
        for _ in range(5):
            attempt = await claimed(store)
            clock.advance(LEASE)
            other = await unclaimed(store)
            renewed, taken = await asyncio.gather(
                attempts_of(store).renew(attempt, LEASE),
                attempts_of(store).claim(other, attempt.attempt_id),
            )
            assert renewed is (taken is None)
            holder = attempt if renewed else other
            assert (await state_of(store)).attempt_id == holder.attempt_id
            await attempts_of(store).release(holder)

    async def test_no_mutation_comes_between_the_read_for_the_judge_and_the_write_of_its_answer(
        self, store: Store, clock: ManualClock
    ) -> None:
        """If a short-lived token replaces a long-lived one during `reschedule`, the short-lived one sets `due_at`."""
        now = clock.now()

        def judge(record: AccountRecord | None, now: datetime) -> datetime | None:
            info = None if record is None else record.tokens.get(TokenKind.ACCESS_TOKEN)
            return None if info is None or info.expires_at is None else info.expires_at - LEAD

        for _ in range(10):
            await attempts_of(store).reschedule(ACCOUNT, lambda record, now: None)
            await store.accounts.store(await answer(store, keys=[ACCESS], lifetime=3 * HOUR), actor=None)
            short_lived = await answer(store, keys=[ACCESS], lifetime=HOUR)
            await asyncio.gather(
                *(attempts_of(store).reschedule(ACCOUNT, judge) for _ in range(3)),
                store.accounts.store(short_lived, actor=None),
                *(attempts_of(store).reschedule(ACCOUNT, judge) for _ in range(3)),
            )
            assert await due_at(store) == now + HOUR - LEAD

    async def test_under_a_data_key_that_is_not_active_nothing_happens(self, store: Store, vault: TokenVault) -> None:
        attempt, writes = await claimed(store), await answer(store)
        await vault.keys.rotate_data_key(ACCOUNT.tenant_id)
        before, state = await tokens_of(vault), await state_of(store)
        with pytest.raises(DataKeyInactiveError):
            await attempts_of(store).commit(attempt, writes, actor=None)
        assert (await tokens_of(vault), await state_of(store)) == (before, state)
        change = await attempts_of(store).commit(attempt, await answer(store), actor=None)
        assert change.result.outcome is CommitOutcome.WRITTEN

    async def test_a_tenant_erased_after_the_claim_stays_erased(self, store: Store, vault: TokenVault) -> None:
        attempt, writes = await claimed(store), await answer(store)
        await vault.erase_tenant(ACCOUNT.tenant_id)
        events = await events_of(vault)
        try:
            change = await attempts_of(store).commit(attempt, writes, actor=None)
        except DataKeyInactiveError:
            pass  # either result is right, because both the data key and the credential are gone
        else:
            assert (change.result, tuple(change.events)) == (Commit(CommitOutcome.CREDENTIAL_MOVED), ())
        await attempts_of(store).fail(attempt, Failure("server_error", SECOND, unknown=True))
        await attempts_of(store).release(attempt)
        assert not await attempts_of(store).renew(attempt, LEASE)
        assert (await attempts_of(store).reject(attempt, "invalid_grant", actor=None)).result is False
        assert await tokens_of(vault) == {}
        assert await store.keys.data_key(ACCOUNT.tenant_id, None) is None
        assert await events_of(vault) == events
        assert await due_at(store) is None
        await vault.store_token_set(ACCOUNT, token_set())
        assert await state_of(store) == RefreshState()

    @pytest.mark.parametrize("gone", ["provider", "tenant"])
    async def test_an_account_that_is_gone_is_not_due(self, store: Store, vault: TokenVault, gone: str) -> None:
        await store.accounts.store(await answer(store), actor=None)
        assert await due_at(store) is not None
        if gone == "provider":
            await vault.delete_provider_tokens(ACCOUNT.tenant_id, ACCOUNT.provider)
        else:
            await vault.erase_tenant(ACCOUNT.tenant_id)
        assert await due_at(store) is None
        await attempts_of(store).reschedule(ACCOUNT, lambda record, now: now)
        assert await due_at(store) is None

    @pytest.mark.parametrize("order", [[ACCESS.kind, REFRESH.kind], [REFRESH.kind, ACCESS.kind]], ids=["ar", "ra"])
    @pytest.mark.parametrize("how", ["store", "store late", "import"])
    async def test_many_values_schedule_each_account_for_itself(
        self, store: Store, clock: ManualClock, how: str, order: list[TokenKind]
    ) -> None:
        """An access token decides, whatever stands beside it; no later value puts an account off."""
        accounts = [evolve(ACCOUNT, identifier=f"{number}") for number in range(5)]
        for factor, decides in ((2, 2), (3, 2), (1, 1)):
            await _store_many(store, clock, how, order, dict.fromkeys(accounts[:-1], factor * HOUR))
            expected = clock.now() + decides * HOUR - LEAD
            assert {each: due_at for each, due_at in (await schedule_of(store)).items() if each != ACCOUNT} == (
                dict.fromkeys(accounts[:-1], expected)
            )
        await _store_many(store, clock, how, order, {each: (2 + n) * MINUTE + LEAD for n, each in enumerate(accounts)})
        due, _ = await store.accounts.reserve_due(
            ACCOUNT.provider, hold=HOUR, limit=5, since=None, until=clock.now() + 7 * MINUTE
        )
        assert [(each.account, each.due_at - clock.now()) for each in due] == [
            (each, (2 + number) * MINUTE) for number, each in enumerate(accounts)
        ]


async def _store_many(
    store: Store, clock: ManualClock, how: str, order: list[TokenKind], lifetimes: dict[Account, timedelta]
) -> None:
    """Store an access token that lasts so long, and a refresh token that lapses unused, for each account."""
    writes = [
        evolve(write, due_in=timedelta(days=1) if write.key.kind is REFRESH.kind else None, value_id=None)
        for account, lifetime in lifetimes.items()
        for write in await answer(store, keys=[account.key(kind) for kind in order], lifetime=lifetime)
    ]
    if how == "store":
        await store.accounts.store(writes, actor=None)
    elif how == "store late":
        await store.accounts.store(LateWrites.of(writes), actor=None)
    else:
        ends = [None if write.lifetime is None else clock.now() + write.lifetime for write in writes]
        rows = [ImportedToken(write.key, Secret("v"), expires_at=end) for write, end in zip(writes, ends, strict=True)]
        sealed = [row.seal(each.sealed, each.lead, each.due_in) for row, each in zip(rows, writes, strict=True)]
        await import_sealed(store, sealed)
