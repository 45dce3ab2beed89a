"""The schedule of sweeps: how each mutation changes `due_at`."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest
from attrs import evolve

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import ACCESS, ACCOUNT, REFRESH, ContractFixtures
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
from vault_domain.entities.imported import ImportedToken
from vault_domain.entities.refresh_state import AccountRecord
from vault_domain.entities.secret import Secret
from vault_domain.facade.vault import TokenVault
from vault_domain.ports.refresh_ledger import Failure

NO_TIME = timedelta(0)
WRITES = ["store", "expected", "many", "store_set", "import"]


async def _write(store: Store, how: str, key: TokenKey = ACCESS, lifetime: timedelta | None = None) -> None:
    """Store a value by the method that ``how`` names."""
    [write] = await answer(store, keys=[key], lifetime=lifetime)
    if how == "store":
        await store.tokens.store([write], actor=None)
    elif how == "expected":
        row = (await store.tokens.get(key)).row
        generation = 0 if row is None else row.info.generation
        await store.tokens.store([write], actor=None, expected_generation=generation)
    elif how == "many":
        others = [evolve(write, key=evolve(key, identifier=f"other {number}")) for number in range(20)]
        await store.tokens.store([*others, write], actor=None)
    elif how == "store_set":
        await store.accounts.store_set(ACCOUNT, [write], label=None, actor=None)
    else:
        now = (await store.tokens.get(key)).now
        token = ImportedToken(key, Secret("v"), expires_at=None if lifetime is None else now + lifetime)
        await store.imports.begin(None).write([token.seal(write.sealed, write.lead)], overwrite=True, actor=None)


class ScheduleCases(ContractFixtures, given=("data_key",)):
    """`due_at` after each mutation, and `RefreshLedger.reschedule`."""

    @pytest.fixture
    async def data_key(self, vault: TokenVault) -> None:
        """Let the tenant have a data key."""
        await vault.store_token(ACCOUNT.key(TokenKind.WEBHOOK_SECRET), "v")

    @pytest.mark.parametrize("how", WRITES)
    async def test_an_access_token_is_due_before_its_end(self, store: Store, clock: ManualClock, how: str) -> None:
        await _write(store, how, lifetime=HOUR)
        assert await due_at(store) == clock.now() + HOUR - LEAD

    @pytest.mark.parametrize("how", WRITES)
    async def test_a_time_that_is_earlier_already_stays(self, store: Store, clock: ManualClock, how: str) -> None:
        await _write(store, "store", lifetime=HOUR)
        await _write(store, how, lifetime=2 * HOUR)
        assert await due_at(store) == clock.now() + HOUR - LEAD

    @pytest.mark.parametrize("how", WRITES)
    async def test_a_first_access_token_does_not_put_off_a_time(
        self, store: Store, clock: ManualClock, how: str
    ) -> None:
        await _write(store, "store", lifetime=HOUR)
        await store.tokens.delete(ACCESS, actor=None)
        await _write(store, how, lifetime=2 * HOUR)
        assert await due_at(store) == clock.now() + HOUR - LEAD

    @pytest.mark.parametrize("how", WRITES)
    async def test_a_time_that_is_later_is_brought_forward(self, store: Store, clock: ManualClock, how: str) -> None:
        await _write(store, "store", lifetime=2 * HOUR)
        await _write(store, how, lifetime=HOUR)
        assert await due_at(store) == clock.now() + HOUR - LEAD

    @pytest.mark.parametrize("how", WRITES)
    async def test_an_account_that_never_had_a_time_is_not_due(self, store: Store, how: str) -> None:
        await _write(store, how, lifetime=None)
        assert await due_at(store) is None

    @pytest.mark.parametrize("how", WRITES)
    @pytest.mark.parametrize("had", ["future", "never"])
    async def test_any_other_value_wakes_an_account_that_has_or_had_a_time(
        self, store: Store, clock: ManualClock, had: str, how: str
    ) -> None:
        await _write(store, "store", lifetime=HOUR)
        for _ in ("first", "replaced"):
            await store.refreshes.reschedule(ACCOUNT, lambda record, now: now + HOUR if had == "future" else None)
            clock.advance(SECOND)
            await _write(store, how, REFRESH)
            assert await due_at(store) == clock.now()

    async def test_a_value_does_not_put_off_what_is_due(self, store: Store, clock: ManualClock) -> None:
        await _write(store, "store", lifetime=MINUTE)
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
                evolve(write, key=account.key(TokenKind.ACCESS_TOKEN), lifetime=(number + 1) * HOUR)
                for number, account in enumerate(accounts)
            ],
            actor=None,
        )
        found, _ = await store.refreshes.reserve_due(
            "google", hold=HOUR, limit=100, since=None, until=clock.now() + 24 * HOUR
        )
        due = {each.account: each.due_at for each in found}
        assert due == {account: clock.now() + (number + 1) * HOUR - LEAD for number, account in enumerate(accounts)}

    async def test_a_claim_is_due_at_the_end_of_its_lease(self, store: Store, clock: ManualClock) -> None:
        await _scheduled(store)
        await claimed(store)
        assert await due_at(store) == clock.now() + LEASE

    @pytest.mark.parametrize("ending", ["release", "reject", "moved"])
    async def test_an_attempt_that_ends_early_is_due_now(
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

    async def test_a_failure_is_due_at_the_next_attempt(self, store: Store, clock: ManualClock) -> None:
        await _scheduled(store)
        await store.refreshes.fail(await claimed(store), Failure(None, 90 * SECOND, unknown=True))
        assert await due_at(store) == clock.now() + 90 * SECOND

    async def test_a_failure_does_not_put_off_a_value_stored_during_the_attempt(
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

    async def test_a_failure_is_due_no_later_than_the_next_attempt(
        self, store: Store, vault: TokenVault, clock: ManualClock
    ) -> None:
        await _scheduled(store)
        attempt = await claimed(store)
        await store.refreshes.reschedule(ACCOUNT, lambda record, now: now + 2 * HOUR)
        await store.refreshes.fail(attempt, Failure(None, HOUR, unknown=False))
        assert await due_at(store) == clock.now() + HOUR

    async def test_the_end_of_an_attempt_that_is_not_the_latest_changes_no_time(
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
    async def test_a_commit_is_due_before_the_end_of_the_new_access_token(
        self, store: Store, clock: ManualClock, lifetime: timedelta | None
    ) -> None:
        await _scheduled(store)
        attempt = await claimed(store)
        clock.advance(SECOND)
        await store.refreshes.commit(attempt, await answer(store, lifetime=lifetime), actor=None)
        assert await due_at(store) == (None if lifetime is None else clock.now() + lifetime - LEAD)

    @pytest.mark.parametrize("moved", [False, True])
    async def test_a_commit_without_an_access_token_is_due_now(
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
    async def test_what_the_judge_says_is_kept(
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

    async def test_rescheduling_an_account_that_is_gone_makes_none(self, store: Store, vault: TokenVault) -> None:
        await _scheduled(store)
        await vault.delete_account(ACCOUNT)
        await store.refreshes.reschedule(ACCOUNT, lambda record, now: now)
        assert await due_at(store) is None

    async def test_no_mutation_comes_between_what_the_judge_sees_and_what_is_kept(
        self, store: Store, clock: ManualClock
    ) -> None:
        """A shorter-lived token is stored while a longer-lived one is judged; in any order, the shorter one decides."""
        now = clock.now()

        def judge(record: AccountRecord | None, now: datetime) -> datetime | None:
            info = None if record is None else record.tokens.get(TokenKind.ACCESS_TOKEN)
            return None if info is None or info.expires_at is None else info.expires_at - LEAD

        for _ in range(10):
            await store.refreshes.reschedule(ACCOUNT, lambda record, now: None)
            await _write(store, "store", lifetime=3 * HOUR)
            await asyncio.gather(
                *(store.refreshes.reschedule(ACCOUNT, judge) for _ in range(3)),
                _write(store, "store", lifetime=HOUR),
                *(store.refreshes.reschedule(ACCOUNT, judge) for _ in range(3)),
            )
            assert await due_at(store) == now + HOUR - LEAD


async def _scheduled(store: Store) -> None:
    """Store an account that is due in an hour."""
    await store.tokens.store(await answer(store, lifetime=HOUR + LEAD), actor=None)
