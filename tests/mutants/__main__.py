"""The command line of the mutants."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Collection, Sequence
from contextlib import ExitStack

from tests.mutants.entries import ROOT, Mutant, chosen, load, stale
from tests.mutants.runs import Run, Verdict, copy_of
from tests.mutants.session import Selection, Session
from tests.support.postgres import start_postgres


def main(arguments: Sequence[str] | None = None) -> int:
    """Plant bugs one at a time; return 0 if the tests named for each bug detect it, and pass without it."""
    options = _parser().parse_args(arguments)
    mutants = chosen(load(), options.names)
    if options.list:
        print("\n".join(mutant.title for mutant in mutants))
        return 0
    if not mutants:
        print("there is no such mutant")
        return 1
    problems = stale(mutants)
    with ExitStack() as stack:
        # One server per job, because jobs that share a server would see each other's sessions.
        servers = [stack.enter_context(start_postgres(private=True)) for _ in range(options.jobs)]
        session = Session(stack.enter_context(copy_of(ROOT)), [server.url for server in servers])
        is_all_seen = _is_all_seen(session, [mutant for mutant in mutants if mutant not in problems])
    for problem in problems.values():
        print(f"stale: {problem}")
    return int(bool(problems) or not is_all_seen)


def _is_all_seen(session: Session, mutants: Sequence[Mutant]) -> bool:
    took = _run_unmutated(session, {mutant.tests for mutant in mutants})
    fit = [mutant for mutant in mutants if mutant.tests in took]
    unseen: list[tuple[Mutant, Run]] = []
    for number, (mutant, run) in enumerate(session.plant_all(fit, took), 1):
        print(f"[{number}/{len(fit)}] {_SHOWN[run.verdict]:8} {run.seconds:5.1f} s  {mutant.title}", flush=True)
        if run.test:
            print(f"    by {run.test}")
        if run.verdict not in (Verdict.FAILED, Verdict.HUNG):
            unseen.append((mutant, run))
    _show_unseen(unseen)
    print(f"{len(fit) - len(unseen)} of {len(mutants)} bugs were seen")
    return len(fit) == len(mutants) and not unseen


def _run_unmutated(session: Session, selections: Collection[Selection]) -> dict[Selection, float]:
    """Run each selection of tests without a bug; return the seconds of those that pass, and print the others."""
    took = {}
    for number, (tests, run) in enumerate(session.run_unmutated(selections), 1):
        print(f"[{number}/{len(selections)}] without a bug {run.seconds:5.1f} s  {' '.join(tests)}", flush=True)
        if run.verdict is Verdict.PASSED:
            took[tests] = run.seconds
        else:
            print(f"these tests do not pass ({run.verdict}):\n{run.output}")
    return took


_SHOWN = {Verdict.FAILED: "killed", Verdict.PASSED: "SURVIVED", Verdict.HUNG: "hung", Verdict.BROKEN: "BROKEN"}


def _show_unseen(unseen: Sequence[tuple[Mutant, Run]]) -> None:
    print()
    for mutant, run in sorted(unseen, key=lambda pair: pair[0].title):
        print(f"{_SHOWN[run.verdict]}  {mutant.title}\n    {mutant.file}\n    {' '.join(mutant.tests)}")
        if run.verdict is Verdict.BROKEN:
            print(run.output)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="the beginning of titles, or a pattern such as 's*/*'")
    parser.add_argument("--list", action="store_true", help="only print the titles")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="how many at once (default: one per core)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
