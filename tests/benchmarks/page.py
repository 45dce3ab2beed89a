"""Renders the page that a run of the benchmarks writes."""

from __future__ import annotations

import platform
import statistics
import textwrap
from collections.abc import Iterable, Sequence
from importlib import metadata

from tests.benchmarks.bench import Bench, Case, median_of
from tests.benchmarks.findings import Finding, Profile

CHART_TITLE = "Time to fetch one token and decrypt it, as a multiple of a bare SELECT by the driver with one caller"

_HEAD = """# Performance

This page compares the vault's speed with that of the bare driver and of other ways to keep an encrypted token in
Postgres. `nox -s bench` writes this page; it measures all numbers in one run and takes none from an earlier run.

## How it is measured

- **Ratios.** Machines differ, and the speed of a shared machine changes from minute to minute. So contestants take
  turns in small blocks, in an order that changes with each round, and a ratio compares blocks of the same round. The
  number is the median of the rounds. The quartiles in brackets show how noisy the run was. Some goals are rates per
  second; a rate depends on the machine as much as on the vault.
- **Whole calls.** The vault's time is that of the method that a host calls. It includes the checks of arguments, the
  decryption, the creation of objects and the record of the use. All calls run in one process, on the standard
  library's asyncio event loop.
- **A real server** on the same machine. The connection is a Unix socket, and commits do not wait for the disk, because
  slow connections and disks would hide the time that the vault adds.
  {settings}.
- Values have 257 bytes, about as many as an access token of a large provider.

{load}
{versions}
"""

_BUSY = 1.0

_FOOT = """
## Run it yourself

```console
$ nox -s bench                      # everything; takes some minutes and writes this page
$ nox -s bench -- --quick           # only checks that everything runs; the numbers mean little
$ nox -s bench -- --only get --only store
$ nox -s bench -- --profile         # also profiles what misses its goal
```
"""


def render(bench: Bench, cases: Sequence[Case], settings: str, chart: str | None) -> str:
    """Return the page in Markdown.

    Args:
        bench: a finished run.
        cases: the cases that ran.
        settings: how the server was set up, as a sentence without its full stop.
        chart: the name of the picture's file beside the page, or None.
    """
    versions = f"Versions: {', '.join(_versions())}."
    parts = [_HEAD.format(settings=settings, load=_wrapped(_load(bench)), versions=_wrapped(versions))]
    if chart:
        parts.append(f"## At a glance\n\n![{CHART_TITLE}]({chart})\n")
    for case in cases:
        parts.append(_section(case, bench))
    if bench.profiles:
        parts.append(_profiles(bench.profiles))
    parts.append(_FOOT.strip("\n") + "\n")
    return "\n".join(parts)


def _section(case: Case, bench: Bench) -> str:
    head = f"## {case.title}\n\n{_wrapped(case.method)}"
    skipped = [skip.reason for skip in bench.skipped if skip.case == case.name]
    if skipped:
        return f"{head}\nNot measured in this run: {skipped[0]}.\n"
    rows = [_row(finding) for finding in bench.findings if finding.case == case.name]
    table = ["| what | against | median (quartiles) | goal | |", "| --- | --- | --- | --- | --- |", *rows]
    return head + "\n" + "\n".join(table) + "\n"


def _row(finding: Finding) -> str:
    verdict = {None: "", True: "met", False: "**not met**"}[finding.met]
    value = f"{median_of(finding.value)} {finding.unit}".strip()
    goal = "" if finding.goal is None else str(finding.goal)
    return f"| {finding.subject} | {finding.against or ''} | {value} | {goal} | {verdict} |"


def _profiles(profiles: Iterable[Profile]) -> str:
    parts = ["## Profiles\n\nProfiles of the calls that missed their goal. The profiler makes calls slower.\n"]
    parts += [f"### {found.subject}\n\n```text\n{found.table}\n```\n" for found in profiles]
    return "\n".join(parts)


def _load(bench: Bench) -> str:
    """Say how busy the machine was. The run itself keeps one core busy, and its server a part of another core."""
    load = statistics.median(bench.loads) if bench.loads else 0.0
    said = f"The machine's load was {load:.1f} for each of its cores, which includes the work of this run. "
    if load <= _BUSY:
        return said + "The machine had little other work."
    return said + "The machine had other work too, which widens the quartiles and may shift the medians either way."


def _wrapped(text: str) -> str:
    return "\n".join(textwrap.wrap(text, 118, break_long_words=False, break_on_hyphens=False)) + "\n"


def _versions() -> list[str]:
    versions = [f"Python {platform.python_version()}"]
    for name in ("psycopg", "aiosqlite", "cryptography", "SQLAlchemy", "SQLAlchemy-Utils", "asyncpg", "Django"):
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return versions
