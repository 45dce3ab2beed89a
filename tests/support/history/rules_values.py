"""The rules for what a call returns."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from attrs import evolve

from .evidence import READS, USABLE, Call, Evidence
from .spans import STOPPED, overlap, spans_of


def never_issued(evidence: Evidence) -> Iterator[str]:
    """Find values that the provider did not issue, or issued to another account."""
    for name, call in _reads(evidence):
        if call.value is None:
            continue
        issued = evidence.issued.get(call.value)
        if issued is None:
            yield _told(evidence, name, call)
        elif (issued.account, issued.kind) != (call.account, "access"):
            yield f"{_told(evidence, name, call)} got the {issued.kind} token of {issued.account}"


def goes_back(evidence: Evidence) -> Iterator[str]:
    """Find calls that return an older generation or nothing after a call of the same process returned a newer one."""
    stored = {call.value_id: call.generation for _, call in _reads(evidence) if call.value_id and call.generation}
    for process in evidence.processes:
        by_account = defaultdict(list)
        for call in process.calls:
            if call.op in READS and (call.value is not None or call.error is None):
                # A value that waited for the database had no generation then.
                known = call.generation or stored.get(call.value_id)
                by_account[call.account].append(evolve(call, generation=known))
        for account, calls in by_account.items():
            for earlier, later in _steps_back(calls):
                if later.token_id is None and not _is_missing(evidence, earlier, later):
                    continue
                yield (
                    f"{process.name} {account}: {earlier.op} gave {earlier.generation} ({evidence.when(earlier.end)}), "
                    f"then {later.op} gave {later.generation} ({evidence.when(later.begin)} to "
                    f"{evidence.when(later.end)})"
                )


def _steps_back(calls: list[Call]) -> Iterator[tuple[Call, Call]]:
    """Give pairs of calls whose second began after the first had ended, and returned an older generation or nothing."""
    ends = sorted(calls, key=lambda call: call.end)
    best: dict[str, Call] = {}
    last: Call | None = None
    at = 0
    for later in sorted(calls, key=lambda call: call.begin):
        while ends[at].end < later.begin:
            ended = ends[at]
            at += 1
            if ended.token_id is not None and ended.generation is not None:
                known = best.get(ended.token_id)
                if known is None or (known.generation or 0) < ended.generation:
                    best[ended.token_id] = last = ended
        if later.token_id is None:
            if last is not None:
                yield last, later
            continue
        earlier = best.get(later.token_id)
        if earlier is not None and later.generation is not None and later.generation < (earlier.generation or 0):
            yield earlier, later


def _is_missing(evidence: Evidence, earlier: Call, later: Call) -> bool:
    """Return whether a call found nothing although the earlier call's value, or a newer one, had to be there."""
    if earlier.account.partition("/")[0] in evidence.erased:
        return False
    if later.op == "get_token":
        return True
    if later.stepped or earlier.expires_at is None or earlier.expires_at <= later.end + later.offset + 1:
        return False
    # A newer value may expire before an older one, because the lifetime of a late answer counts from its request.
    newer = (
        event.at <= later.end + later.offset
        for event in evidence.events
        if (event.account, event.kind) == (earlier.account, "access_token")
        and (event.generation or 0) > (earlier.generation or 0)
    )
    return not any(newer)


def two_values(evidence: Evidence) -> Iterator[str]:
    """Find a value id of a token (a generation if there is no value id) that calls return with two values."""
    seen: dict[tuple[str, str, int | str], tuple[str, str]] = {}
    for name, call in _reads(evidence):
        if call.value is None or call.token_id is None or not (call.value_id or call.generation):
            continue
        key = (call.account, call.token_id, call.value_id or call.generation or 0)
        where = _told(evidence, name, call)
        value, earlier = seen.setdefault(key, (call.value, where))
        if value != call.value:
            yield f"generation {call.generation}: {earlier}, and {where}"


def expired(evidence: Evidence) -> Iterator[str]:
    """Find calls that promise a usable token, but give one that had expired at their begin or well before their end."""
    for process in evidence.processes:
        stops = spans_of(evidence.actions, STOPPED, process.worker)
        for call in process.calls:
            if call.op not in USABLE or call.expires_at is None or call.stepped or evidence.limits.expiry is None:
                continue
            latest = call.end - evidence.limits.expiry - overlap((call.begin, call.end), stops)
            over = max(call.begin, latest) + call.offset - call.expires_at
            if over >= 0:
                yield f"{process.name} {call.op} {call.account} ({evidence.when(call.end)}): {over:.1f} s over"


def _told(evidence: Evidence, name: str, call: Call) -> str:
    return f"{name} {call.op} {call.account} ({evidence.when(call.end)})"


def _reads(evidence: Evidence) -> Iterable[tuple[str, Call]]:
    return ((process.name, call) for process in evidence.processes for call in process.calls if call.op in READS)
