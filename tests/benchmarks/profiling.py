"""Profiles blocks of one contestant with cProfile; the table leaves out the folders above each package."""

from __future__ import annotations

import cProfile
import pstats
from pathlib import Path

from tests.benchmarks.timing import Contestant

_ENTRIES = 16
_BLOCKS = 5


async def profile(contestant: Contestant) -> str:
    """Return a table of the functions that took most time themselves, in microseconds per operation.

    cProfile makes calls slower, so compare the entries only with each other.
    """
    profiler = cProfile.Profile()
    operations = 0
    for _ in range(_BLOCKS):
        await contestant.prepare()
        profiler.enable()
        try:
            operations += await contestant.work()
        finally:
            profiler.disable()
    return _table(pstats.Stats(profiler), operations)


def _table(stats: pstats.Stats, operations: int) -> str:
    rows = []
    for (path, line, name), (_, calls, own, total, _) in stats.stats.items():  # type: ignore[attr-defined]
        rows.append((own, total, calls, f"{_module(path)}:{line} {name}" if line else name))
    rows.sort(reverse=True)
    lines = ["  own µs  with callees  calls  function"]
    for own, total, calls, place in rows[:_ENTRIES]:
        own_each, total_each = own / operations * 1e6, total / operations * 1e6
        lines.append(f"{own_each:8.2f}  {total_each:12.2f}  {calls / operations:5.1f}  {place}")
    return "\n".join(lines)


def _module(path: str) -> str:
    """Return the part of a path that begins at its package; the folders above differ from machine to machine."""
    parts = Path(path).parts
    for anchor in ("vault_adapters", "vault_domain", "benchmarks", "site-packages"):
        if anchor in parts:
            start = parts.index(anchor) + (anchor == "site-packages")
            return "/".join(parts[start:])
    return Path(path).name
