"""Computes when a worker was able to store an answer that it had."""

from collections.abc import Iterable, Sequence

from .evidence import Action, Evidence

Span = tuple[float, float]

STOPPED = frozenset({"stop"})
CUT_OFF = frozenset({"freeze", "refuse", "restart", "lock"})
FULL = frozenset({"full"})


def spans_of(actions: Iterable[Action], kinds: frozenset[str], worker: str | None) -> list[Span]:
    """Return the times of the faults of these kinds that hit the worker, or all workers."""
    return sorted((each.begin, each.end) for each in actions if each.kind in kinds and each.worker in (None, worker))


def without(span: Span, holes: Sequence[Span]) -> list[Span]:
    """Return what is left of a span outside of the holes, which are sorted."""
    left, begin = [], span[0]
    for hole_begin, hole_end in holes:
        if hole_begin > begin:
            left.append((begin, min(hole_begin, span[1])))
        begin = max(begin, hole_end)
        if begin >= span[1]:
            return [each for each in left if each[1] > each[0]]
    return [*left, (begin, span[1])]


def able(evidence: Evidence, worker: str, span: Span) -> float:
    """Return the longest time within the span in which a process of the worker ran and had a database."""
    bad = spans_of(evidence.actions, STOPPED | CUT_OFF, worker)
    longest = 0.0
    for process in evidence.processes:
        if process.worker == worker:
            lived = (max(span[0], process.started), min(span[1], process.ended))
            if lived[0] < lived[1]:
                longest = max([longest, *(end - begin for begin, end in without(lived, bad))])
    return longest


def overlap(span: Span, holes: Sequence[Span]) -> float:
    """Return how much of a span lies in the holes."""
    return span[1] - span[0] - sum(end - begin for begin, end in without(span, holes))
