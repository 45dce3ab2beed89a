"""The command line of the benchmarks."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import psycopg
from tests.benchmarks.bench import Bench, Case
from tests.benchmarks.cases import CASES
from tests.benchmarks.chart import draw
from tests.benchmarks.findings import Skipped
from tests.benchmarks.page import CHART_TITLE, render
from tests.support.postgres import start_postgres

PAGE = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "performance.md"

_SHOWN = ("fsync", "synchronous_commit", "full_page_writes", "shared_buffers")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write the page; return 0 even if goals are missed, because a noisy machine can cause that."""
    options = _parser().parse_args(arguments)
    cases = [case for case in CASES if not options.only or case.name in options.only]
    output: Path | None = options.output
    if output is None and not (options.quick or options.only):
        output = PAGE
    with start_postgres() as server:
        bench = Bench(server, quick=options.quick, profiled=options.profile)
        asyncio.run(run_cases(bench, cases))
        settings = _settings(server.url)
    _print_summary(bench)
    if output is not None:
        _write(bench, cases, settings, output)
    return 0


async def run_cases(bench: Bench, cases: Sequence[Case]) -> None:
    """Run cases one after the other; skip a case whose peers are not installed, and say so."""
    for case in cases:
        bench.case = case.name
        bench.say(f"{case.name}: {case.title}")
        try:
            await case.run(bench)
        except ImportError as error:
            if not case.needs_peers:
                raise
            bench.skipped.append(Skipped(case.name, f"{error.name} is not installed; it comes with the extra `bench`"))
            bench.say(f"  skipped: {error.name} is not installed")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    names = [case.name for case in CASES]
    parser.add_argument("--quick", action="store_true", help="check only that all cases run; write no page by default")
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=f"one of {', '.join(names)}")
    parser.add_argument("--output", type=Path, help=f"the page to write; default: docs/explanation/{PAGE.name}")
    parser.add_argument("--profile", action="store_true", help="profile what misses its goal")
    return parser


def _settings(url: str) -> str:
    with psycopg.connect(url) as connection:
        shown = [f"{name} = {connection.execute(f'SHOW {name}').fetchone()[0]}" for name in _SHOWN]  # type: ignore[index]
        version = connection.info.server_version // 10_000
    return f"PostgreSQL {version} with {', '.join(f'`{setting}`' for setting in shown)}"


def _print_summary(bench: Bench) -> None:
    missed = [finding.subject for finding in bench.findings if finding.met is False]
    kept = sum(finding.met is True for finding in bench.findings)
    print(f"\n{kept} goals met, {len(missed)} not met" + "".join(f"\n  not met: {name}" for name in missed))


def _write(bench: Bench, cases: Sequence[Case], settings: str, output: Path) -> None:
    chart = output.with_suffix(".svg") if bench.bars else None
    if chart is not None:
        chart.write_text(draw(bench.bars, CHART_TITLE), encoding="utf-8")
    output.write_text(render(bench, cases, settings, chart.name if chart else None), encoding="utf-8")
    print(f"wrote {output.name}")


if __name__ == "__main__":
    sys.exit(main())
