"""Playing many worlds, several at a time."""

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

from tests.simulation.world import run


def play_all(first, seeds, kinds, jobs=1, days=None, only_fault=None):
    """Yield the outcomes of all kinds with ``seeds`` seeds from ``first`` on."""
    pairs = [(seed, kind) for seed in range(first, first + seeds) for kind in kinds]
    play = partial(_play, days=days, only_fault=only_fault)
    if jobs == 1:
        yield from map(play, pairs)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(play, pairs, chunksize=1)


def replay_command(outcome):
    """Return the command that plays an outcome's world again and prints its history."""
    days = "" if outcome.days is None else f" --days {outcome.days:g}"
    return f"python -m tests.simulation --kind {outcome.kind} --seed {outcome.seed}{days} --verbose"


def _play(pair, *, days, only_fault):
    seed, kind = pair
    return run(seed, kind, days=days, only_fault=only_fault)
