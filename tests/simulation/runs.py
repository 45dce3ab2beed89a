"""Playing many worlds, several at a time."""

import sys
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from functools import partial
from itertools import islice
from multiprocessing import get_context

from tests.simulation.kinds import DAY, KINDS
from tests.simulation.world import freeze, run

_START = "fork" if sys.platform == "linux" else "spawn"
"""A forked process has all modules; to import them takes as long as to play a world."""


def play_all(first, seeds, kinds, jobs=1, days=None, only_fault=None):
    """Yield the outcome of each kind with each seed. Several jobs yield outcomes in the order in which worlds end.

    The seeds are the ``seeds`` numbers from ``first`` on.
    """
    play = partial(_play, days=days, only_fault=only_fault)
    if jobs == 1:
        yield from map(play, _pairs(first, seeds, kinds))
        return
    freeze()
    # Long worlds come first, so that no process ends long before the others.
    pairs = iter(_pairs(first, seeds, sorted(kinds, key=_length, reverse=True)))
    with ProcessPoolExecutor(jobs, mp_context=get_context(_START)) as pool:
        waiting = {pool.submit(play, pair) for pair in islice(pairs, 2 * jobs)}
        try:
            while waiting:
                ended, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                waiting |= {pool.submit(play, pair) for pair in islice(pairs, len(ended))}
                yield from [each.result() for each in ended]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def replay_command(outcome):
    """Return the command that plays an outcome's world again and prints its history."""
    days = "" if outcome.days is None else f" --days {outcome.days:g}"
    return f"python -m tests.simulation --kind {outcome.kind} --seed {outcome.seed}{days} --verbose"


def _pairs(first, seeds, kinds):
    return ((seed, kind) for seed in range(first, first + seeds) for kind in kinds)


def _length(name):
    """Estimate how long a world of a kind takes to play; this depends mostly on how often an account is refreshed."""
    kind = KINDS[name]
    return kind.days * DAY / kind.lifetime + kind.days / 5


def _play(pair, *, days, only_fault):
    seed, kind = pair
    return run(seed, kind, days=days, only_fault=only_fault)
