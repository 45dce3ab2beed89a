"""Providers whose refresh ends the old access token: nobody gets this token while an attempt is running."""

import asyncio
from contextlib import suppress

import pytest
from attrs import evolve
from tests.adapters.refresh.refresh_kit import ACCOUNT, HOUR, MINUTE, SECOND, Gate, answer, failure, store

from vault_adapters import InvalidInputError, RefreshFailedError, open_vault
from vault_adapters.providers import OAuth2Refresher
from vault_adapters.testing import ScriptedRefresher


class Strict(ScriptedRefresher):
    """A refresher of such a provider."""

    old_token_dies = True


async def flying(vault, gate, clock, before=HOUR):
    """Begin a refresh while the access token is still valid; return its task."""
    await store(vault)
    clock.advance(HOUR - before)
    task = asyncio.create_task(vault.refresh_account(ACCOUNT))
    await gate.reached.wait()
    return task


def value(token):
    return token.value.reveal()


@pytest.mark.parametrize("before", [HOUR, 2 * MINUTE], ids=["fresh", "due"])
async def test_a_dying_token_is_not_handed_out_during_an_attempt(opened, clock, before):
    gate = Gate(answer(1))
    here, there = await opened(Strict(gate)), await opened(Strict())
    task = await flying(here, gate, clock, before)
    for vault in (here, there):
        assert isinstance(await failure(vault.ensure_access_token(ACCOUNT, timeout=0)), RefreshFailedError)
    asked = [asyncio.create_task(vault.ensure_access_token(ACCOUNT)) for vault in (here, there)]
    await asyncio.sleep(0.05)
    assert not any(each.done() for each in asked)
    gate.open.set()
    assert {value(each) for each in await asyncio.gather(task, *asked)} == {"access-1"}


async def test_a_rejected_dying_token_waits_for_the_attempt(opened, clock):
    gate = Gate(answer(1))
    here, there = await opened(Strict(gate)), await opened(Strict())
    await store(here)
    token = await here.ensure_access_token(ACCOUNT)
    task = asyncio.create_task(here.refresh_account(ACCOUNT))
    await gate.reached.wait()
    report = asyncio.create_task(there.report_rejected(token))
    await asyncio.sleep(0.05)
    gate.open.set()
    assert value(await report) == value(await task) == "access-1"


async def test_a_dying_token_is_handed_out_before_and_after_a_failed_attempt(opened, clock):
    vault = await opened(Strict(RefreshFailedError(retry_after=MINUTE)))
    await store(vault)
    assert value(await vault.ensure_access_token(ACCOUNT, timeout=0)) == "access-0"
    with suppress(RefreshFailedError):
        await vault.refresh_account(ACCOUNT)
    clock.advance(SECOND)
    assert value(await vault.ensure_access_token(ACCOUNT)) == "access-0"


async def test_a_dying_token_is_not_handed_out_after_the_deadline_of_its_own_attempt(config, clock):
    """The exchange goes on, so its answer may end the token at any moment."""
    gate = Gate(answer(1))
    hasty = evolve(config, refresh_deadline=SECOND)
    async with open_vault(hasty, refreshers={"acme": Strict(gate)}, clock=clock) as vault:
        await store(vault)
        clock.advance(HOUR - 2 * MINUTE)
        assert isinstance(await failure(vault.ensure_access_token(ACCOUNT)), RefreshFailedError)
        gate.open.set()
        assert value(await vault.ensure_access_token(ACCOUNT)) == "access-1"


async def test_other_providers_tokens_are_handed_out_during_an_attempt(opened, clock):
    gate = Gate(answer(1))
    here, there = await opened(ScriptedRefresher(gate)), await opened(ScriptedRefresher())
    task = await flying(here, gate, clock)
    assert value(await there.ensure_access_token(ACCOUNT)) == "access-0"
    gate.open.set()
    await task


def test_the_attribute_is_a_truth_value():
    with pytest.raises(InvalidInputError):
        OAuth2Refresher("https://provider.test/token", "id", "secret", old_token_dies=1)
