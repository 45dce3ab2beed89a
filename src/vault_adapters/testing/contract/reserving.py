"""Test cases: `Accounts.reserve_due` takes due accounts for a sweep."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import ContractFixtures, attempts_of
from vault_adapters.testing.contract.refreshing import HOUR, MINUTE, SECOND, claimed, state_of, token_set
from vault_domain.entities.account import Account
from vault_domain.facade.vault import TokenVault
from vault_domain.ports.accounts import DueAccount

NO_TIME = timedelta(0)


class ReserveCases(ContractFixtures):
    """`Accounts.reserve_due`."""

    @pytest.fixture
    async def accounts(self, vault: TokenVault, clock: ManualClock) -> list[Account]:
        """Store six accounts of two tenants, each due half a minute after the one before it; the first is due now."""
        accounts = [Account(f"t{number % 2}", "google", f"{number}") for number in range(6)]
        for number, account in reversed(list(enumerate(accounts))):
            await vault.store_token_set(account, token_set(lifetime=(10 + number) * MINUTE))
        clock.advance(5 * MINUTE)  # half of the lifetime of the first account's access token
        return accounts

    async def test_what_is_due_comes_soonest_first(
        self, store: Store, clock: ManualClock, accounts: list[Account]
    ) -> None:
        start = clock.now()
        assert await _take(store, clock) == [DueAccount(accounts[0], start)]
        clock.advance(20 * MINUTE)
        due, now = await store.accounts.reserve_due("google", hold=HOUR, limit=100, since=None, until=None)
        assert now == clock.now()
        assert [each.account for each in due] == accounts[1:]
        assert [each.due_at for each in due] == sorted(each.due_at for each in due)

    async def test_each_call_takes_the_next_accounts_up_to_its_limit(
        self, store: Store, clock: ManualClock, accounts: list[Account]
    ) -> None:
        clock.advance(HOUR)
        taken = [[each.account for each in await _take(store, clock, limit=limit)] for limit in (1, 3, 100)]
        assert taken == [accounts[:1], accounts[1:4], accounts[4:]]

    async def test_what_was_taken_is_due_again_after_the_hold(
        self, store: Store, clock: ManualClock, accounts: list[Account]
    ) -> None:
        clock.advance(HOUR)
        assert len(await _take(store, clock, hold=MINUTE)) == 6
        clock.advance(MINUTE - SECOND)
        assert await _take(store, clock) == []
        clock.advance(SECOND)
        assert {each.account for each in await _take(store, clock)} == set(accounts)

    async def test_taking_is_no_lease(self, store: Store, clock: ManualClock, accounts: list[Account]) -> None:
        await _take(store, clock)
        assert (await state_of(store, accounts[0])).lease_until is None
        await claimed(store, accounts[0])

    async def test_since_and_until_are_inclusive(
        self, store: Store, clock: ManualClock, accounts: list[Account]
    ) -> None:
        clock.advance(HOUR)
        due = await _take(store, clock, hold=NO_TIME)
        times = {each.account: each.due_at for each in due}
        for account, moment in times.items():
            # The default argument binds this round's moment.
            await attempts_of(store).reschedule(account, lambda record, now, moment=moment: moment)  # type: ignore[misc]
        found = await _take(store, clock, since=times[accounts[2]], until=times[accounts[4]])
        assert [each.account for each in found] == accounts[2:5]

    async def test_until_may_lie_in_the_past_and_in_the_future(
        self, store: Store, clock: ManualClock, accounts: list[Account]
    ) -> None:
        assert await _take(store, clock, until=clock.now() - SECOND) == []
        assert [each.account for each in await _take(store, clock, until=clock.now() + HOUR)] == accounts

    async def test_another_provider_is_not_touched(
        self, store: Store, vault: TokenVault, clock: ManualClock, accounts: list[Account]
    ) -> None:
        other = Account("t1", "github", "other")
        await vault.store_token_set(other, token_set(lifetime=MINUTE))  # due before most of the accounts at google
        clock.advance(HOUR)
        assert [each.account for each in await _take(store, clock, limit=len(accounts))] == accounts
        due, now = await store.accounts.reserve_due("nobody", hold=HOUR, limit=100, since=None, until=None)
        assert (due, now) == ([], clock.now())
        due, _ = await store.accounts.reserve_due("github", hold=HOUR, limit=100, since=None, until=None)
        assert [each.account for each in due] == [other]

    async def test_concurrent_calls_take_each_account_once(
        self, store: Store, clock: ManualClock, accounts: list[Account]
    ) -> None:
        clock.advance(HOUR)
        taken: list[Account] = []
        for _ in range(6):  # accounts that another call is taking may be skipped
            batches = await asyncio.gather(*(_take(store, clock, limit=2) for _ in range(6)))
            taken += [each.account for batch in batches for each in batch]
        assert sorted(taken, key=repr) == sorted(accounts, key=repr)


async def _take(
    store: Store,
    clock: ManualClock,
    *,
    hold: timedelta = HOUR,
    limit: int = 100,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[DueAccount]:
    due, now = await store.accounts.reserve_due("google", hold=hold, limit=limit, since=since, until=until)
    assert now == clock.now()
    return due
