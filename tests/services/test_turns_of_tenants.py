"""Tenants whose attempts wait for the same provider take turns, in virtual time."""

import asyncio

import pytest
from tests.services.conftest import HOUR, answer
from tests.services.fakes import Crowded, LimitedTasks, settle

from vault_adapters import Account, ProviderConfigurationError


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
