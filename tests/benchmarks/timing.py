"""Interleaved timing: contestants take turns in small blocks, so that a noisy machine disturbs all of them alike."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from attrs import field, frozen

Work = Callable[[], Awaitable[int]]
"""Runs one block and returns the number of its operations."""


async def _nothing() -> None:
    """Prepare nothing."""


@frozen
class Contestant:
    """One way to do the work that a race compares.

    Attributes:
        name: its name in the report.
        work: runs one block.
        prepare: restores the state from which a block starts; it is not timed.
    """

    name: str
    work: Work = field(repr=False)
    prepare: Callable[[], Awaitable[None]] = field(default=_nothing, repr=False)


@frozen
class Spread:
    """A median with its quartiles."""

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the quartiles of values; a single value is all three of them."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(low, middle, high)


@frozen
class Series:
    """Seconds per operation, block by block."""

    seconds: tuple[float, ...]

    def over(self, other: Series) -> Spread:
        """Return this time as a multiple of the other's, comparing the blocks of the same round."""
        return Spread.of([mine / theirs for mine, theirs in zip(self.seconds, other.seconds, strict=True)])

    def rate(self) -> Spread:
        """Return operations per second."""
        return Spread.of([1 / seconds for seconds in self.seconds])

    def micros(self) -> Spread:
        """Return microseconds per operation."""
        return Spread.of([seconds * 1e6 for seconds in self.seconds])


async def interleave(contestants: Sequence[Contestant], rounds: int, *, warm_up: int = 1) -> Mapping[str, Series]:
    """Time each contestant for one block per round; each round begins with the next contestant.

    Args:
        contestants: at least one; names are distinct.
        rounds: how many blocks of each are kept.
        warm_up: how many rounds come first and are thrown away.
    """
    seconds: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
    for number in range(-warm_up, rounds):
        start = number % len(contestants)
        for contestant in (*contestants[start:], *contestants[:start]):
            elapsed = await _block(contestant)
            if number >= 0:
                seconds[contestant.name].append(elapsed)
    return {name: Series(tuple(values)) for name, values in seconds.items()}


async def _block(contestant: Contestant) -> float:
    await contestant.prepare()
    gc.collect()  # no contestant pays for the garbage of another
    started = time.perf_counter()
    operations = await contestant.work()
    return (time.perf_counter() - started) / operations
