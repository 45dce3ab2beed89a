"""Running many selections of tests at once, without bugs and with them."""

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
from tests.mutants.runs import Run, Verdict, mutated, run_tests
from tests.support.postgres import URL_VARIABLE

T = TypeVar("T")
Selection = tuple[str, ...]

_LONGEST_SECONDS = 300.0
_LEAST_SECONDS = 60.0
_TIMES_SLOWER = 10


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
        """Run each selection of tests without a bug and yield its run, in the order in which the runs end."""
        return self._each({tests: partial(self._run, self._base, tests, _LONGEST_SECONDS) for tests in selections})

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
            return self._run(tree, mutant.tests, seconds)

    def _run(self, tree: Path, tests: Selection, seconds: float) -> Run:
        url = self._urls.get()
        try:
            run = run_tests(tree, tests, seconds, {**os.environ, URL_VARIABLE: url})
            if run.verdict is Verdict.HUNG:
                _drop_databases(url)
            return run
        finally:
            self._urls.put(url)

    def _each(self, work: Mapping[T, Callable[[], Run]]) -> Iterator[tuple[T, Run]]:
        with ThreadPoolExecutor(self._jobs) as pool:
            started = {pool.submit(call): subject for subject, call in work.items()}
            for future in as_completed(started):
                yield started[future], future.result()


def _drop_databases(url: str) -> None:
    """Drop the databases that killed tests have left, because the next tests create databases of the same names."""
    with psycopg.connect(url, autocommit=True) as connection:
        left = "SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> current_database()"
        for (name,) in connection.execute(left).fetchall():
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
