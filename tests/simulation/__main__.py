"""The command line of the simulation."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from random import SystemRandom

from tests.simulation.kinds import KINDS
from tests.simulation.runs import play_all, replay_command
from tests.simulation.world import run


def main(arguments=None):
    """Play worlds; return 0 if the oracle found nothing."""
    options = _parser().parse_args(arguments)
    kinds = options.kind or list(KINDS)
    if options.verbose:
        return _replay(options, kinds)
    first = SystemRandom().randrange(10**9) if options.seed is None else options.seed
    started, days, failed, count = time.monotonic(), 0.0, 0, 0
    rules = Counter()
    end = time.monotonic() + options.seconds
    for outcome in play_all(first, options.seeds, kinds, options.jobs, options.days, options.fault):
        count, days = count + 1, days + outcome.account_days
        if outcome.violations:
            failed += 1
            rules.update({violation.partition(":")[0] for violation in outcome.violations})
            shown = [violation for violation in outcome.violations if violation.partition(":")[0] in options.until]
            print(
                f"{replay_command(outcome)}\n    {len(outcome.violations)}: {[*shown, *outcome.violations][0]}",
                flush=True,
            )
            if shown:
                break
        if time.monotonic() > end:
            break
    took, used = time.monotonic() - started, _processor_seconds()
    print("".join(f"{rule}: {number} worlds\n" for rule, number in sorted(rules.items())), end="")
    print(
        f"{count} worlds, {failed} failed; {days:.0f} account-days in {took:.1f} s ({used:.1f} s of CPU): "
        f"{days / took:.0f} per second, {days / used:.0f} per second of CPU"
    )
    return int(failed > 0)


def _processor_seconds():
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def _replay(options, kinds):
    seed = 0 if options.seed is None else options.seed
    outcomes = [run(seed, kind, is_verbose=True, days=options.days, only_fault=options.fault) for kind in kinds]
    for outcome in outcomes:
        print(outcome.history)
        print(f"{outcome.kind}, seed {outcome.seed}: {len(outcome.violations)} violations")
        print("\n".join(f"    {violation}" for violation in outcome.violations))
    return int(any(outcome.violations for outcome in outcomes))


def _parser():
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="number of seeds, each with all chosen kinds")
    parser.add_argument("--seed", type=int, help="the first seed (default: a new one)")
    parser.add_argument("--kind", action="append", choices=sorted(KINDS), help="a kind of provider; may be repeated")
    parser.add_argument("--days", type=float, help="simulated days of each world (default: as the kind says)")
    parser.add_argument("--fault", help="only this fault")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no world after this time")
    parser.add_argument("--until", nargs="+", default=(), metavar="RULE", help="end when one of these rules is broken")
    parser.add_argument("--verbose", action="store_true", help="play one seed here and print its history")
    return parser


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # Sets of names are iterated in the order of their hashes, which must be the same at each replay.
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        os.execve(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]], environment)
    sys.exit(main())
