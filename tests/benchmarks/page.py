"""The page that a run writes."""

from __future__ import annotations

import platform
import statistics
import textwrap
from collections.abc import Iterable, Sequence
from importlib import metadata

from tests.benchmarks.bench import Bench, Case, median_of
from tests.benchmarks.findings import Finding, Profile

CHART_TITLE = "Time to fetch one token and decrypt it; a bare SELECT by the driver, one caller, is 1"

_HEAD = """# Performance

What the vault costs beside the bare driver, and beside other ways to keep an encrypted token in Postgres. This page is
written by `nox -s bench`, which measures everything on it in one run; nothing is carried over from an earlier one.

## How it is measured

- **Ratios.** Machines differ, and a shared one differs from minute to minute. Contestants therefore take turns in small
  blocks, in an order that moves on from round to round, and a ratio compares blocks of the same round. The number is
  the median of the rounds; in brackets are the quartiles, which tell how noisy the run was. Rates per second, where a
  goal is set as one, say as much about the machine as about the vault.
- **Whole calls.** The vault's side is what a host calls, arguments checked, policy, decryption, objects and the noting
  of uses included. One asyncio event loop of the standard library, one process.
- **A real server** on the same machine, over a Unix socket: the shortest way there is, so that nothing hides what the
  vault adds; and nobody waits for a disk, which would hide it when tokens are stored.
  {settings}.
- Values have 257 bytes, about what a large provider's access token has.

{load}
{versions}
"""

_BUSY = 1.0

_FOOT = """
## Run it yourself

```console
$ nox -s bench                      # everything; takes some minutes and writes this page
$ nox -s bench -- --quick           # does everything run? the numbers mean little
$ nox -s bench -- --only get --only store
$ nox -s bench -- --profile         # show where the time goes of what misses its goal
```
"""


def render(bench: Bench, cases: Sequence[Case], settings: str, chart: str | None) -> str:
    """Return the page in Markdown.

    Args:
        bench: a finished run.
        cases: those that ran.
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
    parts = ["## What stands in the way\n\nProfiles of what missed its goal. A profiler makes calls dearer.\n"]
    parts += [f"### {found.subject}\n\n```text\n{found.table}\n```\n" for found in profiles]
    return "\n".join(parts)


def _load(bench: Bench) -> str:
    """Say how busy the machine was: this run alone keeps about one core busy, and the server a part of another."""
    load = statistics.median(bench.loads) if bench.loads else 0.0
    said = f"The machine's load in this run was {load:.1f} for each of its cores, this run included. "
    if load <= _BUSY:
        return said + "It had little else to do."
    return said + "It was busy with other things too, which widens the quartiles and may move the medians either way."


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
