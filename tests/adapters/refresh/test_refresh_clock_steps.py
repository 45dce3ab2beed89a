"""The clock is set while a refresh is running, or after its process died and left a lease."""

import asyncio
from contextlib import AsyncExitStack
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
    make_config,
    store,
)
from tests.support.databases import both_stores

from vault_adapters import ConnectionState, RefreshFailedError, Rotation
from vault_adapters.composition import open_vault_over
from vault_adapters.stores.sqlite.store import open_sqlite_store
from vault_adapters.testing import ManualClock, ScriptedRefresher
from vault_adapters.testing.contract.refreshing import LEASE, claimed, state_of
from vault_domain.services.refresh.attempt_ledger import AttemptLedger


class Machine:
    """The clock of a machine, which can be set, and the time since its start, which cannot."""

    def __init__(self):
        self.clock, self._up, self.boot_id = ManualClock(), HOUR, "first start"

    def boot(self):
        return self.boot_id, self._up // timedelta(microseconds=1)

    def advance(self, by):
        self.clock.advance(by)
        self._up += by

    def restart(self):
        self.boot_id, self._up = "second start", timedelta()


@pytest.fixture
def machine():
    return Machine()


@pytest.fixture
async def on_machine(machine, tmp_path):
    """Open vaults over one SQLite file, as processes of one machine."""
    config = make_config(f"sqlite:///{tmp_path}/vault.db")
    async with AsyncExitStack() as stack:

        async def open_one(refresher):
            path, clock = str(tmp_path / "vault.db"), machine.clock
            opened_store = open_sqlite_store(path, migrate=True, clock=clock.now, boot=machine.boot)
            over = await stack.enter_async_context(opened_store)
            opened = open_vault_over(over, config, refreshers={"acme": refresher})
            return await stack.enter_async_context(opened)

        yield open_one


async def running(open_one, clock):
    """Return a vault whose request is not answered yet, the gate that holds the answer, and the task of its caller."""
    gate = Gate(answer(1))
    holder = await open_one(ScriptedRefresher(gate))
    await store(holder)
    clock.advance(HOUR)
    caller = asyncio.create_task(holder.ensure_access_token(ACCOUNT))
    await gate.reached.wait()
    return holder, gate, caller


@pytest.mark.parametrize("step", [100 * SECOND, 30 * MINUTE, -100 * SECOND, -2 * HOUR])
async def test_a_step_during_a_request_lets_no_process_send_another(machine, on_machine, step):
    _, gate, caller = await running(on_machine, machine)
    refresher = ScriptedRefresher()
    peer = await on_machine(refresher)
    machine.clock.advance(step)
    machine.advance(SECOND)
    forced = asyncio.create_task(peer.refresh_account(ACCOUNT))
    await asyncio.sleep(0.1)
    assert (forced.done(), refresher.calls) == (False, [])
    gate.open.set()
    assert {(await call).value.reveal() for call in (caller, forced)} == {"access-1"}
    info = await peer.get_account(ACCOUNT)
    assert info.state is ConnectionState.CONNECTED


async def test_after_a_step_forward_an_abandoned_lease_ends_when_it_would_have_ended(machine, on_machine):
    _, gate, _ = await running(on_machine, machine)
    peer = await on_machine(ScriptedRefresher(answer(2)))
    machine.clock.advance(100 * SECOND)
    machine.advance(79 * SECOND)  # lease and quiescence take 80 s
    assert (await failure(peer.ensure_access_token(ACCOUNT))).retry_after == SECOND
    machine.advance(SECOND)
    assert (await peer.ensure_access_token(ACCOUNT)).value.reveal() == "access-2"
    gate.open.set()


async def test_after_a_step_back_an_abandoned_lease_ends_when_it_would_have_ended(machine, on_machine):
    _, gate, _ = await running(on_machine, machine)
    peer = await on_machine(ScriptedRefresher(answer(2)))
    machine.clock.advance(-2 * HOUR)
    machine.advance(20 * SECOND)
    assert (await peer.refresh_account(ACCOUNT)).value.reveal() == "access-2"
    gate.open.set()


async def test_a_renewal_after_a_step_keeps_the_time_of_the_request(machine, tmp_path):
    path = str(tmp_path / "vault.db")
    async with open_sqlite_store(path, migrate=True, clock=machine.clock.now, boot=machine.boot) as opened_store:
        async with open_vault_over(opened_store, make_config(f"sqlite:///{path}")) as vault:
            await store(vault)
        attempt = await claimed(opened_store, ACCOUNT)
        sent_at = machine.clock.now()
        for step in (100 * SECOND, -2 * HOUR):
            machine.clock.advance(step)
            sent_at += step
            machine.advance(SECOND)
            assert await AttemptLedger(opened_store.accounts).renew(attempt, LEASE)
            state = await state_of(opened_store, ACCOUNT)
            assert (state.sent_at, state.lease_until) == (sent_at, machine.clock.now() + LEASE)


async def test_after_a_restart_with_the_clock_set_back_an_old_lease_is_over(machine, on_machine):
    _, gate, _ = await running(on_machine, machine)
    peer = await on_machine(ScriptedRefresher(answer(2)))
    machine.restart()
    machine.clock.advance(-2 * HOUR)
    assert (await peer.refresh_account(ACCOUNT)).value.reveal() == "access-2"
    gate.open.set()


@both_stores
async def test_a_step_during_a_request_lets_this_process_send_no_other(opened, clock):
    gate = Gate(answer(1))
    refresher = ScriptedRefresher(gate)
    vault = await opened(refresher)
    await store(vault)
    clock.advance(HOUR)
    caller = asyncio.create_task(vault.ensure_access_token(ACCOUNT))
    await gate.reached.wait()
    clock.advance(100 * SECOND)
    forced = asyncio.create_task(vault.refresh_account(ACCOUNT))
    report = await vault.refresh_due()
    assert (report.claimed, len(refresher.calls)) == (0, 1)
    await asyncio.sleep(0.1)
    assert len(refresher.calls) == 1
    gate.open.set()
    assert {(await call).value.reveal() for call in (caller, forced)} == {"access-1"}


@pytest.mark.parametrize("rotation", [Rotation.strict(), Rotation.grace(60), Rotation.non_rotating()])
async def test_a_clock_that_is_set_back_stops_no_refresh(opened, clock, rotation):
    gate = Gate(answer(1))
    holder = await opened(ScriptedRefresher(gate, rotation=rotation))
    await store(holder, lifetime=None)
    caller = asyncio.create_task(holder.refresh_account(ACCOUNT))
    await gate.reached.wait()
    peer = await opened(ScriptedRefresher(answer(2), rotation=rotation))
    clock.advance(-2 * HOUR)
    assert (await peer.refresh_account(ACCOUNT)).value.reveal() == "access-2"
    gate.open.set()
    await asyncio.gather(caller, return_exceptions=True)


async def test_a_backoff_from_before_the_clock_was_set_back_is_over(opened, clock):
    away = RefreshFailedError(retry_after=MINUTE)
    vault = await opened(ScriptedRefresher(away, answer(1)))
    await store(vault, lifetime=HOUR)
    clock.advance(HOUR)
    await failure(vault.ensure_access_token(ACCOUNT))
    clock.advance(-3 * HOUR)
    token = await vault.get_token(ACCOUNT.key("access_token"))
    assert (await vault.report_rejected(token)).value.reveal() in ("access-0", "access-1")
