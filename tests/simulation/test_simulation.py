"""Fixed seeds find nothing but what is known, a replay is exact, and the fake database keeps the stores' contract."""

import os
import subprocess
import sys

import pytest
from tests.examples.dict_store import open_dict_store
from tests.simulation.database import Server
from tests.simulation.planted import ROOT, bugs, stale

from vault_adapters.testing.contract import SharedStoreContract

pytestmark = pytest.mark.simulation


def simulate(*arguments):
    """Run the command line in a process of its own, because a simulation replaces the process's clock."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.simulation", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONHASHSEED": "0"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


class TestServer(SharedStoreContract):
    @pytest.fixture
    def open_store(self):
        server = Server()
        return lambda clock: open_dict_store(server, clock)


def test_a_replay_is_exact():
    once, again = (simulate("--kind", "strict", "--seed", "3", "--days", "2", "--verbose") for _ in range(2))
    assert once.stdout == again.stdout
    assert "violations" in once.stdout


@pytest.mark.parametrize("kind", ["grace", "non_rotating", "throttling"])
def test_a_fixed_seed_finds_no_lost_grant(kind):
    run = simulate("--kind", kind, "--seed", "1", "--seeds", "1", "--days", "3", "--jobs", "1")
    assert not [line for line in run.stdout.splitlines() if line.strip().startswith(("reuse", "condemned", "stuck"))]
    assert "1 worlds" in run.stdout, run.stderr


@pytest.mark.parametrize("bug", bugs(), ids=lambda bug: bug["name"])
def test_a_planted_bug_fits_the_source(bug):
    assert stale(bug) == []
