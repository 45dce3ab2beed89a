"""The schedule of sweeps: how each mutation changes `due_at`."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest
from attrs import evolve

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import ACCESS, ACCOUNT, REFRESH, ContractFixtures, import_sealed
from vault_adapters.testing.contract.refreshing import (
    HOUR,
    LEAD,
    LEASE,
    MINUTE,
    SECOND,
    answer,
    claimed,
    due_at,
)
from vault_domain.entities.account import TokenKey, TokenKind
from vault_domain.entities.attempt import CommitOutcome, Failure
from vault_domain.entities.imported import ImportedToken
from vault_domain.entities.refresh_state import AccountRecord
from vault_domain.entities.secret import Secret
from vault_domain.facade.vault import TokenVault

NO_TIME = timedelta(0)
WRITES = ["store", "expected", "many", "store_set", "import"]


async def write_value(
    store: Store,
    how: str,
    key: TokenKey = ACCESS,
    lifetime: timedelta | None = None,
    due_in: timedelta | None = None,
) -> None:
    """Store a value in the way ``how``, one of `WRITES`."""
    [write] = await answer(store, keys=[key], lifetime=lifetime)
    write = evolve(write, due_in=due_in)
    if how == "store":
        await store.tokens.store([write], actor=None)
    elif how == "expected":
        row = (await store.tokens.get(key)).row
        generation = 0 if row is None else row.info.generation
        await store.changes.store_expecting(write, generation, actor=None)
    elif how == "many":
        others = [evolve(write, key=evolve(key, identifier=f"other {number}"), value_id=None) for number in range(20)]
        await store.tokens.store([*others, write], actor=None)
    elif how == "store_set":
        await store.changes.store_set(ACCOUNT, [write], label=None, actor=None)
    else:
        now = (await store.tokens.get(key)).now
        token = ImportedToken(key, Secret("v"), expires_at=None if lifetime is None else now + lifetime)
        await import_sealed(store, [token.seal(write.sealed, write.lead, due_in)])


class ScheduleCases(ContractFixtures, given=("data_key",)):
    """`due_at` after each mutation, and `RefreshLedger.reschedule`."""

    @pytest.fixture
    async def data_key(self, vault: TokenVault) -> None:
        """Give the tenant a data key by storing a value."""
        await vault.store_token(ACCOUNT.key(TokenKind.WEBHOOK_SECRET), "v")

    @pytest.mark.parametrize("how", WRITES)
    async def test_an_access_token_is_due_before_its_expiry(self, store: Store, clock: ManualClock, how: str) -> None:
        await write_value(store, how, lifetime=HOUR)
        assert await due_at(store) == clock.now() + HOUR - LEAD

    @pytest.mark.parametrize("how", WRITES)
    @pytest.mark.parametrize("lifetime", [None, 3 * HOUR, HOUR])
    async def test_an_access_token_may_be_due_before_its_expiry_comes_near(
        self, store: Store, clock: ManualClock, how: str, lifetime: timedelta | None
    ) -> None:
        await write_value(store, how, lifetime=lifetime, due_in=2 * HOUR)
        assert await due_at(store) == clock.now() + (HOUR - LEAD if lifetime == HOUR else 2 * HOUR)

    @pytest.mark.parametrize("field", ["last_refreshed_at", "created_at"])
    async def test_an_imported_access_token_counts_its_idle_time_from_its_last_refresh(
        self, store: Store, clock: ManualClock, field: str
    ) -> None:
        [write] = await answer(store, keys=[ACCESS])
        [other] = await answer(store, keys=[evolve(ACCESS, provider="other")])
        past: dict[str, Any] = {"created_at": clock.now() - 4 * HOUR} | {field: clock.now() - HOUR}
        batch = [
            ImportedToken(each.key, Secret("v"), **past).seal(each.sealed, each.lead, due_in)
            for each, due_in in ((write, 3 * HOUR), (other, None))
        ]
        await import_sealed(store, batch, overwrite=False)
        assert await due_at(store) == clock.now() + 2 * HOUR
        assert await due_at(store, other.key.account) is None

    @pytest.mark.parametrize("had_access", [True, False])
    async def test_a_committed_access_token_may_be_due_before_its_expiry_comes_near(
        self, store: Store, clock: ManualClock, had_access: bool
    ) -> None:
        await store.tokens.store(await answer(store, keys=[ACCESS, REFRESH] if had_access else [REFRESH]), actor=None)
        attempt = await claimed(store)
        writes = await answer(store, 2, lifetime=None)
        await store.refreshes.commit(attempt, [evolve(write, due_in=HOUR) for write in writes], actor=None)
        assert await due_at(store) == clock.now() + HOUR

    @pytest.mark.parametrize("how", WRITES)
    async def test_an_earlier_due_time_is_not_put_off(self, store: Store, clock: ManualClock, how: str) -> None:
        await write_value(store, "store", lifetime=HOUR)
        await write_value(store, how, lifetime=2 * HOUR)
        assert await due_at(store) == clock.now() + HOUR - LEAD

    @pytest.mark.parametrize("how", WRITES)
    async def test_a_first_access_token_does_not_put_off_the_due_time(
        self, store: Store, clock: ManualClock, how: str
    ) -> None:
        await write_value(store, "store", lifetime=HOUR)
        await store.changes.delete_token(ACCESS, actor=None)
        await store.refreshes.reschedule(ACCOUNT, lambda record, now: now + HOUR - LEAD)
        await write_value(store, how, lifetime=2 * HOUR)
        assert await due_at(store) == clock.now() + HOUR - LEAD

    @pytest.mark.parametrize("how", WRITES)
    async def test_a_later_due_time_is_brought_forward(self, store: Store, clock: ManualClock, how: str) -> None:
        await write_value(store, "store", lifetime=2 * HOUR)
        await write_value(store, how, lifetime=HOUR)
        assert await due_at(store) == clock.now() + HOUR - LEAD

    @pytest.mark.parametrize("how", WRITES)
    async def test_an_account_whose_tokens_never_had_an_expiry_is_not_due(self, store: Store, how: str) -> None:
        await write_value(store, how, lifetime=None)
        assert await due_at(store) is None

    @pytest.mark.parametrize("how", WRITES)
    @pytest.mark.parametrize("had", ["future", "never"])
    async def test_a_refresh_token_makes_an_account_due_now_if_it_ever_had_a_due_time(
        self, store: Store, clock: ManualClock, had: str, how: str
    ) -> None:
        await write_value(store, "store", lifetime=HOUR)
        for _ in ("first", "replaced"):
            await store.refreshes.reschedule(ACCOUNT, lambda record, now: now + HOUR if had == "future" else None)
            clock.advance(SECOND)
            await write_value(store, how, REFRESH)
            assert await due_at(store) == clock.now()

    async def test_a_value_does_not_put_off_an_account_that_is_due(self, store: Store, clock: ManualClock) -> None:
        await write_value(store, "store", lifetime=MINUTE)
        due = clock.now() + MINUTE - LEAD
        clock.advance(HOUR)
        await store.tokens.store(await answer(store, keys=[REFRESH]), actor=None)
        assert await due_at(store) == due

    async def test_tokens_of_many_accounts_are_scheduled_each_for_itself(
        self, store: Store, clock: ManualClock
    ) -> None:
        [write] = await answer(store, keys=[ACCESS])
        accounts = [evolve(ACCOUNT, identifier=f"{number}") for number in range(5)]
        await store.tokens.store(
            [
                evolve(write, key=account.key(TokenKind.ACCESS_TOKEN), value_id=None, lifetime=(number + 1) * HOUR)
                for number, account in enumerate(accounts)
            ],
            actor=None,
        )
        found, _ = await store.refreshes.reserve_due(
            "google", hold=HOUR, limit=100, since=None, until=clock.now() + 24 * HOUR
        )
        due = {each.account: each.due_at for each in found}
        assert due == {account: clock.now() + (number + 1) * HOUR - LEAD for number, account in enumerate(accounts)}

    async def test_a_claimed_account_is_due_at_the_end_of_the_lease(self, store: Store, clock: ManualClock) -> None:
        await _scheduled(store)
        await claimed(store)
        assert await due_at(store) == clock.now() + LEASE

    @pytest.mark.parametrize("ending", ["release", "reject", "moved"])
    async def test_an_account_is_due_now_after_an_attempt_without_new_tokens(
        self, store: Store, vault: TokenVault, clock: ManualClock, ending: str
    ) -> None:
        await _scheduled(store)
        attempt = await claimed(store)
        clock.advance(SECOND)
        if ending == "release":
            await store.refreshes.release(attempt)
        elif ending == "reject":
            await store.refreshes.reject(attempt, "invalid_grant", actor=None)
        else:
            await vault.store_token(REFRESH, "another")
            await store.refreshes.reschedule(ACCOUNT, lambda record, now: now + HOUR)
            await store.refreshes.commit(attempt, await answer(store), actor=None)
        assert await due_at(store) == clock.now()

    async def test_a_failure_makes_the_account_due_at_the_next_attempt(self, store: Store, clock: ManualClock) -> None:
        await _scheduled(store)
        await store.refreshes.fail(await claimed(store), Failure(None, 90 * SECOND, unknown=True))
        assert await due_at(store) == clock.now() + 90 * SECOND

    async def test_a_failure_does_not_put_off_an_account_that_got_a_value_during_the_attempt(
        self, store: Store, vault: TokenVault, clock: ManualClock
    ) -> None:
        await _scheduled(store)
        attempt = await claimed(store)
        clock.advance(SECOND)
        await vault.store_token(REFRESH, "another")
        stored_at = clock.now()
        clock.advance(SECOND)
        await store.refreshes.fail(attempt, Failure(None, HOUR, unknown=False))
        assert await due_at(store) == stored_at

    async def test_a_failure_makes_the_account_due_no_later_than_the_next_attempt(
        self, store: Store, vault: TokenVault, clock: ManualClock
    ) -> None:
        await _scheduled(store)
        attempt = await claimed(store)
        await store.refreshes.reschedule(ACCOUNT, lambda record, now: now + 2 * HOUR)
        await store.refreshes.fail(attempt, Failure(None, HOUR, unknown=False))
        assert await due_at(store) == clock.now() + HOUR

    async def test_the_end_of_an_attempt_that_is_not_the_latest_changes_no_due_time(
        self, store: Store, clock: ManualClock
    ) -> None:
        await _scheduled(store)
        late = await claimed(store)
        clock.advance(LEASE)
        await claimed(store)
        await store.refreshes.fail(late, Failure(None, SECOND, unknown=True))
        await store.refreshes.release(late)
        assert await due_at(store) == clock.now() + LEASE

    @pytest.mark.parametrize("lifetime", [HOUR, 3 * HOUR, None])
    async def test_a_commit_makes_the_account_due_before_the_new_access_token_expires(
        self, store: Store, clock: ManualClock, lifetime: timedelta | None
    ) -> None:
        await _scheduled(store)
        attempt = await claimed(store)
        clock.advance(SECOND)
        await store.refreshes.commit(attempt, await answer(store, lifetime=lifetime), actor=None)
        assert await due_at(store) == (None if lifetime is None else clock.now() + lifetime - LEAD)

    @pytest.mark.parametrize("moved", [False, True])
    async def test_a_commit_that_stores_no_access_token_makes_the_account_due_now(
        self, store: Store, vault: TokenVault, clock: ManualClock, moved: bool
    ) -> None:
        await _scheduled(store)
        attempt = await claimed(store)
        writes = await answer(store, keys=[ACCESS, REFRESH] if moved else [REFRESH])
        if moved:
            await vault.store_token(ACCESS, "theirs")
            await store.refreshes.reschedule(ACCOUNT, lambda record, now: now + HOUR)
        clock.advance(SECOND)
        await store.refreshes.commit(attempt, writes, actor=None)
        assert await due_at(store) == clock.now()

    async def test_a_commit_that_stores_nothing_makes_the_account_due_now(
        self, store: Store, vault: TokenVault, clock: ManualClock
    ) -> None:
        """This commit stores no value that could make the account due, so the end of the attempt must do it."""
        await _scheduled(store)
        attempt = await claimed(store)
        writes = await answer(store, keys=[ACCESS])
        await vault.store_token(ACCESS, "theirs")
        await store.refreshes.reschedule(ACCOUNT, lambda record, now: now + HOUR)
        clock.advance(SECOND)
        change = await store.refreshes.commit(attempt, writes, actor=None)
        assert change.result.outcome is CommitOutcome.ACCESS_MOVED
        assert await due_at(store) == clock.now()

    async def test_a_commit_whose_access_token_has_no_lead_makes_the_account_due_now(
        self, store: Store, clock: ManualClock
    ) -> None:
        """An answer from the journal has no lead, so the next sweep computes the account's due time."""
        await _scheduled(store)
        attempt = await claimed(store)
        clock.advance(SECOND)
        writes = [evolve(write, lead=None) for write in await answer(store)]
        await store.refreshes.commit(attempt, writes, actor=None)
        assert await due_at(store) == clock.now()

    @pytest.mark.parametrize("how", ["delete_account", "delete_provider", "last_token", "erase"])
    async def test_an_account_that_is_gone_is_not_due(self, store: Store, vault: TokenVault, how: str) -> None:
        await _scheduled(store)
        if how == "delete_account":
            await vault.delete_account(ACCOUNT)
        elif how == "delete_provider":
            await vault.delete_provider_tokens(ACCOUNT.tenant_id, ACCOUNT.provider)
        elif how == "erase":
            await vault.erase_tenant(ACCOUNT.tenant_id)
        else:
            for kind in TokenKind:
                await vault.delete_token(ACCOUNT.key(kind))
        assert await due_at(store) is None

    @pytest.mark.parametrize("wanted", [NO_TIME, HOUR, None])
    async def test_the_time_that_the_judge_returns_is_stored(
        self, store: Store, clock: ManualClock, wanted: timedelta | None
    ) -> None:
        await _scheduled(store)
        before, _ = await store.accounts.get(ACCOUNT)
        seen: list[tuple[AccountRecord | None, datetime]] = []

        def judge(record: AccountRecord | None, now: datetime) -> datetime | None:
            seen.append((record, now))
            return None if wanted is None else now + wanted

        await store.refreshes.reschedule(ACCOUNT, judge)
        assert seen == [(before, clock.now())]
        assert await due_at(store) == (None if wanted is None else clock.now() + wanted)
        after, _ = await store.accounts.get(ACCOUNT)
        assert after == before

    async def test_rescheduling_a_deleted_account_does_not_create_it(self, store: Store, vault: TokenVault) -> None:
        await _scheduled(store)
        await vault.delete_account(ACCOUNT)
        await store.refreshes.reschedule(ACCOUNT, lambda record, now: now)
        assert await due_at(store) is None

    async def test_no_mutation_comes_between_the_read_for_the_judge_and_the_write_of_its_answer(
        self, store: Store, clock: ManualClock
    ) -> None:
        """If a short-lived token replaces a long-lived one during `reschedule`, the short-lived one sets `due_at`."""
        now = clock.now()

        def judge(record: AccountRecord | None, now: datetime) -> datetime | None:
            info = None if record is None else record.tokens.get(TokenKind.ACCESS_TOKEN)
            return None if info is None or info.expires_at is None else info.expires_at - LEAD

        for _ in range(10):
            await store.refreshes.reschedule(ACCOUNT, lambda record, now: None)
            await write_value(store, "store", lifetime=3 * HOUR)
            await asyncio.gather(
                *(store.refreshes.reschedule(ACCOUNT, judge) for _ in range(3)),
                write_value(store, "store", lifetime=HOUR),
                *(store.refreshes.reschedule(ACCOUNT, judge) for _ in range(3)),
            )
            assert await due_at(store) == now + HOUR - LEAD


async def _scheduled(store: Store) -> None:
    """Store an account that is due in an hour."""
    await store.tokens.store(await answer(store, lifetime=HOUR + LEAD), actor=None)
