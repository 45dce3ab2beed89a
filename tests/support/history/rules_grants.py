"""The rule for refresh tokens: a spent one is presented again only where nobody could have saved the answer."""

from collections.abc import Iterator

from tests.support.strict_provider import ANSWERED, REUSED, Presented

from .evidence import Action, Evidence, Process
from .spans import CUT_OFF, FULL, STOPPED, able, spans_of, without

_ROUNDING = 0.5

_NOTICED = 5.0
"""A shorter outage of the network may go unnoticed. A restart does not, because the server knows when it started."""


def spent_again(evidence: Evidence) -> Iterator[str]:
    """Find refresh tokens that were presented again although the answer could have been stored."""
    spent = {each.digest: each for each in evidence.presented if each.outcome == ANSWERED}
    for again in evidence.presented:
        if again.outcome != REUSED or _is_on_purpose(evidence, again):
            continue
        first = spent.get(again.digest)
        if first is None:
            yield f"{again.account} {again.digest[:8]} by {again.sender}: nobody spent it before"
            continue
        reason = _could_be_saved(evidence, first, again)
        if reason is not None:
            times = f"{evidence.when(first.at)} by {first.sender}, {evidence.when(again.at)} by {again.sender}"
            yield f"{again.account} {again.digest[:8]}, {times}: {reason}"


def _is_on_purpose(evidence: Evidence, again: Presented) -> bool:
    """Return whether a person's `refresh_account` presented the token; such a call does not wait for the quiescence."""
    for process in evidence.processes:
        if process.name == again.sender:
            calls = [call for call in process.calls if call.op == "refresh" and call.account == again.account]
            if any(call.begin <= again.at <= call.end for call in calls):
                return True
            ended = {call.begin for call in calls}
            return any(
                name == "refresh" and account == again.account and begin <= again.at and begin not in ended
                for name, account, begin in process.begun
            )
    return False


def _could_be_saved(evidence: Evidence, first: Presented, again: Presented) -> str | None:
    limits = evidence.limits
    holder = next((each for each in evidence.processes if each.name == first.sender), None)
    if not first.delivered or first.answer_at - first.at > limits.deadline - _ROUNDING or holder is None:
        return None  # the answer never arrived
    if holder.killed and _handling(evidence, holder, first.answer_at) < limits.journaling:
        return None  # the process died before it could write the answer down
    outages = [each.end for each in evidence.actions if _is_outage(each) and first.at < each.end <= again.at]
    earliest = max([first.at, *outages]) + limits.quiescence
    if again.at < earliest - _ROUNDING:
        return f"{earliest - again.at:.1f} s before the quiescence was over"
    chance = able(evidence, holder.worker, (first.answer_at, again.at))
    if chance >= limits.recovery:
        return f"{holder.worker} had a database for {chance:.1f} s"
    return None


def _is_outage(action: Action) -> bool:
    """Return whether all workers were cut off from the database, and could notice it."""
    long = action.end - action.begin >= _NOTICED
    return action.worker is None and (action.kind == "restart" or (action.kind in CUT_OFF and long))


def _handling(evidence: Evidence, holder: Process, since: float) -> float:
    """Return how long a process ran, with space on its disk, after an answer came."""
    if holder.ended <= since:
        return 0.0
    bad = spans_of(evidence.actions, STOPPED | FULL, holder.worker)
    return sum(end - begin for begin, end in without((since, holder.ended), bad))
