"""Storms: two short ones for every change, and with `nox -s soak` twenty long ones on each store."""

from itertools import pairwise

import pytest
from tests.storms.__main__ import main
from tests.storms.plan import FULL, SHORT, Fault, plan_of
from tests.storms.storm import replay_command, run_storm

pytestmark = pytest.mark.processes

STORES = ("postgres", "sqlite")
SEEDS = 20
SHORT_SEEDS = {"postgres": 119, "sqlite": 2}
"""Seeds whose short plans have more kinds of faults than most, and no fault that holds callers for long."""


def failed(outcome, scale):
    lines = [outcome.summary(), *(f"{finding.rule}: {finding.text}" for finding in outcome.findings[:40])]
    return "\n".join([*lines, *map(str, outcome.plan.faults), replay_command(outcome.plan, scale)])


@pytest.mark.parametrize("store", STORES)
async def test_a_short_storm(store, tmp_path):
    outcome = await run_storm(plan_of(store, SHORT_SEEDS[store], SHORT), tmp_path)
    assert not outcome.findings, failed(outcome, "short")
    assert outcome.evidence.presented


@pytest.mark.soak
@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_a_long_storm(store, seed, tmp_path, capsys):
    plan = plan_of(store, seed, FULL)

    def say(line):
        with capsys.disabled():
            print(f"  {store} seed {seed}: {line}", flush=True)

    outcome = await run_storm(plan, tmp_path, say)
    say(outcome.summary())
    assert not outcome.findings, failed(outcome, "full")


def test_the_same_seed_gives_the_same_plan():
    assert plan_of("postgres", 3) == plan_of("postgres", 3)
    assert plan_of("postgres", 3).faults != plan_of("postgres", 4).faults
    assert plan_of("postgres", 3).faults != plan_of("sqlite", 3).faults


@pytest.mark.parametrize(
    ("store", "more"),
    [("postgres", {"freeze", "silence", "reset", "slow", "refuse", "restart"}), ("sqlite", {"lock"})],
)
def test_the_seeds_of_the_soak_have_every_kind_of_fault(store, more):
    plans = [plan_of(store, seed) for seed in range(SEEDS)]
    kinds = {fault.kind for plan in plans for fault in plan.faults}
    assert kinds == {"kill", "stop", "full", "provider", "rotate", "erase", "clock", *more}
    assert all(fault.at + fault.seconds <= plan.scale.seconds for plan in plans for fault in plan.faults)


@pytest.mark.parametrize("store", STORES)
def test_the_faults_of_one_worker_do_not_hide_each_other(store):
    """A process is not killed while it is stopped, and the end of a network fault ends no other network fault."""
    for seed in range(SEEDS):
        faults = plan_of(store, seed).faults
        for kinds in ({"kill", "stop"}, {"freeze", "silence", "reset", "slow", "refuse", "restart"}):
            for worker in range(FULL.workers):
                lane = [fault for fault in faults if fault.kind in kinds and fault.worker in (None, worker)]
                assert not any(_overlap(*pair) for pair in pairwise(lane))


def _overlap(first: Fault, second: Fault) -> bool:
    return second.at < first.at + first.seconds


@pytest.mark.parametrize("store", STORES)
def test_the_command_that_a_failure_prints_has_the_same_plan(store, monkeypatch, capsys):
    plan = plan_of(store, 3, SHORT)
    _, _, *arguments = replay_command(plan, "short").split()[1:]
    monkeypatch.setattr("sys.argv", ["storms", *arguments, "--plan"])
    assert main() == 0
    assert capsys.readouterr().out.splitlines() == [str(fault) for fault in plan.faults]
