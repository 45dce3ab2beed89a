"""Tenants whose attempts wait for the same provider take turns, in virtual time."""

import asyncio

import pytest
from attrs import evolve
from tests.services.conftest import HOUR, answer
from tests.services.fakes import Crowded, LimitedTasks, Obstructed, settle

from vault_adapters import Account, ProviderConfigurationError, StorageError


@pytest.fixture
async def shared(cases, refresher):
    """Give the use cases and their provider."""
    tasks = LimitedTasks(cases.clock)
    provider = Crowded(refresher, tasks, answer)
    return cases.over(refreshers={"google": provider}, tasks=tasks), provider


async def accounts_of(cases, tenant, count):
    """Store accounts of a tenant with valid access tokens."""
    accounts = [Account(tenant, "google", str(number)) for number in range(count)]
    for account in accounts:
        await cases.connect(account)
    return accounts


async def start(calls):
    """Start calls, and wait until they get no further."""
    started = [asyncio.ensure_future(call) for call in calls]
    await settle()
    return started


def forced(cases, accounts):
    return [cases.refreshing.refresh(account, actor=None) for account in accounts]


def ensured(cases, accounts):
    return [cases.refreshing.ensure(account, None, actor=None) for account in accounts]


def tenants(provider):
    return "".join(account.tenant_id for account in provider.accounts)


@pytest.mark.parametrize("calls", [forced, ensured])
async def test_a_tenant_with_many_accounts_leaves_room_at_a_provider_that_hangs(shared, calls):
    cases, provider = shared
    crowd, [single] = await accounts_of(cases, "a", 150), await accounts_of(cases, "b", 1)
    cases.clock.advance(HOUR)
    hanging = await start(calls(cases, crowd))
    assert tenants(provider) == "a" * 24
    [waiting] = await start(ensured(cases, [single]))
    assert tenants(provider) == "a" * 24 + "b"
    provider.waiting.pop().set()
    assert (await waiting).value.reveal() == "access-25"
    assert len(provider.waiting) == 24
    await provider.answer_all()
    await asyncio.gather(*hanging)
    assert (provider.most, provider.calls) == (25, 151)


@pytest.mark.parametrize("concurrency", [1, 2, 3])
async def test_one_attempt_of_another_tenant_goes_first_at_most(shared, concurrency):
    cases, provider = shared
    provider.concurrency = concurrency
    crowd, [single] = await accounts_of(cases, "a", 20), await accounts_of(cases, "b", 1)
    cases.clock.advance(HOUR)
    many = await start(forced(cases, crowd))
    one = await start(ensured(cases, [single]))
    assert tenants(provider) == "a" * concurrency
    await provider.answer_one()
    await provider.answer_one()
    assert tenants(provider) == "a" * concurrency + "ab"
    await provider.answer_one()
    assert tenants(provider) == "a" * concurrency + "aba"
    await provider.answer_all()
    await asyncio.gather(*many, *one)
    assert (provider.most, provider.calls) == (concurrency, 21)


async def test_tenants_alternate_and_the_calls_of_a_tenant_keep_their_order(shared):
    cases, provider = shared
    provider.concurrency = 1
    groups = [await accounts_of(cases, tenant, 4) for tenant in ("a", "b", "c")]
    cases.clock.advance(HOUR)
    calls = [call for group in groups for call in await start(ensured(cases, group))]
    await provider.answer_all()
    await asyncio.gather(*calls)
    assert tenants(provider) == "aabcabcabcbc"  # the first attempt began before the others waited
    for tenant in "abc":
        own = [account.identifier for account in provider.accounts if account.tenant_id == tenant]
        assert own == ["0", "1", "2", "3"]


@pytest.mark.parametrize(("concurrency", "share"), [(1, 1), (2, 2), (3, 3), (4, 3), (8, 6), (100, 24)])
async def test_a_single_tenant_is_served_with_any_limit(shared, concurrency, share):
    cases, provider = shared
    provider.concurrency = concurrency
    crowd = await accounts_of(cases, "a", 40)
    cases.clock.advance(HOUR)
    calls = await start(ensured(cases, crowd))
    await provider.answer_all()
    await asyncio.gather(*calls)
    assert (provider.most, provider.calls) == (share, 40)


