"""What becomes of an account when a value is stored or becomes invalid, or when a sweep has checked it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from vault_domain.entities.account import TokenKind
from vault_domain.entities.account_state import AccountState, Decision
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.token import StoredToken, TokenInfo, TokenStatus, TokenWrite
from vault_domain.transitions.events import token_event


def rescheduled(state: AccountState, due_at: datetime | None) -> Decision[None]:
    """Store when an account is due next; an account without a row has no schedule."""
    return Decision(state if state.row is None else state.with_row(due_at=due_at), None)


def written(state: AccountState, now: datetime, writes: Sequence[TokenWrite]) -> tuple[AccountState, list[TokenInfo]]:
    """Put values in place, without events and without a schedule; each write must name its value."""
    infos = [_info(state, now, write) for write in writes]
    return state.with_tokens(
        *(StoredToken(info, write.sealed) for write, info in zip(writes, infos, strict=True))
    ), infos


def invalidated(
    state: AccountState, token: StoredToken, now: datetime, code: str, actor: str | None
) -> tuple[AccountState, AuditEvent]:
    """Make a token invalid; an account without a valid access token is due now."""
    new = state.with_token(token, status=TokenStatus.INVALID, error_code=code, updated_at=now)
    if token.key.kind is TokenKind.ACCESS_TOKEN:
        new = new.due_by(now)
    return new, token_event(AuditAction.TOKEN_INVALIDATED, token.info, now, actor, code)


def _info(state: AccountState, now: datetime, write: TokenWrite) -> TokenInfo:
    there = state.tokens.get(write.key.kind)
    old = None if there is None else there.info
    if write.value_id is None:
        raise ValueError("the writer names the value, so that a repeated decision is the same decision")
    expires_at = write.expires_at
    if expires_at is None and write.lifetime is not None:
        expires_at = now + write.lifetime
    kept_scopes = () if old is None else old.scopes
    return TokenInfo(
        id=write.value_id if old is None else old.id,
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
        value_id=write.value_id,
        client=write.client,
    )
