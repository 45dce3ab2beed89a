"""Leases: who waits, and what happens after an expired lease under each rotation policy."""

import asyncio
import time
from datetime import timedelta

import pytest
from tests.adapters.refresh.refresh_kit import (
    ACCOUNT,
    HOUR,
    MINUTE,
    SECOND,
    Gate,
    account_state,
    answer,
    failure,
    is_connected,
    store,
    stored,
)
from tests.support.databases import both_stores
from tests.support.timing import refresh_times

from vault_adapters import ConnectionState, ReauthorizationRequiredError, RefreshFailedError, Rotation, TokenKind
from vault_adapters.testing import ScriptedRefresher
from vault_domain.rules.timing import RefreshTiming

LEASE = RefreshTiming().lease


@pytest.fixture
async def abandoned(opened, clock):
    """Give a function that starts a refresh without an answer, and returns its vault, its gate and its call."""

    async def build(rotation):
        gate = Gate(answer(1))
        holder = await opened(ScriptedRefresher(gate, rotation=rotation))
        await store(holder)
        clock.advance(HOUR)
        call = asyncio.create_task(holder.ensure_access_token(ACCOUNT))
        await gate.reached.wait()
        return holder, gate, call

    return build


@both_stores
async def test_a_lease_is_written_before_the_provider_is_asked(opened, config, clock):
    seen = []

    async def look(request):
        seen.extend(account_state(config))
        return answer(1)

    vault = await opened(ScriptedRefresher(look))
    await store(vault)
    clock.advance(HOUR)
    await vault.ensure_access_token(ACCOUNT)
    [row] = seen
    assert row["attempt_id"] is not None
    assert row["lease_until"] is not None
    [row] = account_state(config)
    assert row["lease_until"] is None


@both_stores
async def test_an_expired_lease_is_an_unknown_outcome(opened, abandoned, clock):
    _, gate, call = await abandoned(Rotation.strict())
    other = await opened(ScriptedRefresher(answer(2)))
    clock.advance(LEASE)
    info = await other.get_account(ACCOUNT)
    assert (info.state, info.reason) == (ConnectionState.RETRYING, "outcome_unknown")
    error = await failure(other.ensure_access_token(ACCOUNT))
    assert (type(error), error.retry_after) == (RefreshFailedError, MINUTE)
    # The holder's late answer is stored all the same, by compare-and-set.
    gate.open.set()
    assert (await call).value.reveal() == "access-1"
    assert (await other.ensure_access_token(ACCOUNT)).value.reveal() == "access-1"
    assert await is_connected(other)


async def test_strict_probes_after_quiescence_and_the_late_answer_is_dropped(opened, abandoned, clock):
    _, gate, call = await abandoned(Rotation.strict())
    refresher = ScriptedRefresher(answer(2))
    other = await opened(refresher)
    clock.advance(LEASE + MINUTE - SECOND)
    assert (await failure(other.ensure_access_token(ACCOUNT))).retry_after == SECOND
    clock.advance(SECOND)
    assert (await other.ensure_access_token(ACCOUNT)).value.reveal() == "access-2"
    gate.open.set()
    assert (await call).value.reveal() == "access-2"
    assert await stored(other) == {"access_token": "access-2", "refresh_token": "refresh-2"}


@pytest.mark.parametrize("rotation", [Rotation.grace(60), Rotation.non_rotating()])
async def test_others_may_ask_again_once_the_lease_is_over(opened, abandoned, clock, rotation):
    _, gate, call = await abandoned(rotation)
    refresher = ScriptedRefresher(answer(2), rotation=rotation)
    other = await opened(refresher)
    clock.advance(LEASE - SECOND)
    assert isinstance(await failure(other.ensure_access_token(ACCOUNT, timeout=0.1)), RefreshFailedError)
    clock.advance(SECOND)
    assert (await other.ensure_access_token(ACCOUNT)).value.reveal() == "access-2"
    gate.open.set()
    assert (await call).value.reveal() == "access-2"


async def test_a_grace_period_ends(opened, abandoned, clock):
    rotation = Rotation.grace(60)
    _, gate, _ = await abandoned(rotation)
    other = await opened(ScriptedRefresher(answer(2), rotation=rotation))
    clock.advance(50 * SECOND)  # the rest of the grace period has no room for a request with a deadline of 10 s
    error = await failure(other.ensure_access_token(ACCOUNT))
    assert error.retry_after == MINUTE - (50 * SECOND - LEASE)
    gate.open.set()


async def test_a_grace_period_counts_from_the_first_request_whose_outcome_is_unknown(opened, clock, config):
    rotation = Rotation.grace(60)
    refresher = ScriptedRefresher(*[RefreshFailedError(outcome_unknown=True)] * 30, rotation=rotation)
    vault = await opened(refresher)
    await store(vault)
    clock.advance(HOUR)
    for _ in range(8):
        await failure(vault.ensure_access_token(ACCOUNT))
        clock.advance(10 * SECOND)
    asked = len(refresher.calls)
    assert 3 <= asked <= 15  # up to three requests in each attempt
    [row] = account_state(config)
    assert row["unknown_since"] is not None
    await failure(vault.ensure_access_token(ACCOUNT))
    assert len(refresher.calls) == asked


async def test_waiters_take_over_when_the_lease_ends_where_that_is_allowed(opened, abandoned, clock):
    _, gate, _ = await abandoned(Rotation.non_rotating())
    other = await opened(ScriptedRefresher(answer(2), rotation=Rotation.non_rotating()))
    waiting = asyncio.create_task(other.ensure_access_token(ACCOUNT))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    clock.advance(LEASE)
    async with asyncio.timeout(10):
        assert (await waiting).value.reveal() == "access-2"
    gate.open.set()


