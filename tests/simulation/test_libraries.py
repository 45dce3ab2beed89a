"""The libraries' own code runs in the simulation; what it loses, the vault keeps."""

import asyncio
import os
import subprocess
import sys
from random import Random

import pytest
from redis.asyncio.lock import Lock
from redis.exceptions import LockNotOwnedError
from tests.simulation.ambush import Ambush
from tests.simulation.database import Link
from tests.simulation.libraries import Redis, _Linked
from tests.simulation.loop import VirtualLoop
from tests.simulation.planted import ROOT

pytestmark = pytest.mark.tools

PROGRAM = """
import sys
from tests.simulation.world import run
kind, seed, days, peer = sys.argv[1:]
measures = run(int(seed), kind, days=float(days), is_measured=True, peer=None if peer == "vault" else peer).measures
print(len(measures.lost - measures.unavoidable), len(measures.false_reconnects), measures.calls > 100)
"""


def played(kind, seed, days, peer):
    """Play a world in a process of its own; return lost grants that were avoidable, and false reconnects."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, kind, str(seed), str(days), peer]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    lost, false, is_used = done.stdout.split()
    assert is_used == "True"
    return int(lost), int(false)


@pytest.mark.simulation
def test_each_process_of_fastmcp_spends_what_another_has_spent():
    lost, _ = played("strict", 5, 8, "fastmcp")
    assert lost > 0


@pytest.mark.simulation
def test_a_new_process_of_the_sdk_asks_users_whose_grants_are_alive():
    _, false = played("strict", 5, 8, "mcp_sdk")
    assert false > 0


@pytest.mark.simulation
def test_a_lock_of_ten_seconds_ends_before_a_late_answer():
    lost, _ = played("late", 1, 20, "redis_lock")
    assert lost > 0


@pytest.mark.simulation
@pytest.mark.parametrize(("kind", "seed", "days"), [("strict", 5, 8), ("late", 1, 20)])
def test_the_vault_keeps_them_in_the_same_worlds(kind, seed, days):
    assert played(kind, seed, days, "vault") == (0, 0)


@pytest.mark.simulation
def test_a_replay_of_a_library_is_exact():
    command = [sys.executable, "-W", "ignore", "-m", "tests.simulation", "--peer", "fastmcp", "--kind", "strict"]
    command += ["--seed", "5", "--days", "2", "--verbose"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONHASHSEED": "0"}
    once, again = (
        subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True).stdout for _ in range(2)
    )
    assert once == again
    assert "false reconnects" in once


def test_the_simulated_redis_locks_as_the_real_one_does():
    loop = VirtualLoop(0)

    async def play():
        keys = {}
        first, second = (
            Lock(_Linked(Redis(keys, loop), Link(loop, Random(0), Ambush(loop))), "a", timeout=10, blocking_timeout=1)
            for _ in range(2)
        )
        assert await first.acquire()
        assert not await second.acquire()
        await first.release()
        assert await second.acquire()
        await asyncio.sleep(11)
        assert await first.acquire()
        with pytest.raises(LockNotOwnedError):
            await second.release()
        assert not await second.acquire()

    loop.run_until_complete(play())
    loop.close()
