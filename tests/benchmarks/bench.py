"""Gives the benchmark cases their server and the amount of work, and collects their findings."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from attrs import define, field, frozen
from tests.benchmarks.findings import Bar, Finding, Goal, Profile, Skipped, number
from tests.benchmarks.profiling import profile
from tests.benchmarks.timing import Contestant, Series, Spread, interleave
from tests.support.postgres import PostgresServer


@define
class Bench:
    """One run of the benchmarks.

    Attributes:
        server: a real PostgreSQL.
        quick: whether to measure just enough to see that everything runs.
        profiled: whether to profile a contestant that misses its goal.
        say: prints a line of progress.
    """

    server: PostgresServer
    quick: bool = False
    profiled: bool = False
    say: Callable[[str], None] = print
    findings: list[Finding] = field(factory=list)
    skipped: list[Skipped] = field(factory=list)
    profiles: list[Profile] = field(factory=list)
    bars: list[Bar] = field(factory=list)
    loads: list[float] = field(factory=list)
    case: str = ""

    def amount(self, full: int, quick: int) -> int:
        """Return the amount of work: ``quick`` in a quick run, else ``full``."""
        return quick if self.quick else full

    async def race(self, contestants: Sequence[Contestant], rounds: int) -> Mapping[str, Series]:
        """Run contestants against each other; a quick run does one round."""
        self.loads.append(os.getloadavg()[0] / (os.cpu_count() or 1))
        return await interleave(contestants, self.amount(rounds, 1))

    async def ratio(
        self,
        subject: Contestant,
        floor: Contestant,
        series: Mapping[str, Series],
        goal: Goal | None = None,
        suspect: Contestant | None = None,
    ) -> None:
        """Note the subject's time as a multiple of the floor's time.

        Args:
            subject: the contestant that is measured.
            floor: the contestant whose time counts as 1.
            series: the race in which both ran.
            goal: the limit, if there is one.
            suspect: the contestant to profile if the goal is missed; None for the subject.
        """
        value = series[subject.name].over(series[floor.name])
        await self._note(Finding(self.case, subject.name, floor.name, value, "", goal), suspect or subject)

    async def rate(
        self, subject: Contestant, series: Mapping[str, Series], unit: str, goal: Goal | None = None
    ) -> None:
        """Note how many operations a second the subject does."""
        await self._note(Finding(self.case, subject.name, None, series[subject.name].rate(), unit, goal), subject)

    async def _note(self, finding: Finding, suspect: Contestant) -> None:
        self.findings.append(finding)
        self.say(f"  {_line(finding)}")
        if self.profiled and finding.met is False:
            self.profiles.append(Profile(suspect.name, await profile(suspect)))
            self.say(self.profiles[-1].table)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """Open one connection of the bare driver, in autocommit mode."""
        async with await psycopg.AsyncConnection.connect(self.server.url, autocommit=True) as connection:
            yield connection


@frozen
class Case:
    """One question to measure.

    Attributes:
        name: what `--only` calls it.
        title: the heading of its table.
        method: how it is measured, in sentences for the page.
        run: measures it and notes the findings.
        needs_peers: whether it needs the libraries that it compares with the vault (optional dependencies ``bench``).
    """

    name: str
    title: str
    method: str
    run: Callable[[Bench], Awaitable[None]] = field(repr=False)
    needs_peers: bool = False


IN_A_ROW = 16
"""Number of reads of each caller when many callers read at once.

With fewer reads, the start of the callers would take a large part of the time.
"""


async def at_once(callers: int, each: int, call: Callable[[], Awaitable[object]]) -> int:
    """Let many callers call at the same time, each several times in a row; return the number of calls."""

    async def caller() -> None:
        for _ in range(each):
            await call()

    await asyncio.gather(*(caller() for _ in range(callers)))
    return callers * each


def median_of(spread: Spread) -> str:
    """Return a median with its quartiles."""
    return f"{number(spread.middle)} ({number(spread.low)} - {number(spread.high)})"


def _line(finding: Finding) -> str:
    against = "" if finding.against is None else f" / {finding.against}"
    verdict = {None: "", True: f"  goal {finding.goal}: met", False: f"  goal {finding.goal}: NOT MET"}[finding.met]
    return f"{finding.subject}{against}: {median_of(finding.value)} {finding.unit}{verdict}".rstrip()
