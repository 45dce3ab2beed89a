"""Fixed seeds and new ones find only known violations, a replay is exact, and the database keeps the contract."""

import os
import subprocess
import sys

import pytest
from tests.examples.dict_store import open_dict_store
from tests.simulation.database import Server
from tests.simulation.kinds import KINDS
from tests.simulation.known import ANY, KNOWN
from tests.simulation.oracle import RULES
from tests.simulation.planted import ROOT, bugs, stale

from vault_adapters.testing.contract import SharedStoreContract

pytestmark = pytest.mark.tools

FEW = ["strict", "grace", "minutes", "non_rotating"]
"""Kinds that the ordinary test command plays; `nox -s simulate` plays all of them."""


def simulate(*arguments):
    """Run the command line in a process of its own, because a simulation replaces the process's clock."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.simulation", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONHASHSEED": "0"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.simulation
class TestServer(SharedStoreContract):
    @pytest.fixture
    def open_store(self):
        server = Server()
        return lambda clock: open_dict_store(server, clock)


def test_a_replay_is_exact():
    once, again = (simulate("--kind", "strict", "--seed", "3", "--days", "1", "--verbose") for _ in range(2))
    assert once.stdout == again.stdout
    assert "violations" in once.stdout


def test_a_replay_is_exact_after_another_world():
    program = (
        "from tests.simulation.world import run\n"
        "first, _, again = (run(seed, 'strict', is_verbose=True, days=2).history for seed in (3, 4, 3))\n"
        "assert first == again and 'provider' in first"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PYTHONHASHSEED": "0"}
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], cwd=ROOT, env=environment, check=True)


def test_a_few_fixed_worlds_find_nothing_new():
    kinds = [word for kind in FEW for word in ("--kind", kind)]
    run = simulate(*kinds, "--seed", "1", "--seeds", "1", "--days", "1", "--jobs", "1")
    assert (run.returncode, f"{len(FEW)} worlds, 0 failed" in run.stdout) == (0, True), run.stdout + run.stderr


@pytest.mark.simulation
@pytest.mark.parametrize("seed", ["--seed=1", ""])
def test_all_kinds_find_nothing_new(seed):
    run = simulate(*filter(None, [seed]), "--seeds", "1")
    assert (run.returncode, f"{len(KINDS)} worlds, 0 failed" in run.stdout) == (0, True), run.stdout + run.stderr


def test_what_is_known_names_a_kind_and_a_rule():
    assert {kind for kind, _ in KNOWN} <= {ANY, *KINDS}
    assert {rule for _, rule in KNOWN} <= set(RULES)


@pytest.mark.parametrize("bug", bugs(), ids=lambda bug: bug["name"])
def test_a_planted_bug_fits_the_source(bug):
    assert stale(bug) == []
