"""Writes the growth table as Markdown, as it stands in the documentation."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen
from tests.benchmarks.findings import number


@frozen
class Measured:
    """A call's cost at one size.

    Attributes:
        tokens: the number of stored tokens.
        call: the call's name.
        ratio: its time as a multiple of the bare query's in the same rounds.
        millis: its median time in milliseconds, on the machine that measured.
    """

    tokens: int
    call: str
    ratio: float
    millis: float


def render(measured: Sequence[Measured]) -> str:
    """Return a table with a row for each call and a column for each size.

    The last column divides the ratio at the largest size by the ratio at the smallest size.
    """
    sizes = sorted({each.tokens for each in measured})
    calls = list(dict.fromkeys(each.call for each in measured))
    found = {(each.call, each.tokens): each for each in measured}
    lines = [
        f"| call | {' | '.join(f'{size:,}' for size in sizes)} | last / first |",
        f"| --- |{' --- |' * (len(sizes) + 1)}",
    ]
    for call in calls:
        row = [found.get((call, size)) for size in sizes]
        cells = ["" if each is None else f"{number(each.ratio)} ({number(each.millis)} ms)" for each in row]
        first, last = row[0], row[-1]
        growth = "" if first is None or last is None else number(last.ratio / first.ratio)
        lines.append(f"| {call} | {' | '.join(cells)} | {growth} |")
    return "\n".join(lines)
