"""Measures the vault and its peers: ``python -m tests.simulation.table`` prints a table for each kind of provider.

``--write docs/explanation/no-false-reconnects.md`` puts the tables into the page, and draws the chart beside it.
``--libraries`` measures the code of installed libraries instead, which has tables of its own on the page.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from attrs import frozen
from tests.simulation.chart import draw
from tests.simulation.libraries import LIBRARIES
from tests.simulation.peers import PEERS
from tests.simulation.world import run

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
LIBRARIES_BEGIN, LIBRARIES_END = "<!-- libraries: begin -->", "<!-- libraries: end -->"
TITLES = {
    "strict": "Single use, reuse revokes the grant",
    "strict_short": "Single use, access tokens of an hour",
    "grace": "Single use with a grace period of 60 seconds",
    "short_grace": "Single use with a grace period of 30 seconds",
    "non_rotating": "Refresh tokens that stay",
    "late": "Single use, half of the answers take up to 50 seconds at times",
    "outages": "Single use, outages and lost answers",
    "throttling": "Too many requests (429)",
    "odd_code": "Unregistered error code for a dead grant",
    "idle_lapse": "Refresh tokens that lapse after five days without use",
    "no_expiry": "No `expires_in`, and refresh tokens that lapse",
    "old_token_dies": "A refresh ends the old access token",
    "wrong_client_id": "The host runs with a wrong client id for an hour",
    "wrong_client_secret": "The host runs with a wrong client secret for an hour",
    "directory": "One tenant's directory refuses the client",
}
"""Title of each kind of provider on the page."""

LIBRARY_KINDS = ("strict", "grace", "late")
"""The kinds of provider that have a table of libraries."""

ALGORITHMS = {None: "token-vault", **{name: peer.title for name, peer in PEERS.items()}}
WITH_LIBRARIES = {None: "token-vault", **LIBRARIES}
_HEAD = (
    "| algorithm | lost grants | of these unavoidable | false reconnects | requests to the provider | refused calls "
    "| mean wait of a call |\n| --- | --- | --- | --- | --- | --- | --- |"
)
_ROW = re.compile(r"^\| (?P<title>.+?) \| (?P<lost>[\d,]+) \| (?P<unavoidable>[\d,]+) \| (?P<false>[\d,]+) \| ")
_MONTH, _SCALE = 30.0, 10_000
_FIRST_SEED = 1


@frozen
class Sums:
    """Sums of some worlds."""

    lost: int = 0
    unavoidable: int = 0
    false_reconnects: int = 0
    requests: int = 0
    refused: int = 0
    calls: int = 0
    waits: float = 0.0
    account_days: float = 0.0

    def plus(self, other):
        """Return the sums of both."""
        return Sums(*(getattr(self, name) + getattr(other, name) for name in self.__slots__ if name[0] != "_"))

    @classmethod
    def of(cls, outcome):
        """Return the numbers of a world."""
        seen = outcome.measures
        return cls(
            len(seen.lost),
            len(seen.unavoidable),
            len(seen.false_reconnects),
            outcome.requests,
            seen.refused,
            seen.calls,
            seen.waits,
            outcome.account_days,
        )

    def row(self, title):
        """Return a row of a table: numbers per 10,000 months of an account."""
        months = self.account_days / _MONTH
        counts = (self.lost, self.unavoidable, self.false_reconnects, self.requests, self.refused)
        cells = [f"{count / months * _SCALE:,.0f}" for count in counts]
        return f"| {title} | {' | '.join(cells)} | {1000 * self.waits / max(self.calls, 1):,.0f} ms |"


def main():
    """Measure, and print or write the tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.table", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="worlds of each kind and algorithm")
    parser.add_argument("--only", action="append", choices=TITLES, help="measure only this kind of provider")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--libraries", action="store_true", help="measure the code of installed libraries")
    parser.add_argument("--write", type=Path, help="put the tables into this page, and draw the chart beside it")
    chosen = parser.parse_args()
    if chosen.libraries:
        sections = measured(chosen.only or LIBRARY_KINDS, chosen.seeds, chosen.jobs, WITH_LIBRARIES)
    else:
        sections = measured(chosen.only or list(TITLES), chosen.seeds, chosen.jobs)
    print(sections)
    if chosen.write and chosen.libraries:
        _put(chosen.write, sections, LIBRARIES_BEGIN, LIBRARIES_END)
    elif chosen.write:
        _put(chosen.write, sections, BEGIN, END)
        chosen.write.with_suffix(".svg").write_text(draw(bars(sections), list(ALGORITHMS.values())))


def _put(path, sections, begin, end):
    page = path.read_text()
    head, tail = page[: page.index(begin)], page[page.index(end) :]
    path.write_text(f"{head}{begin}\n\n{sections}\n\n{tail}")


def measured(kinds, seeds, jobs, algorithms=ALGORITHMS):
    """Play the worlds, and return a section of the page for each kind."""
    keys = [
        (kind, peer, seed) for kind in kinds for seed in range(_FIRST_SEED, _FIRST_SEED + seeds) for peer in algorithms
    ]
    sums = {}
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for (kind, peer, _), each in zip(keys, pool.map(_play, keys), strict=True):
            sums[kind, peer] = sums.get((kind, peer), Sums()).plus(each)
    return "\n\n".join(_section(kind, {peer: sums[kind, peer] for peer in algorithms}, algorithms) for kind in kinds)


def _play(key):
    kind, peer, seed = key
    return Sums.of(run(seed, kind, peer=peer, is_measured=True))


def _section(kind, sums, algorithms):
    months = sums[None].account_days / _MONTH
    rows = [each.row(algorithms[peer]) for peer, each in sums.items()]
    return "\n".join(
        [f"### {TITLES[kind]}", "", f"Measured over {months:,.0f} months of an account.", "", _HEAD, *rows]
    )


def bars(sections):
    """Return the numbers that the chart shows, from the tables of the page.

    Returns:
        A dict by title of the kind. Its values are dicts by title of the algorithm, with the three numbers of `_harm`.
    """
    shown = {}
    for section in sections.split("### ")[1:]:
        title, rows = section.partition("\n")[0], filter(None, map(_ROW.match, section.splitlines()))
        shown[title] = {row["title"]: _harm(row) for row in rows}
    return shown


def _harm(row):
    lost, unavoidable, false = (int(row[name].replace(",", "")) for name in ("lost", "unavoidable", "false"))
    return lost - unavoidable, false, unavoidable


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        os.execve(sys.executable, [sys.executable, "-m", "tests.simulation.table", *sys.argv[1:]], environment)
    main()
