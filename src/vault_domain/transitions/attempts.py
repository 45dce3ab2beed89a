"""What becomes of an account during a refresh: claimed, renewed, released, failed, unread, answered, rejected."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from attrs import evolve

from vault_domain.entities.account import TokenKind
from vault_domain.entities.account_state import AccountState, Decision, KeptAnswer
from vault_domain.entities.attempt import Attempt, Commit, CommitOutcome, Failure, SealedAnswer
from vault_domain.entities.clients import MASS_REJECTION
from vault_domain.entities.refresh_state import RefreshState
from vault_domain.entities.token import SealedToken, StoredToken, TokenInfo, TokenRef, TokenStatus, TokenWrite
from vault_domain.rules.schedule import due_at_of
from vault_domain.transitions.events import (
    failing_event,
    kept_event,
    lost_event,
    recovered_event,
    refreshed_event,
    required_event,
)
from vault_domain.transitions.values import invalidated, written

INVALID = "invalid_grant"
"""The error code that `mark_of` returns for an invalid credential without an error code."""


def claimed(state: AccountState, now: datetime, attempt: Attempt, seen: UUID | None) -> Decision[datetime | None]:
    """Take the lease, unless the credential or the latest attempt is another one, or a lease on it is running.

    A lease that ran out shows that its attempt ended without a trace, which an event tells.
    """
    token = state.holds(attempt.credential)
    if token is None or token.info.status is TokenStatus.INVALID or state.refresh.attempt_id != seen:
        return Decision(state, None)
    known = state.refresh if state.refresh.concerns(token.info) else RefreshState()
    if known.leased_until(now) is not None:
        return Decision(state, None)
    unknown_since = known.unknown_at(now)
    refresh = evolve(
        known,
        credential_value_id=attempt.credential.value_id,
        attempt_id=attempt.attempt_id,
        lease_until=now + attempt.lease,
        sent_at=now if unknown_since is None else known.sent_at,
        unknown_since=unknown_since,
        next_attempt_at=None,
    )
    new = state.with_row(refresh=refresh, endpoint=attempt.endpoint, due_at=refresh.lease_until)
    events = () if known.lease_until is None else (lost_event(attempt, now, None),)
    return Decision(new, now, events, durable=True)


def renewed(state: AccountState, now: datetime, attempt: Attempt, lease: timedelta) -> Decision[bool]:
    """Let the attempt's own lease end later; ``due_at`` moves along, unless another write has changed it."""
    own = _own(state, attempt)
    if own is None or state.row is None or own.lease_until is None:
        return Decision(state, result=False)
    until = now + lease
    due_at = until if state.row.due_at == own.lease_until else state.row.due_at
    return Decision(state.with_row(refresh=evolve(own, lease_until=until), due_at=due_at), result=True, durable=True)


def released(state: AccountState, now: datetime, attempt: Attempt) -> Decision[None]:
    """End the attempt's own lease; the account is due now."""
    own = _own(state, attempt)
    return Decision(state if own is None else state.with_row(refresh=evolve(own, lease_until=None), due_at=now), None)


def withdrawn(state: AccountState, now: datetime, attempt: Attempt, seen: UUID | None) -> Decision[None]:
    """End an attempt whose claim may still be on its way to the store.

    If the claim has not arrived, and nobody else has claimed the account, the attempt is noted as the latest one, but
    without a lease. The claim then finds a conflict whenever it arrives, so nobody has to wait for it. A crash of the
    server ends the claim too, so this change need not survive one.
    """
    if _own(state, attempt) is not None:
        return released(state, now, attempt)
    if state.holds(attempt.credential) is None or state.refresh.attempt_id != seen:
        return Decision(state, None)
    refresh = evolve(state.refresh, attempt_id=attempt.attempt_id)
    due_at = None if state.row is None else state.row.due_at
    return Decision(state.with_row(refresh=refresh, due_at=due_at), None)


