"""What `ensure_access_token` returns or raises in each case, and the other two ways to refresh a token."""

import asyncio
from datetime import timedelta

import pytest
from tests.adapters.refresh.refresh_kit import (
    ACCOUNT,
    HOUR,
    MINUTE,
    SECOND,
    Gate,
    answer,
    failure,
    is_connected,
    store,
    stored,
)
from tests.support.databases import both_stores

from vault_adapters import (
    Account,
    AuditAction,
    ProviderConfigurationError,
    ReauthorizationRequiredError,
    RefreshFailedError,
    Rotation,
    TokenKind,
    TokenNotFoundError,
    TokenSet,
    open_vault,
)
from vault_adapters.testing import ScriptedRefresher

ACCESS, REFRESH = ACCOUNT.key(TokenKind.ACCESS_TOKEN), ACCOUNT.key(TokenKind.REFRESH_TOKEN)


def value(token):
    return token.value.reveal()


# The cases of `ensure_access_token`


async def test_a_fresh_token_needs_no_refresher(opened):
    vault = await opened()
    await store(vault)
    assert value(await vault.ensure_access_token(ACCOUNT)) == "access-0"


async def test_a_token_without_expiry_is_left_alone(opened, clock):
    refresher = ScriptedRefresher()
    vault = await opened(refresher)
    await store(vault, lifetime=None)
    clock.advance(timedelta(days=3650))
    assert value(await vault.ensure_access_token(ACCOUNT)) == "access-0"
    assert (await vault.refresh_due()).claimed == 0
    assert refresher.calls == []


async def test_inside_the_buffer_it_is_refreshed(opened, clock):
    refresher = ScriptedRefresher(answer(1))
    vault = await opened(refresher)
    await store(vault)
    clock.advance(55 * MINUTE - SECOND)
    assert value(await vault.ensure_access_token(ACCOUNT)) == "access-0"
    clock.advance(SECOND)
    token = await vault.ensure_access_token(ACCOUNT)
    assert value(token) == "access-1"
    assert token.info.expires_at == clock.now() + HOUR
    assert token.info.last_refreshed_at == clock.now()
    assert await stored(vault) == {"access_token": "access-1", "refresh_token": "refresh-1"}
    assert refresher.calls[0].spent("refresh-0")


@pytest.mark.parametrize(
    "error", [RefreshFailedError(), RefreshFailedError(outcome_unknown=True), ProviderConfigurationError(),
              ReauthorizationRequiredError(reason="invalid_grant"), ZeroDivisionError()]
)  # fmt: skip
async def test_inside_the_buffer_a_failure_gives_the_token_that_is_valid(opened, clock, error):
    refresher = ScriptedRefresher(error)
    vault = await opened(refresher)
    await store(vault)
    clock.advance(56 * MINUTE)
    for _ in range(3):
        assert value(await vault.ensure_access_token(ACCOUNT)) == "access-0"
    assert len(refresher.calls) == 1


@pytest.mark.parametrize("result", [ZeroDivisionError("refresh-0"), None], ids=repr)
async def test_what_a_refresher_must_not_do_leaves_the_outcome_unknown(sqlite_config, clock, result):
    """The refresher may have spent the credential before it broke its contract."""

    async def act(request):
        if result is not None:
            raise result

    async with open_vault(sqlite_config, refreshers={"acme": ScriptedRefresher(act)}, clock=clock) as vault:
        await store(vault)
        clock.advance(HOUR)
        error = await failure(vault.ensure_access_token(ACCOUNT))
        assert isinstance(error, RefreshFailedError)
        assert error.outcome_unknown
        assert "refresh-0" not in str(error)


async def test_inside_the_buffer_nobody_waits_for_another_process(opened, clock):
    gate = Gate(answer(1))
    holder, other = await opened(ScriptedRefresher(gate)), await opened(ScriptedRefresher())
    await store(holder)
    clock.advance(56 * MINUTE)
    refreshing = asyncio.create_task(holder.ensure_access_token(ACCOUNT))
    await gate.reached.wait()
    async with asyncio.timeout(5):
        assert value(await other.ensure_access_token(ACCOUNT)) == "access-0"
        assert value(await holder.ensure_access_token(ACCOUNT)) == "access-0"
    gate.open.set()
    assert value(await refreshing) == "access-1"


