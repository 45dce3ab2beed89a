"""What becomes of an account when values are stored, marked, deleted or revived, or when a sweep has checked it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from attrs import evolve

from vault_domain.entities.account import TokenKind
from vault_domain.entities.account_state import AccountState, Decision
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.errors import GenerationConflictError
from vault_domain.entities.imported import ImportedWrite
from vault_domain.entities.lifetime import capped
from vault_domain.entities.refresh_state import AccountRecord
from vault_domain.entities.suspicion import ConfirmationWindow, Report
from vault_domain.entities.token import MarkOutcome, StoredToken, TokenInfo, TokenRef, TokenStatus, TokenWrite
from vault_domain.rules.schedule import accounts_due
from vault_domain.transitions.events import key_event, token_event


def stored(
    state: AccountState,
    now: datetime,
    writes: Sequence[TokenWrite],
    actor: str | None,
    expected_generation: int | None = None,
    label: str | None = None,
) -> Decision[list[TokenInfo]]:
    """Insert or replace values, and the account's label unless ``label`` is None.

    Raises:
        GenerationConflictError: the key of the only write holds another generation than the expected one.
    """
    if expected_generation is not None and state.generation(writes[0].key.kind) != expected_generation:
        raise GenerationConflictError(account=state.account)
    new, infos = written(state, now, writes)
    actions = (AuditAction.TOKEN_REFRESHED if write.refreshed else AuditAction.TOKEN_STORED for write in writes)
    events = tuple(token_event(action, info, now, actor) for action, info in zip(actions, infos, strict=True))
    new = scheduled(new, now, list(zip(writes, infos, strict=True)))
    return Decision(new if label is None else new.with_row(label=label), infos, events)


def stored_set(
    state: AccountState, now: datetime, writes: Sequence[TokenWrite], label: str | None, actor: str | None
) -> Decision[tuple[AccountRecord, datetime]]:
    """Store what a user's consent gave: values and label. Failures, refusals and an unknown outcome are over.

    Raises:
        DecryptionError: a row that stays is damaged.
    """
    decision = stored(state, now, writes, actor, label=label)
    new = cleared(decision.state.require_intact(), now)
    record = new.record
    assert record is not None  # noqa: S101 - its tokens were just written
    return Decision(new, (record, now), decision.events)


def marked(state: AccountState, now: datetime, ref: TokenRef, code: str, actor: str | None) -> Decision[MarkOutcome]:
    """Mark exactly this value invalid."""
    token = state.holds(ref)
    if token is None or token.info.status is TokenStatus.INVALID:
        return Decision(state, MarkOutcome.STALE if token is None else MarkOutcome.ALREADY_INVALID)
    new, event = invalidated(state, token, now, code, actor)
    return Decision(new, MarkOutcome.APPLIED, (event,), durable=True)


def reported(
    state: AccountState, now: datetime, ref: TokenRef, code: str, window: ConfirmationWindow, actor: str | None
) -> Decision[MarkOutcome]:
    """Note that a resource rejected this value: the first report makes it suspect, a confirming report invalid."""
    token = state.holds(ref)
    if token is None or token.info.status is TokenStatus.INVALID:
        return marked(state, now, ref, code, actor)
    report = window.judge(token.info.suspect_since, now)
    if report is Report.CONFIRMED:
        return marked(state, now, ref, code, actor)
    if report is Report.EARLY:
        return Decision(state, MarkOutcome.SUSPECTED)
    event = token_event(AuditAction.TOKEN_SUSPECTED, token.info, now, actor, code)
    return Decision(state.with_token(token, suspect_since=now), MarkOutcome.SUSPECTED, (event,), durable=True)


def deleted(
    state: AccountState, now: datetime, kinds: Iterable[TokenKind], actor: str | None, only: TokenRef | None = None
) -> Decision[int]:
    """Delete tokens; with the last one, everything else that is stored of the account is deleted too.

    Nothing is deleted if ``only`` is given and its value is no longer stored.
    """
    if only is not None and state.holds(only) is None:
        return Decision(state, 0)
    given = set(kinds)
    gone = [kind for kind in TokenKind if kind in given and (kind in state.tokens or kind in state.damaged)]
    if not gone:
        return Decision(state, 0)
    new = state.without(gone)
    if TokenKind.ACCESS_TOKEN in gone and new.row is not None:
        new = new.due_by(now)
    action = AuditAction.TOKEN_DELETED
    events = (key_event(action, state.account.key(kind), state.generation(kind) or None, now, actor) for kind in gone)
    return Decision(new, len(gone), tuple(events))


def revived(
    state: AccountState, now: datetime, ref: TokenRef, due_in: timedelta, actor: str | None, *, anew: bool = True
) -> Decision[bool]:
    """Make a credential valid again that a refresh has condemned, unless it has expired.

    The account is due after ``due_in``. With ``anew``, failures, refusals and an unknown outcome are over.
    """
    token = state.holds(ref)
    if token is None or token.info.status is not TokenStatus.INVALID or token.info.rejected_at is None:
        return Decision(state, result=False)
    if token.info.expires_at is not None and token.info.expires_at <= now:
        return Decision(state, result=False)
    event = token_event(AuditAction.ACCOUNT_REVIVED, token.info, now, actor, token.info.error_code)
    new = state.with_token(token, status=TokenStatus.VALID, error_code=None, rejected_at=None, updated_at=now)
    if new.row is not None:
        new = (cleared(new, now) if anew else new).with_row(due_at=now + due_in)
    return Decision(new, True, (event,))


def end_told(state: AccountState, now: datetime, notice: timedelta, actor: str | None) -> Decision[bool]:
    """Tell once of a refresh token that it expires soon."""
    token = state.tokens.get(TokenKind.REFRESH_TOKEN)
    if token is None or token.is_end_told or not is_ending(token.info, now, notice):
        return Decision(state, result=False)
    event = token_event(AuditAction.REFRESH_TOKEN_EXPIRING, token.info, now, actor)
    return Decision(state.with_tokens(evolve(token, is_end_told=True)), True, (event,))


def is_ending(info: TokenInfo, now: datetime, notice: timedelta) -> bool:
    """Return whether a refresh token that still works expires within ``notice``, or half of its lifetime if shorter."""
    if info.expires_at is None or info.status is TokenStatus.INVALID:
        return False
    return timedelta(0) < info.expires_at - now <= capped(notice, info.lifetime)


def rescheduled(state: AccountState, due_at: datetime | None) -> Decision[None]:
    """Store when an account is due next; an account without a row has no schedule."""
    return Decision(state if state.row is None else state.with_row(due_at=due_at), None)


def written(state: AccountState, now: datetime, writes: Sequence[TokenWrite]) -> tuple[AccountState, list[TokenInfo]]:
    """Put values in place, without events and without a schedule; each write must name its value."""
    infos = [info_of(state, now, write, _named(write)) for write in writes]
    tokens = [StoredToken(info, write.sealed) for write, info in zip(writes, infos, strict=True)]
    return state.with_tokens(*tokens), infos


def scheduled(
    state: AccountState, now: datetime, values: Sequence[tuple[TokenWrite | ImportedWrite, TokenInfo]]
) -> AccountState:
    """Make the account due no later than its new values require.

    If no value requires a time, an account that has a row is due now.
    """
    due = accounts_due(((write, info.expires_at) for write, info in values), now)
    asked = due.get(state.account)
    return state if not values or (asked is None and state.row is None) else state.due_by(asked or now)


def cleared(state: AccountState, now: datetime) -> AccountState:
    """End backoff, unknown outcome and run of refusals; a running attempt keeps its lease."""
    if state.row is None:
        return state
    return state.with_row(refresh=state.refresh.settled(keep_lease=state.refresh.leased_until(now) is not None))


def invalidated(
    state: AccountState, token: StoredToken, now: datetime, code: str, actor: str | None
) -> tuple[AccountState, AuditEvent]:
    """Make a token invalid; an account without a valid access token is due now."""
    new = state.with_token(token, status=TokenStatus.INVALID, error_code=code, updated_at=now)
    if token.key.kind is TokenKind.ACCESS_TOKEN:
        new = new.due_by(now)
    return new, token_event(AuditAction.TOKEN_INVALIDATED, token.info, now, actor, code)


def _named(write: TokenWrite) -> UUID:
    if write.value_id is None:
        raise ValueError("the writer names the value, so that a repeated decision is the same decision")
    return write.value_id


def info_of(state: AccountState, now: datetime, write: TokenWrite, value_id: UUID) -> TokenInfo:
    """Return the metadata of a new value."""
    there = state.tokens.get(write.key.kind)
    old = None if there is None else there.info
    expires_at = write.expires_at
    if expires_at is None and write.lifetime is not None:
        expires_at = now + write.lifetime
    kept_scopes = () if old is None else old.scopes
    return TokenInfo(
        id=value_id if old is None else old.id,
        key=write.key,
        status=TokenStatus.VALID,
        error_code=None,
        expires_at=expires_at,
        scopes=kept_scopes if write.scopes is None else write.scopes,
        generation=state.generation(write.key.kind) + 1,
        last_used_at=None if old is None else old.last_used_at,
        last_refreshed_at=now if write.refreshed or old is not None else None,
        lifetime=write.lifetime,
        created_at=now if old is None else old.created_at,
        updated_at=now,
        value_id=value_id,
        client=write.client,
    )