def failed(state: AccountState, now: datetime, attempt: Attempt, failure: Failure, actor: str | None) -> Decision[None]:
    """Count a failure of the latest attempt, and let the next attempt wait."""
    own = _own(state, attempt)
    if own is None or state.row is None:
        return Decision(state, None)
    next_at, due_at = now + failure.retry_in, state.row.due_at
    refresh = evolve(
        own,
        credential_value_id=attempt.credential.value_id,  # another than the claimed one if the answer has replaced it
        lease_until=None,
        failures=own.failures + 1,
        next_attempt_at=next_at,
        error_code=failure.code,
        unknown_since=now if failure.unknown else own.unknown_since,
        **_refused(own, failure, now),
    )
    # A claim sets `due_at` to the end of its lease. Any other time comes from a value stored during the attempt.
    due_at = next_at if due_at is None or due_at == own.lease_until else min(due_at, next_at)
    events = (failing_event(attempt, failure, now, actor),) if refresh.failures == 1 else ()
    return Decision(state.with_row(refresh=refresh, due_at=due_at), None, events)


def unread(
    state: AccountState, now: datetime, attempt: Attempt, answer: SealedAnswer, actor: str | None
) -> Decision[None]:
    """Count the failure of an attempt whose answer could not be read; keep the answer while its credential is stored.

    It takes the place of an earlier answer. An answer of the same attempt is kept since the earlier time.
    """
    decision = failed(state, now, attempt, answer.failure, actor)
    if state.row is None or state.holds(attempt.credential) is None:
        return decision
    same = state.answer if state.answer is not None and state.answer.attempt_id == attempt.attempt_id else None
    kept = KeptAnswer(attempt.attempt_id, answer.sealed, now if same is None else same.kept_at)
    events = (kept_event(attempt, now, actor),) if same is None else ()
    return Decision(evolve(decision.state, answer=kept), None, (*events, *decision.events), durable=True)


def reread(state: AccountState, attempt_id: UUID, sealed: SealedToken | None) -> Decision[None]:
    """Put an attempt's kept answer under another seal, or drop it; if another attempt's is kept, nothing changes."""
    if state.answer is None or state.answer.attempt_id != attempt_id:
        return Decision(state, None)
    answer = None if sealed is None else evolve(state.answer, sealed=sealed)
    return Decision(evolve(state, answer=answer), None)


def answered(
    state: AccountState, now: datetime, attempt: Attempt, writes: Sequence[TokenWrite], actor: str | None
) -> Decision[Commit]:
    """Store the provider's answer, as far as nobody has stored or deleted the values that it replaces.

    The answer is kept no longer as one that could not be read.
    """
    state = reread(state, attempt.attempt_id, None).state
    if state.row is not None and state.row.committed_attempt_id == attempt.attempt_id:
        return Decision(state, Commit(CommitOutcome.WRITTEN))
    stored = {kind: TokenRef.of(token.info) for kind, token in state.tokens.items()}
    outcome, wanted = still_wanted(_rebased(state, attempt), stored, writes)
    if outcome is CommitOutcome.CREDENTIAL_MOVED:
        return Decision(released(state, now, attempt).state, Commit(outcome), durable=True)
    mark = mark_of(state.tokens[attempt.credential.key.kind].info)
    new, infos = written(state, now, wanted)
    marked = suspect(attempt, mark, wanted)
    if marked is not None:
        new = new.with_token(new.tokens[marked.key.kind], status=TokenStatus.UNKNOWN, error_code=mark)
    events = [refreshed_event(attempt, infos, now, actor)] if infos else []
    if state.refresh.failures:
        events.append(recovered_event(attempt, now, actor))
    new = new.with_row(
        refresh=_after_answer(new, now, attempt),
        committed_attempt_id=attempt.attempt_id,
        due_at=_due_after(wanted, infos, now),
    )
    access = stored_access(zip(wanted, infos, strict=True))
    return Decision(new, Commit(outcome, access), tuple(events), durable=True)


def rejected(state: AccountState, now: datetime, attempt: Attempt, code: str, actor: str | None) -> Decision[bool]:
    """End the attempt and mark its credential invalid, because the provider rejected it for good."""
    new = released(state, now, attempt).state
    token = new.holds(attempt.credential)
    if token is None or token.info.status is TokenStatus.INVALID:
        return Decision(new, token is not None, durable=True)
    new = new.with_token(token, rejected_at=now)
    new, event = invalidated(new, new.tokens[token.key.kind], now, code, actor)
    return Decision(new, True, (event, required_event(attempt, code, now, actor)), durable=True)


def _own(state: AccountState, attempt: Attempt) -> RefreshState | None:
    """Return the refresh state if this attempt is the latest, or None."""
    return state.row.refresh if state.row is not None and state.refresh.attempt_id == attempt.attempt_id else None


