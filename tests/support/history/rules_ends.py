"""The rules for the end of a run: stored state, audit log, return to work, and the processes' use of memory."""

from collections import defaultdict
from collections.abc import Iterator

from tests.support.strict_provider import ANSWERED

from .evidence import Evidence, Process
from .spans import STOPPED, overlap, spans_of

_WRITES = ("token_stored", "token_refreshed", "token_imported")


def audit_gaps(evidence: Evidence) -> Iterator[str]:
    """Find keys whose events miss a generation, have one twice, or are out of order."""
    last: dict[tuple[str, str], int] = {}
    refreshed: dict[str, int] = defaultdict(int)
    for event in evidence.events:
        key = (event.account, event.kind)
        if event.action == "token_deleted":
            last[key] = 0
        if event.action not in _WRITES or event.generation is None:
            continue
        before, last[key] = last.get(key, 0), event.generation
        if event.generation != before + 1:
            yield f"{event.account} {event.kind}: {event.generation} comes after {before}"
        refreshed[event.account] += event.action == "token_refreshed" and event.kind == "access_token"
    for account in evidence.accounts:
        for kind, generation in account.generations.items():
            newest = last.get((account.name, kind), 0)
            if newest != generation:
                yield f"{account.name} {kind}: {generation} is stored, the last event is of {newest}"
    yield from _doubled(evidence, refreshed)


def _doubled(evidence: Evidence, refreshed: dict[str, int]) -> Iterator[str]:
    answered: dict[str, int] = defaultdict(int)
    for request in evidence.presented:
        answered[request.account or ""] += request.outcome == ANSWERED
    for account, count in refreshed.items():
        if count > answered[account]:
            yield f"{account}: {count} refreshes for {answered[account]} answers"


UNKNOWN = {"outcome_unknown", "connection_lost", "timeout", "unreadable_answer"}
"""The reasons of an account whose last attempt may have consumed its refresh token."""


def state_against_provider(evidence: Evidence) -> Iterator[str]:
    """Find accounts whose state contradicts the provider.

    They are missing, connected although the grant is dead, or to be connected again although the grant is alive.
    """
    for account in evidence.accounts:
        if account.state == "missing":
            yield f"{account.name} is missing"
        if account.state == "connected" and not account.live:
            yield f"{account.name} is connected, and the provider does not take its refresh token"
        if account.state == "reauthorization_required" and not account.revoked:
            yield f"{account.name} is to be connected again ({account.reason}), and its grant is alive"


def not_settled(evidence: Evidence) -> Iterator[str]:
    """Find accounts that got no new token in time after the last fault."""
    for account in evidence.accounts:
        if account.reason in UNKNOWN and not evidence.limits.patient:
            continue
        if account.state == "reauthorization_required":
            continue
        took = None if account.settled is None else account.settled - evidence.calm
        if took is None or took > evidence.limits.settling:
            end = "never" if took is None else f"after {took:.1f} s"
            yield f"{account.name} ({account.state}, {account.reason}): {end}"


def hanging(evidence: Evidence) -> Iterator[str]:
    """Find calls that took longer than they may; the time in which their process was stopped does not count."""
    for process in evidence.processes:
        stops = spans_of(evidence.actions, STOPPED, process.worker)
        for call in process.calls:
            took = call.end - call.begin - overlap((call.begin, call.end), stops)
            most = evidence.limits.hanging if call.limit is None else call.limit + evidence.limits.answer
            if took > most:
                wanted = "" if call.limit is None else f" with timeout={call.limit:g}"
                yield f"{process.name} {call.op} {call.account}{wanted} took {took:.1f} s ({evidence.when(call.begin)})"
        for op, account, begin in process.hung:
            yield f"{process.name} {op} {account} never returned ({evidence.when(begin)})"


def grows(evidence: Evidence) -> Iterator[str]:
    """Find processes that hold more at the end than soon after their start."""
    for process in evidence.processes:
        if len(process.samples) >= 2:
            yield from _growth(evidence, process)


def _growth(evidence: Evidence, process: Process) -> Iterator[str]:
    limits, first, last = evidence.limits, process.samples[0], process.samples[-1]
    for name, before, after, allowed in (
        ("bytes", first.memory, last.memory, limits.memory),
        ("descriptors", first.descriptors, last.descriptors, limits.descriptors),
        ("tasks", first.tasks, last.tasks, limits.tasks),
    ):
        if after - before > allowed:
            yield f"{process.name} has {after} {name}, and had {before} at the start"