@both_stores
async def test_expired_and_held_elsewhere_waits_for_the_holder(opened, clock):
    gate = Gate(answer(1))
    holder, other = await opened(ScriptedRefresher(gate)), await opened(ScriptedRefresher())
    await store(holder)
    clock.advance(HOUR)
    calls = [asyncio.create_task(vault.ensure_access_token(ACCOUNT)) for vault in (holder, holder)]
    await gate.reached.wait()
    calls += [asyncio.create_task(vault.ensure_access_token(ACCOUNT)) for vault in (other, other, holder)]
    await asyncio.sleep(0.1)
    assert not any(call.done() for call in calls)
    gate.open.set()
    assert {value(token) for token in await asyncio.gather(*calls)} == {"access-1"}


@pytest.mark.parametrize("how", ["missing", "invalid"])
async def test_a_missing_or_invalid_access_token_is_refreshed(opened, how):
    vault = await opened(ScriptedRefresher(answer(1)))
    await store(vault)
    if how == "missing":
        await vault.delete_token(ACCESS)
    else:
        await vault.mark_token_invalid(await vault.get_token(ACCESS), "invalid_token")
    assert value(await vault.ensure_access_token(ACCOUNT)) == "access-1"
    assert await is_connected(vault)


async def test_without_a_refresher_it_says_so(opened, clock):
    vault = await opened()
    await store(vault)
    clock.advance(59 * MINUTE)
    assert value(await vault.ensure_access_token(ACCOUNT)) == "access-0"
    clock.advance(MINUTE)
    error = await failure(vault.ensure_access_token(ACCOUNT))
    assert isinstance(error, ProviderConfigurationError)
    assert error.account == ACCOUNT


async def test_a_dead_refresh_token_beside_a_good_access_token(opened):
    refresher = ScriptedRefresher()
    vault = await opened(refresher)
    await store(vault)
    await vault.mark_token_invalid(await vault.get_token(REFRESH), "invalid_grant")
    assert value(await vault.ensure_access_token(ACCOUNT)) == "access-0"
    error = await failure(vault.refresh_account(ACCOUNT))
    assert isinstance(error, ReauthorizationRequiredError)
    assert error.reason == "invalid_grant"
    assert refresher.calls == []


@pytest.mark.parametrize("how", ["invalid", "expired"])
async def test_nothing_to_refresh_with(opened, clock, how):
    vault = await opened(ScriptedRefresher())
    await store(vault, refresh=False)
    if how == "invalid":
        await vault.mark_token_invalid(await vault.get_token(ACCESS), "invalid_token")
    else:
        clock.advance(HOUR)
    assert isinstance(await failure(vault.ensure_access_token(ACCOUNT)), ReauthorizationRequiredError)


async def test_nothing_stored(opened):
    vault = await opened(ScriptedRefresher())
    for call in (vault.ensure_access_token(ACCOUNT), vault.refresh_account(ACCOUNT)):
        assert isinstance(await failure(call), TokenNotFoundError)


async def test_an_account_with_an_api_key_only(opened):
    vault = await opened(ScriptedRefresher())
    await vault.store_token(ACCOUNT.key(TokenKind.API_KEY), "key")
    assert isinstance(await failure(vault.ensure_access_token(ACCOUNT)), TokenNotFoundError)
    without_refresher = Account("t1", "icount")
    await vault.store_token(without_refresher.key(TokenKind.API_KEY), "key")
    assert value(await vault.ensure_access_token(without_refresher)) == "key"


async def test_an_api_key_buys_access_tokens(opened, clock):
    refresher = ScriptedRefresher(answer(1, refresh=False), spends=TokenKind.API_KEY, rotation=Rotation.non_rotating())
    vault = await opened(refresher)
    await vault.store_token(ACCOUNT.key(TokenKind.API_KEY), "key")
    assert value(await vault.ensure_access_token(ACCOUNT)) == "access-1"
    assert await stored(vault) == {"access_token": "access-1", "api_key": "key"}
    assert refresher.calls[0].spent("key")


