"""A primary that is killed while two processes refresh, and the promotion of its standby."""

import pytest
from tests.acceptance.failover import Setup, fail_over

pytestmark = pytest.mark.processes

REDUCED, FULL = 8, 20
ROUNDS = 10


def setup_of(*, synchronous, hold):
    # With a synchronous standby, nothing is held, because the standby has every commit that a process has seen.
    return Setup(synchronous=synchronous, hold=0 if synchronous else hold)


@pytest.mark.parametrize("synchronous", [False, True], ids=["asynchronous", "synchronous"])
async def test_a_failover_costs_no_account(synchronous, tmp_path):
    outcome = await fail_over(setup_of(synchronous=synchronous, hold=6), REDUCED, 1, tmp_path)
    assert outcome.refreshes >= REDUCED
    assert (outcome.presented_again, outcome.revoked, outcome.connected) == (0, 0, REDUCED)


@pytest.mark.soak
@pytest.mark.parametrize("synchronous", [False, True], ids=["asynchronous", "synchronous"])
async def test_failovers_cost_no_account_in_full(synchronous, tmp_path):
    refreshes = 0
    for seed in range(ROUNDS):
        directory = tmp_path / str(seed)
        directory.mkdir()
        outcome = await fail_over(setup_of(synchronous=synchronous, hold=15), FULL, seed, directory)
        assert (outcome.presented_again, outcome.revoked, outcome.connected) == (0, 0, FULL)
        refreshes += outcome.refreshes
    assert refreshes >= 200
