"""The command line of the simulation."""

from __future__ import annotations

import argparse
import os
import re
import time
from collections import Counter
from random import SystemRandom

from tests.simulation.kinds import KINDS
from tests.simulation.known import is_known, rule_of
from tests.simulation.libraries import LIBRARIES
from tests.simulation.peers import PEERS
from tests.simulation.runs import play_all, replay_command
from tests.simulation.world import run

_MOST_HISTORIES = 3
_MOST_LINES = 40


def main(arguments=None):
    """Play worlds; return 0 if the oracle found nothing new."""
    options = _parser().parse_args(arguments)
    kinds = options.kind or list(KINDS)
    if options.verbose:
        return _replay(options, kinds)
    first = SystemRandom().randrange(10**9) if options.seed is None else options.seed
    print(f"seeds from {first} on")
    report, started = _Report(), time.monotonic()
    for outcome in play_all(first, options.seeds, kinds, options.jobs, options.days, options.fault):
        report.add(outcome, options.until)
        if any(rule_of(violation) in options.until for violation in outcome.violations):
            break
        if report.seconds > options.seconds * options.jobs or time.monotonic() - started > options.wall:
            break
    report.end(time.monotonic() - started)
    return int(report.failed > 0)


class _Report:
    """Counts worlds and prints those that failed."""

    def __init__(self):
        self.worlds, self.failed, self.days, self.seconds, self.requests = 0, 0, 0.0, 0.0, 0
        self.rules, self.known = Counter(), Counter()

    def add(self, outcome, until):
        """Count a world, and print how to replay it if it failed."""
        self.worlds += 1
        self.days += outcome.account_days
        self.seconds += outcome.seconds
        self.requests += outcome.requests
        new = [each for each in outcome.violations if not is_known(outcome.kind, each) or rule_of(each) in until]
        self.known.update({rule_of(each) for each in outcome.violations if each not in new})
        if not new:
            return
        self.failed += 1
        self.rules.update({rule_of(each) for each in new})
        first = next((each for each in new if rule_of(each) in until), new[0])
        print(f"{replay_command(outcome)}\n    {len(new)}: {first}", flush=True)
        if self.failed <= _MOST_HISTORIES and not until:
            print(excerpt(outcome, first), flush=True)

    def end(self, took):
        """Print the sums."""
        for title, counted in (("", self.rules), ("known: ", self.known)):
            print("".join(f"{title}{rule}: {number} worlds\n" for rule, number in sorted(counted.items())), end="")
        print(
            f"{self.worlds} worlds, {self.failed} failed; {self.days:.0f} account-days and {self.requests} requests "
            f"in {took:.1f} s, {self.days / took:.0f} and {self.requests / took:.0f} per second; "
            f"per second of processor {self.days / self.seconds:.0f} and {self.requests / self.seconds:.0f}"
        )


def excerpt(outcome, violation):
    """Play a world again and return the last lines of its history up to a violation.

    These lines are about the violation's account, about processes or about faults; other lines are left out.
    """
    lines = run(outcome.seed, outcome.kind, is_verbose=True, days=outcome.days).history.splitlines()
    end = next((number for number, line in enumerate(lines) if "ORACLE" in line and violation in line), len(lines) - 1)
    account = re.search(r"account \d+\b", violation)
    concerns = re.compile(rf"FAULT|ORACLE|serve|ended|killed|{account[0] if account else 'sweep'}\b")
    return "\n".join(
        f"        {line}" for line in [line for line in lines[: end + 1] if concerns.search(line)][-_MOST_LINES:]
    )


def _replay(options, kinds):
    seed = 0 if options.seed is None else options.seed
    other = {"peer": options.peer, "is_measured": True} if options.peer else {}
    outcomes = [
        run(seed, kind, is_verbose=True, days=options.days, only_fault=options.fault, **other) for kind in kinds
    ]
    for outcome in outcomes:
        print(outcome.history)
        print(f"{outcome.kind}, seed {outcome.seed}: {len(outcome.violations)} violations")
        print("\n".join(f"    {violation}" for violation in outcome.violations))
        seen = outcome.measures
        print(
            f"{len(seen.lost)} grants lost, {len(seen.unavoidable)} of them unavoidable;"
            f" {len(seen.false_reconnects)} false reconnects"
        )
    return int(any(not is_known(each.kind, violation) for each in outcomes for violation in each.violations))


def _parser():
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="number of seeds, each with all chosen kinds")
    parser.add_argument("--seed", type=int, help="the first seed (default: a new one)")
    parser.add_argument("--kind", action="append", choices=sorted(KINDS), help="a kind of provider; may be repeated")
    parser.add_argument("--days", type=float, help="simulated days of each world (default: as the kind says)")
    parser.add_argument("--fault", help="only this fault")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="begin no world after this time of each processor"
    )
    parser.add_argument("--wall", type=float, default=float("inf"), help="begin no world after these seconds")
    parser.add_argument("--until", nargs="+", default=(), metavar="RULE", help="end when one of these rules is broken")
    parser.add_argument("--peer", choices=sorted({*PEERS, *LIBRARIES}), help="with --verbose: play this one")
    parser.add_argument("--verbose", action="store_true", help="play one seed here and print its history")
    return parser