async def test_metas_token_buys_its_successor(opened, clock):
    """Its lifetime may be an assumption, so after it the provider is asked, and its answer counts."""
    rotation, dead = Rotation.non_rotating(), ReauthorizationRequiredError(reason="invalid_grant")
    refresher = ScriptedRefresher(answer(1, refresh=False), dead, spends=TokenKind.ACCESS_TOKEN, rotation=rotation)
    vault = await opened(refresher)
    await store(vault, refresh=False)
    clock.advance(56 * MINUTE)
    assert value(await vault.ensure_access_token(ACCOUNT)) == "access-1"
    clock.advance(HOUR)
    assert isinstance(await failure(vault.ensure_access_token(ACCOUNT)), ReauthorizationRequiredError)
    assert [call.credential.reveal() for call in refresher.calls] == ["access-0", "access-1"]


# Lifetimes


async def test_a_short_token_is_not_refreshed_on_each_call(opened, clock):
    refresher = ScriptedRefresher(answer(1, lifetime=MINUTE))
    vault = await opened(refresher)
    await store(vault)
    clock.advance(HOUR)
    for _ in range(5):
        assert value(await vault.ensure_access_token(ACCOUNT)) == "access-1"
        clock.advance(5 * SECOND)
    assert len(refresher.calls) == 1


async def test_an_answer_that_has_expired_ends_in_an_error(opened, clock):
    refresher = ScriptedRefresher(*[answer(number, lifetime=timedelta(0)) for number in range(1, 6)])
    vault = await opened(refresher)
    await store(vault)
    clock.advance(HOUR)
    error = await failure(vault.ensure_access_token(ACCOUNT))
    assert isinstance(error, RefreshFailedError)
    assert error.retry_after > timedelta(0)
    assert len(refresher.calls) == 2
    assert (await stored(vault))["refresh_token"] == "refresh-2"


async def test_expiry_counts_from_before_the_request(opened, clock):
    async def slow(request):
        clock.advance(7 * SECOND)
        return answer(1)

    vault = await opened(ScriptedRefresher(slow))
    await store(vault)
    clock.advance(HOUR)
    before = clock.now()
    assert (await vault.ensure_access_token(ACCOUNT)).info.expires_at == before + HOUR


async def test_an_absolute_expiry_and_odd_ones(opened, clock):
    last = clock.now() + 10 * HOUR
    refresher = ScriptedRefresher(
        TokenSet("access-1", expires_at=last), TokenSet("access-2"), answer(3, lifetime=timedelta(days=36_500))
    )
    vault = await opened(refresher)
    await store(vault)
    token = await vault.refresh_account(ACCOUNT)
    assert token.info.expires_at == last
    assert token.info.lifetime == 10 * HOUR
    assert (await vault.refresh_account(ACCOUNT)).info.expires_at is None
    assert (await vault.refresh_account(ACCOUNT)).info.expires_at == clock.now() + timedelta(days=36_500)
    assert (await stored(vault))["refresh_token"] == "refresh-3"


# refresh_account


async def test_a_refresh_on_demand(opened):
    gate = Gate(answer(1))
    vault = await opened(ScriptedRefresher(gate, answer(2)))
    await store(vault)
    refreshing, joined = vault._services.refreshing, asyncio.Semaphore(0)
    share = refreshing._share

    def counted(*arguments):
        joined.release()
        return share(*arguments)

    refreshing._share = counted
    calls = [asyncio.create_task(vault.refresh_account(ACCOUNT)) for _ in range(10)]
    for _ in calls:  # a caller that has read the account only after the answer would start a refresh of its own
        await joined.acquire()
    await gate.reached.wait()
    gate.open.set()
    assert {value(token) for token in await asyncio.gather(*calls)} == {"access-1"}
    assert value(await vault.refresh_account(ACCOUNT)) == "access-2"


