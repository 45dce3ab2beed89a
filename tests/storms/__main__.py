"""Runs storms: real processes refresh while faults, drawn from a seed, hit them, their network and their database.

`python -m tests.storms --store postgres --seed 7` runs one, `--seeds 20` runs the first twenty.
"""

import argparse
import asyncio
import logging
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.storms.plan import FULL, SHORT, plan_of
from tests.storms.storm import replay_command, run_storm

SCALES = {"full": FULL, "short": SHORT}


def main() -> int:
    """Run the storms that the command line names, or print their plans; return 1 if a storm found something."""
    parser = argparse.ArgumentParser(prog="python -m tests.storms", description=__doc__)
    parser.add_argument("--store", choices=["postgres", "sqlite"], action="append")
    parser.add_argument("--seed", type=int, help="run this seed only")
    parser.add_argument("--seeds", type=int, default=1, help="run this many seeds, from 0")
    parser.add_argument("--scale", choices=sorted(SCALES), default="full")
    parser.add_argument("--plan", action="store_true", help="print the plan, run nothing")
    parser.add_argument("--keep", type=Path, help="keep histories and logs in this folder")
    chosen = parser.parse_args()
    seeds = range(chosen.seeds) if chosen.seed is None else [chosen.seed]
    bad = 0
    for seed in seeds:
        for store in chosen.store or ["postgres", "sqlite"]:
            plan = plan_of(store, seed, SCALES[chosen.scale])
            if chosen.plan:
                print(*plan.faults, sep="\n")
            else:
                bad += run_one(plan, chosen.scale, chosen.keep)
    return 1 if bad else 0


def run_one(plan, scale: str, keep: Path | None = None) -> int:
    """Run a plan and print what it found; return the number of findings."""
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)
    title, start = f"{plan.store} seed {plan.seed}", time.monotonic()

    def say(line: str) -> None:
        print(f"[{time.monotonic() - start:5.0f} s] {title}: {line}", flush=True)

    with tempfile.TemporaryDirectory(prefix="vault-storm-") as temporary:
        folder = Path(temporary) if keep is None else keep / title.replace(" ", "-")
        if keep is not None:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        outcome = asyncio.run(run_storm(plan, folder, say))
    say(outcome.summary())
    for finding in outcome.findings[:40]:
        say(f"{finding.rule}: {finding.text}")
    if outcome.findings:
        say(f"{len(outcome.findings)} findings; the plan, and the command that runs it again:")
        print(*plan.faults, sep="\n")
        print(replay_command(plan, scale), flush=True)
    return len(outcome.findings)


if __name__ == "__main__":
    sys.exit(main())