async def test_nobody_sleeps_through_quiescence(opened, abandoned, clock):
    _, gate, _ = await abandoned(Rotation.strict())
    other = await opened(ScriptedRefresher())
    waiting = asyncio.create_task(failure(other.ensure_access_token(ACCOUNT)))
    await asyncio.sleep(0.1)
    clock.advance(LEASE)
    async with asyncio.timeout(5):
        assert (await waiting).retry_after == MINUTE
    gate.open.set()


async def test_a_new_credential_ends_the_wait_for_the_old_one(opened, abandoned, clock):
    _, gate, call = await abandoned(Rotation.strict())
    other = await opened(ScriptedRefresher(answer(8)))
    await other.store_token(ACCOUNT.key(TokenKind.REFRESH_TOKEN), "refresh-7")
    async with asyncio.timeout(5):
        assert (await other.ensure_access_token(ACCOUNT)).value.reveal() == "access-8"
    gate.open.set()
    assert (await call).value.reveal() == "access-8"
    assert await stored(other) == {"access_token": "access-8", "refresh_token": "refresh-8"}


async def test_a_label_alone_is_no_attempt(opened, clock):
    """The label creates the account's row before the first refresh, so the row alone is no sign of an attempt."""
    vault = await opened(ScriptedRefresher(answer(1)))
    await vault.store_token_set(ACCOUNT, answer(0), label="Ann")
    clock.advance(HOUR)
    assert (await vault.ensure_access_token(ACCOUNT)).value.reveal() == "access-1"
    assert (await vault.get_account(ACCOUNT)).label == "Ann"


@both_stores
async def test_two_ask_at_the_same_moment(opened, clock):
    refreshers = [ScriptedRefresher(timedelta(seconds=0.05), answer(number)) for number in range(1, 6)]
    vaults = [await opened(refresher) for refresher in refreshers]
    await store(vaults[0])
    clock.advance(HOUR)
    tokens = await asyncio.gather(*[vault.ensure_access_token(ACCOUNT) for vault in vaults * 4])
    assert len({token.value.reveal() for token in tokens}) == 1
    assert sum(len(refresher.calls) for refresher in refreshers) == 1


@both_stores
async def test_closing_finishes_the_refresh_under_way(config, clock):
    from vault_adapters import open_vault

    gate = Gate(answer(1))
    async with open_vault(config, refreshers={"acme": ScriptedRefresher(gate)}, clock=clock) as vault:
        await store(vault)
        clock.advance(HOUR)
        call = asyncio.create_task(vault.ensure_access_token(ACCOUNT))
        await gate.reached.wait()
        call.cancel()
        asyncio.get_running_loop().call_later(0.2, gate.open.set)
    async with open_vault(config, clock=clock) as vault:
        assert await stored(vault) == {"access_token": "access-1", "refresh_token": "refresh-1"}


async def test_closing_does_not_wait_for_ever(sqlite_config, clock):
    from attrs import evolve

    from vault_adapters import open_vault

    config = evolve(sqlite_config, refresh_deadline=timedelta(seconds=0.1))

    async def stubborn(request):
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                if time.monotonic() > end:
                    raise

    refreshers = {"acme": ScriptedRefresher(stubborn)}
    # Closing waits for as long as a lease lasts.
    with refresh_times(commit_budget=0.5, slack=0.5):
        async with asyncio.timeout(30), open_vault(config, refreshers=refreshers, clock=clock) as vault:
            await store(vault)
            clock.advance(HOUR)
            end = time.monotonic() + 1
            call = asyncio.create_task(vault.ensure_access_token(ACCOUNT))
            await asyncio.sleep(0.3)
            closing = time.monotonic()
        assert time.monotonic() - closing > 1
        await asyncio.gather(call, return_exceptions=True)


@pytest.mark.parametrize("rotation", [Rotation.strict(), Rotation.grace(60), Rotation.non_rotating()])
async def test_by_rotation_policy_a_late_answer_keeps_the_mark_that_another_process_has_set(
    opened, abandoned, clock, rotation
):
    _, gate, call = await abandoned(rotation)
    rejected = ReauthorizationRequiredError(reason="invalid_grant")
    other = await opened(ScriptedRefresher(rejected, answer(2), rotation=rotation))
    clock.advance(LEASE + MINUTE)
    assert isinstance(await failure(other.ensure_access_token(ACCOUNT)), ReauthorizationRequiredError)
    gate.open.set()
    assert (await call).value.reveal() == "access-1"
    found, kept = await other.get_account(ACCOUNT), await stored(other)
    if rotation == Rotation.strict():
        assert (found.state, found.reason) == (ConnectionState.RETRYING, "invalid_grant")
        assert kept["refresh_token"] == "refresh-1 unknown: invalid_grant"
        assert (await other.refresh_account(ACCOUNT)).value.reveal() == "access-2"
    assert await is_connected(other)


async def test_a_grace_period_that_nobody_can_use_is_told_once_when_the_vault_opens(sqlite_config, caplog):
    from vault_adapters import open_vault

    refreshers = {f"p{seconds}": ScriptedRefresher(rotation=Rotation.grace(seconds)) for seconds in (8, 30, 600)}
    with caplog.at_level("WARNING"):
        async with open_vault(sqlite_config, refreshers=refreshers):
            pass
    [message] = [record.getMessage() for record in caplog.records if "grace" in record.getMessage()]
    assert message.startswith("p8: ")
    assert all(number in message for number in ("8 s", "10 s", "30 s"))