@both_stores
async def test_a_demand_in_two_processes_is_one_refresh(opened):
    gate = Gate(answer(1))
    first, second = await opened(ScriptedRefresher(gate)), await opened(ScriptedRefresher())
    await store(first)
    calls = [asyncio.create_task(first.refresh_account(ACCOUNT))]
    await gate.reached.wait()
    calls.append(asyncio.create_task(second.refresh_account(ACCOUNT)))
    await asyncio.sleep(0.1)
    gate.open.set()
    assert {value(token) for token in await asyncio.gather(*calls)} == {"access-1"}


async def test_a_demand_overrides_backoff_and_unknown_outcomes(opened, clock):
    unknown = RefreshFailedError(outcome_unknown=True, retry_after=HOUR)
    refresher = ScriptedRefresher(unknown, unknown, answer(1))
    vault = await opened(refresher)
    await store(vault)
    clock.advance(HOUR)
    for call in (vault.ensure_access_token, vault.ensure_access_token, vault.refresh_account):
        assert isinstance(await failure(call(ACCOUNT)), RefreshFailedError)
    assert len(refresher.calls) == 2
    assert value(await vault.refresh_account(ACCOUNT)) == "access-1"
    assert await is_connected(vault)


# report_rejected


async def test_a_rejected_token_is_refreshed_once(opened, clock):
    refresher = ScriptedRefresher(answer(1))
    vault = await opened(refresher)
    await store(vault)
    clock.advance(MINUTE)
    token = await vault.ensure_access_token(ACCOUNT)
    tokens = await asyncio.gather(*[vault.report_rejected(token) for _ in range(10)])
    assert {value(each) for each in tokens} == {"access-1"}
    assert value(await vault.report_rejected(token)) == "access-1"
    assert len(refresher.calls) == 1


async def test_a_young_token_is_returned_as_it_is(opened, clock):
    refresher = ScriptedRefresher(answer(1))
    vault = await opened(refresher)
    await store(vault)
    token = await vault.ensure_access_token(ACCOUNT)
    clock.advance(30 * SECOND - timedelta(microseconds=1))
    assert value(await vault.report_rejected(token)) == "access-0"
    clock.advance(timedelta(microseconds=1))
    assert value(await vault.report_rejected(token)) == "access-1"


async def test_a_rejected_token_that_is_gone(opened, clock):
    vault = await opened(ScriptedRefresher())
    await store(vault, refresh=False)
    token = await vault.ensure_access_token(ACCOUNT)
    await vault.delete_account(ACCOUNT)
    assert isinstance(await failure(vault.report_rejected(token)), TokenNotFoundError)
    await store(vault, 5, refresh=False)
    clock.advance(MINUTE)
    assert value(await vault.report_rejected(token)) == "access-5"


# Callers


@both_stores
async def test_a_cancelled_caller_harms_nobody(opened, clock):
    gate = Gate(answer(1))
    vault = await opened(ScriptedRefresher(gate))
    await store(vault)
    clock.advance(HOUR)
    leader = asyncio.create_task(vault.ensure_access_token(ACCOUNT))
    await gate.reached.wait()
    followers = [asyncio.create_task(vault.ensure_access_token(ACCOUNT)) for _ in range(3)]
    await asyncio.sleep(0.05)
    leader.cancel()
    followers[0].cancel()
    await asyncio.sleep(0)
    gate.open.set()
    results = await asyncio.gather(leader, *followers, return_exceptions=True)
    assert [type(result).__name__ for result in results] == ["CancelledError", "CancelledError", "Token", "Token"]


@both_stores
async def test_everybody_cancelled_and_still_stored(opened, clock):
    gate = Gate(answer(1))
    vault = await opened(ScriptedRefresher(gate))
    await store(vault)
    clock.advance(HOUR)
    caller = asyncio.create_task(vault.ensure_access_token(ACCOUNT))
    await gate.reached.wait()
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    gate.open.set()
    assert value(await vault.ensure_access_token(ACCOUNT)) == "access-1"


