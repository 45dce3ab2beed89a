"""Measures what each setup loses by a failover: `python -m tests.acceptance.failover_table`."""

import argparse
import asyncio
import tempfile
from pathlib import Path

from tests.acceptance.failover import Setup, fail_over

SETUPS = {
    "asynchronous, nothing held": Setup(synchronous=False, hold=0),
    "asynchronous": Setup(synchronous=False, hold=15),
    "asynchronous, the processes die too and start again on their journals": Setup(
        synchronous=False, hold=15, dies=True
    ),
    "asynchronous, the processes and their journals are lost too": Setup(
        synchronous=False, hold=15, dies=True, journaled=False
    ),
    "synchronous, nothing held": Setup(synchronous=True, hold=0),
    "synchronous, the processes and their journals are lost too": Setup(
        synchronous=True, hold=15, dies=True, journaled=False
    ),
}


def main():
    """Print a row for each setup."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, default=20)
    parser.add_argument("--only", type=int, help="number of one setup, from 0")
    arguments = parser.parse_args()
    for number, (title, setup) in enumerate(SETUPS.items()):
        if arguments.only in (None, number):
            with tempfile.TemporaryDirectory() as directory:
                print(title, asyncio.run(fail_over(setup, arguments.accounts, 1, Path(directory))), flush=True)


if __name__ == "__main__":
    main()