async def test_a_sweep_of_one_tenant_keeps_its_pace_and_a_caller_takes_the_next_turn(shared):
    cases, provider = shared
    crowd, [single] = await accounts_of(cases, "a", 60), await accounts_of(cases, "b", 1)
    cases.clock.advance(HOUR)
    sweep = asyncio.ensure_future(cases.sweeping.sweep(None, None, actor=None))
    await settle()
    assert tenants(provider) == "a" * 10
    [caller] = await start(ensured(cases, [single]))
    assert tenants(provider) == "a" * 10 + "b"
    await provider.answer_all()
    await caller
    assert (await sweep).refreshed == len(crowd)


async def test_a_loop_of_refused_refreshes_takes_every_second_turn(cases, refresher):
    class Refusing(Crowded):
        async def refresh(self, request):
            await super().refresh(request)
            if request.account.tenant_id == "a":
                raise ProviderConfigurationError(reason="unauthorized_client")
            return answer(1)

    tasks = LimitedTasks(cases.clock)
    provider = Refusing(refresher, tasks, answer)
    provider.concurrency = 2
    cases = cases.over(refreshers={"google": provider}, tasks=tasks)
    bad, good = await accounts_of(cases, "a", 20), await accounts_of(cases, "b", 3)
    cases.clock.advance(HOUR)

    async def loop(account):
        for _ in range(5):
            with pytest.raises(ProviderConfigurationError):
                await cases.refreshing.refresh(account, actor=None)

    loops = await start(map(loop, bad))
    calls = await start(ensured(cases, good))
    for _ in range(6):
        await provider.answer_one()
    assert tenants(provider) == "aaababab"
    await provider.answer_all()
    await asyncio.gather(*loops, *calls)
    assert provider.calls == 5 * 20 + 3


class SlowToFail(Obstructed):
    """A ledger whose claims of some accounts fail after the whole time limit of the store."""

    def __init__(self, right, accounts):
        super().__init__(right, "claim")
        self._accounts, self.claims, self.fails = accounts, 0, asyncio.Event()

    def __getattr__(self, name):
        method = super().__getattr__(name)
        if name != "claim":
            return method

        async def claim(attempt, seen):
            self.claims += 1
            if attempt.account in self._accounts:
                await self.fails.wait()
                raise StorageError("away", retryable=True, reason="timeout")
            return await self._right.claim(attempt, seen)

        return claim


async def outage(shared, failing):
    """Let 40 callers take turns, while the claims of the first ``failing`` accounts fail slowly."""
    cases, provider = shared
    accounts = await accounts_of(cases, "t1", 40)
    cases.clock.advance(2 * HOUR)
    ledger = SlowToFail(cases.store.refreshes, accounts[:failing])
    cases = cases.over(store=evolve(cases.store, refreshes=ledger))
    calls = await start(cases.refreshing.ensure(account, None, actor=None) for account in accounts)
    await cases.tasks.sleep(5)
    ledger.fails.set()
    await settle()
    await provider.answer_all()
    ended = await asyncio.gather(*calls, return_exceptions=True)
    return ledger.claims, sum(isinstance(each, StorageError) for each in ended)


async def test_who_waited_while_the_store_took_no_claims_gets_its_error(shared):
    claims, failed = await outage(shared, 40)
    assert failed == 40
    assert claims <= 24 + 3  # one round of turns, and who began before the third claim had failed


async def test_a_few_locked_accounts_fail_nobody_else(shared):
    assert await outage(shared, 2) == (40, 2)


async def test_an_answer_that_is_being_stored_takes_no_turn(shared):
    cases, provider = shared
    accounts = await accounts_of(cases, "t1", 60)
    cases.clock.advance(2 * HOUR)
    hanging = asyncio.Event()
    ledger = Obstructed(cases.store.refreshes, "commit")
    ledger.obstruct = hanging.wait
    cases = cases.over(store=evolve(cases.store, refreshes=ledger))
    calls = await start(cases.refreshing.ensure(account, None, actor=None) for account in accounts)
    for _ in accounts:
        await provider.answer_one()  # each account was asked about, although no answer is stored yet
    hanging.set()
    assert len({(await call).value.reveal() for call in calls}) == len(accounts)