@both_stores
@pytest.mark.parametrize("timeout", [0.05, timedelta(milliseconds=50)])
async def test_a_caller_runs_out_of_time_and_the_refresh_goes_on(opened, clock, timeout):
    gate = Gate(answer(1))
    vault, other = await opened(ScriptedRefresher(gate)), await opened(ScriptedRefresher())
    await store(vault)
    clock.advance(HOUR)
    error = await failure(vault.ensure_access_token(ACCOUNT, timeout=timeout))
    assert isinstance(error, RefreshFailedError)
    assert error.retry_after > timedelta(0)
    assert isinstance(await failure(other.ensure_access_token(ACCOUNT, timeout=timeout)), RefreshFailedError)
    gate.open.set()
    assert value(await vault.ensure_access_token(ACCOUNT)) == "access-1"


async def test_out_of_time_inside_the_buffer_gives_the_token(opened, clock):
    gate = Gate(answer(1))
    vault = await opened(ScriptedRefresher(gate))
    await store(vault)
    clock.advance(56 * MINUTE)
    assert value(await vault.ensure_access_token(ACCOUNT, timeout=0.05)) == "access-0"
    gate.open.set()


async def test_each_caller_gets_an_error_of_its_own(opened, clock):
    gate = Gate(RefreshFailedError(reason="temporarily_unavailable", retry_after=MINUTE))
    vault = await opened(ScriptedRefresher(gate))
    await store(vault)
    clock.advance(HOUR)
    calls = [asyncio.create_task(vault.ensure_access_token(ACCOUNT)) for _ in range(3)]
    await gate.reached.wait()
    gate.open.set()
    errors = await asyncio.gather(*calls, return_exceptions=True)
    assert len({id(error) for error in errors}) == 3
    for error in errors:
        assert (type(error), error.reason, error.account) == (RefreshFailedError, "temporarily_unavailable", ACCOUNT)
        assert error.retry_after >= MINUTE
        assert error.retryable
        assert error.__context__ is None


# Accounts and actors


@both_stores
async def test_tenants_and_identifiers_do_not_meet(opened, clock):
    async def own(request):
        return TokenSet(f"{request.account.tenant_id}/{request.account.identifier}", expires_in=HOUR)

    accounts = [Account(tenant, "acme", who) for tenant in ("t1", "t2") for who in (None, "ann")]
    refresher = ScriptedRefresher(*[own] * 4)
    vault = await opened(refresher)
    for account in accounts:
        await store(vault, account=account)
    clock.advance(HOUR)
    tokens = await asyncio.gather(*[vault.ensure_access_token(account) for account in accounts * 5])
    assert [value(token) for token in tokens] == [f"{each.tenant_id}/{each.identifier}" for each in accounts] * 5
    assert len(refresher.calls) == 4


async def test_events_carry_the_actor_and_uses_are_recorded(opened, clock):
    events = []
    vault = await opened(ScriptedRefresher(answer(1), ReauthorizationRequiredError()), on_event=events.append)
    await store(vault)
    clock.advance(HOUR)
    events.clear()
    await vault.with_actor("user:42").ensure_access_token(ACCOUNT)
    assert [(event.action, event.kind, event.actor) for event in events] == [
        (AuditAction.TOKEN_REFRESHED, TokenKind.ACCESS_TOKEN, "user:42"),
    ]
    clock.advance(HOUR)
    events.clear()
    await failure(vault.with_actor("user:43").ensure_access_token(ACCOUNT))
    assert [(event.action, event.kind, event.actor, event.code) for event in events] == [
        (AuditAction.TOKEN_INVALIDATED, TokenKind.REFRESH_TOKEN, "user:43", "invalid_grant"),
        (AuditAction.REAUTHORIZATION_REQUIRED, None, "user:43", "invalid_grant"),
    ]


@both_stores
async def test_the_use_of_a_refreshed_token_is_recorded(config, clock):
    from vault_adapters import open_vault

    async with open_vault(config, refreshers={"acme": ScriptedRefresher(answer(1))}, clock=clock) as vault:
        await store(vault)
        clock.advance(HOUR)
        await vault.ensure_access_token(ACCOUNT)
    async with open_vault(config, clock=clock) as vault:
        page = await vault.list_tokens(ACCOUNT.tenant_id)
        assert {info.key.kind: info.last_used_at for info in page.items} == {
            TokenKind.ACCESS_TOKEN: clock.now(),
            TokenKind.REFRESH_TOKEN: None,
        }
