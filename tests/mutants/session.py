"""Running many selections of tests at once: on the unchanged code, and with planted bugs."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

import psycopg
from psycopg import sql
from tests.mutants.entries import Mutant
from tests.mutants.runs import Run, Verdict, mutated, run_tests, run_together
from tests.support.postgres import URL_VARIABLE

T = TypeVar("T")
R = TypeVar("R")
Selection = tuple[str, ...]

_LONGEST_SECONDS = 300.0
_LEAST_SECONDS = 60.0
_TIMES_SLOWER = 10
_TOGETHER = 20
"""Number of selections that run in one process while no bug is planted."""


class Session:
    """Runs tests over one copy of the tree.

    Args:
        base: the copy.
        urls: URLs of Postgres servers; each has one run at a time, so their number limits the runs.
    """

    def __init__(self, base: Path, urls: Sequence[str]) -> None:
        self._base = base
        self._jobs = len(urls)
        self._urls: SimpleQueue[str] = SimpleQueue()
        for url in urls:
            self._urls.put(url)

    def run_unmutated(self, selections: Collection[Selection]) -> Iterator[tuple[Selection, Run]]:
        """Run selections of tests without a bug, many in one process; yield each one's run as soon as it has ended."""
        ordered = sorted(selections)
        groups = [tuple(ordered[begin : begin + _TOGETHER]) for begin in range(0, len(ordered), _TOGETHER)]
        for group, runs in self._each({group: partial(self._run_group, group) for group in groups}):
            yield from zip(group, runs, strict=True)

    def plant_all(self, mutants: Sequence[Mutant], took: Mapping[Selection, float]) -> Iterator[tuple[Mutant, Run]]:
        """Plant each bug in a copy of its own and yield its run, in the order in which the runs end.

        Args:
            mutants: the bugs.
            took: seconds that each selection of tests took without a bug.
        """
        limits = {tests: max(_LEAST_SECONDS, seconds * _TIMES_SLOWER) for tests, seconds in took.items()}
        return self._each({mutant: partial(self._plant, mutant, limits[mutant.tests]) for mutant in mutants})

    def _plant(self, mutant: Mutant, seconds: float) -> Run:
        with mutated(self._base, mutant) as tree:
            [run] = self._with_server(lambda environment: [run_tests(tree, mutant.tests, seconds, environment)])
            return run

    def _run_group(self, group: Sequence[Selection]) -> list[Run]:
        return self._with_server(lambda environment: run_together(self._base, group, _LONGEST_SECONDS, environment))

    def _with_server(self, work: Callable[[Mapping[str, str]], list[Run]]) -> list[Run]:
        """Run tests while no others use the same server."""
        url = self._urls.get()
        try:
            runs = work({**os.environ, URL_VARIABLE: url})
            if any(run.verdict is Verdict.HUNG for run in runs):
                _drop_databases(url)
            return runs
        finally:
            self._urls.put(url)

    def _each(self, work: Mapping[T, Callable[[], R]]) -> Iterator[tuple[T, R]]:
        with ThreadPoolExecutor(self._jobs) as pool:
            started = {pool.submit(call): subject for subject, call in work.items()}
            for future in as_completed(started):
                yield started[future], future.result()


def _drop_databases(url: str) -> None:
    """Drop the databases that remain of killed tests, because the next tests create databases of the same names."""
    with psycopg.connect(url, autocommit=True) as connection:
        left = "SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> current_database()"
        for (name,) in connection.execute(left).fetchall():
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
