"""Processes that have no account to refresh doze, and sweep in time once an account becomes due."""

import asyncio
from datetime import timedelta
from types import SimpleNamespace

import pytest
from tests.simulation.fakes import START
from tests.simulation.kinds import DAY
from tests.simulation.loop import Life
from tests.simulation.world import World

from vault_adapters import Account
from vault_domain.entities.account_state import AccountRow, AccountState

pytestmark = pytest.mark.tools

ACCOUNT = Account("tenant", "provider")


class Scene:
    """A world with one process, whose sweeps are only noted."""

    def __init__(self):
        self.world, self.sweeps = World(1, "strict"), []
        self.process = SimpleNamespace(life=Life.RUNNING, is_sweeping=False, start=self.note)
        self.host = SimpleNamespace(vault=object(), sweep=self.sweep)
        self.world.sweeps.begin(self.host, self.process, self.host.vault)

    async def sweep(self, process, vault):
        raise AssertionError("only noted")

    def note(self, sweep):
        sweep.close()
        self.process.is_sweeping = False
        self.sweeps.append(self.world.loop.now)

    async def due_in(self, seconds):
        def work(tables):
            row = AccountRow(due_at=START + timedelta(seconds=seconds))
            tables.accounts[ACCOUNT] = AccountState(ACCOUNT, row=row)

        await self.world.server.transact(work, self.world.clock)

    def play(self, *steps):
        async def play():
            for step in steps:
                await (asyncio.sleep(step) if isinstance(step, float) else step)

        self.world.loop.run_until_complete(play())

    def is_in_time(self, due):
        return due <= min(self.sweeps) <= due + 2 * self.world.sweep_seconds


@pytest.fixture
def scene():
    scene = Scene()
    yield scene
    scene.world.loop.close()


def test_nothing_is_swept_before_an_account_is_due(scene):
    scene.play(scene.due_in(DAY), 2 * DAY)
    assert scene.is_in_time(DAY)


def test_an_account_that_becomes_due_earlier_is_swept_earlier(scene):
    scene.play(scene.due_in(DAY), DAY / 4, scene.due_in(DAY / 2), 2 * DAY)
    assert scene.is_in_time(DAY / 2)


def test_a_step_of_the_clock_makes_accounts_due(scene):
    scene.play(scene.due_in(DAY), DAY / 2)
    scene.world.step_clock(DAY)
    scene.play(DAY / 4)
    assert scene.is_in_time(DAY / 2)


def test_trouble_is_followed_by_sweeps_although_no_account_is_due(scene):
    scene.play(DAY)
    scene.world.naps.disturb(DAY / 4)
    scene.play(DAY)
    assert min(scene.sweeps) > DAY
    assert max(scene.sweeps) < DAY + DAY / 4 + 1000.0


def test_a_process_that_has_ended_sweeps_no_more(scene):
    scene.host.vault = None
    scene.play(scene.due_in(DAY), 2 * DAY)
    assert scene.sweeps == []