def _after_answer(new: AccountState, now: datetime, attempt: Attempt) -> RefreshState:
    """Return the refresh state after an answer was stored; the latest attempt keeps its lease.

    The latest attempt has the same credential, because this one is still stored. Its state concerns the new credential
    from now on: a provider with a grace period answers both, and `_rebased` lets the later answer replace this one.
    """
    refresh = new.refresh
    if _own(new, attempt) is not None:
        return refresh.settled(keep_lease=False)
    # A lease that is over would count as an unknown outcome of the new credential, which nobody has presented.
    settled = refresh.settled(keep_lease=refresh.leased_until(now) is not None)
    return evolve(settled, credential_value_id=new.tokens[attempt.credential.key.kind].info.value_id)


def _rebased(state: AccountState, attempt: Attempt) -> Attempt:
    """Return the latest attempt as if it had been claimed over what an earlier attempt with its credential stored.

    The provider answered both, and knows the earlier answer's refresh token as spent. So the later answer is the one to
    keep.
    """
    own, credential = _own(state, attempt), state.tokens.get(attempt.credential.key.kind)
    if own is None or credential is None or not own.concerns(credential.info):
        return attempt
    ref, access = TokenRef.of(credential.info), state.tokens.get(TokenKind.ACCESS_TOKEN)
    if ref == attempt.credential:
        return attempt
    # What one answer brought has the same time.
    if access is None or access.info.last_refreshed_at != credential.info.last_refreshed_at:
        return evolve(attempt, credential=ref)
    return evolve(attempt, credential=ref, access=TokenRef.of(access.info))


def woken(state: AccountState, now: datetime) -> Decision[None]:
    """End the backoff after a rejection that condemned nothing: the account is due now."""
    if state.row is None or not state.refresh.failures or state.refresh.error_code != MASS_REJECTION:
        return Decision(state, None)
    return Decision(state.with_row(refresh=evolve(state.refresh, next_attempt_at=None), due_at=now), None)


def _refused(own: RefreshState, failure: Failure, now: datetime) -> dict[str, Any]:
    if not failure.refused:
        return {}
    if own.refused_since is None:
        return {"refused_since": now}
    if failure.refused_for is None:
        return {}
    return {"refused_since": now - failure.refused_for, "refused_for": failure.refused_for}


def _due_after(writes: Sequence[TokenWrite], infos: Sequence[TokenInfo], now: datetime) -> datetime | None:
    for write, info in zip(writes, infos, strict=True):
        if write.lead is not None:
            return due_at_of(write, info.expires_at, now)
    return now


def stored_access(stored: Iterable[tuple[TokenWrite, TokenInfo]]) -> StoredToken | None:
    """Return the access token among writes that were stored, each with its new metadata; None if there is none."""
    for write, info in stored:
        if write.key.kind is TokenKind.ACCESS_TOKEN:
            return StoredToken(info, write.sealed)
    return None


def still_wanted(
    attempt: Attempt, stored: Mapping[TokenKind, TokenRef], writes: Sequence[TokenWrite]
) -> tuple[CommitOutcome, list[TokenWrite]]:
    """Compare an attempt's values with the values that are stored now; return the outcome and the writes to store.

    Args:
        attempt: refers to the values that were stored when the account was claimed.
        stored: the values that are stored now, by kind.
        writes: the provider's answer.
    """
    if stored.get(attempt.credential.key.kind) != attempt.credential:
        return CommitOutcome.CREDENTIAL_MOVED, []
    if stored.get(TokenKind.ACCESS_TOKEN) == attempt.access:
        return CommitOutcome.WRITTEN, list(writes)
    return CommitOutcome.ACCESS_MOVED, [write for write in writes if write.key.kind is not TokenKind.ACCESS_TOKEN]


def mark_of(credential: TokenInfo) -> str | None:
    """Return the error code with which a credential was marked invalid; None if the credential is not invalid."""
    return credential.error_code or INVALID if credential.status is TokenStatus.INVALID else None


def suspect(attempt: Attempt, mark: str | None, writes: Iterable[TokenWrite]) -> TokenWrite | None:
    """Return the write of the new credential if it inherits the mark of the spent one, else None.

    Args:
        attempt: refers to the credential that was spent.
        mark: the error code with which the spent credential was marked invalid; None if that credential is not invalid.
        writes: the writes that are stored.
    """
    if mark is None:
        return None
    return next((each for each in writes if each.key == attempt.credential.key and each.keeps_mark), None)
