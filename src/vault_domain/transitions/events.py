"""The audit events of tokens and of refreshes; a store appends them in the transaction of the change they report."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from vault_domain.entities.account import TokenKey, TokenKind
from vault_domain.entities.attempt import Attempt, Failure
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.causes import OUTCOME_UNKNOWN, REFUSED, UNREADABLE_ANSWER
from vault_domain.entities.token import TokenInfo


def token_event(
    action: AuditAction, info: TokenInfo, now: datetime, actor: str | None, code: str | None = None
) -> AuditEvent:
    """Return an event about one token."""
    return key_event(action, info.key, info.generation, now, actor, code)


def key_event(
    action: AuditAction,
    key: TokenKey,
    generation: int | None,
    now: datetime,
    actor: str | None,
    code: str | None = None,
) -> AuditEvent:
    """Return an event about the token under a key; ``generation``: None if it cannot be read."""
    return AuditEvent(
        action,
        now,
        tenant_id=key.tenant_id,
        account=key.account,
        kind=key.kind,
        generation=generation,
        actor=actor,
        code=code,
    )


def refreshed_event(attempt: Attempt, stored: Iterable[TokenInfo], now: datetime, actor: str | None) -> AuditEvent:
    """Return the one event of a commit that stored one or more values."""
    infos = {info.key.kind: info for info in stored}
    access = infos.get(TokenKind.ACCESS_TOKEN)
    others = [info for info in infos.values() if info is not access]
    first = access or others[0]
    return AuditEvent(
        AuditAction.TOKEN_REFRESHED,
        now,
        tenant_id=attempt.account.tenant_id,
        account=attempt.account,
        kind=first.key.kind,
        generation=first.generation,
        credential_generation=others[0].generation if access is not None and others else None,
        actor=actor,
    )


def recovered_event(attempt: Attempt, now: datetime, actor: str | None) -> AuditEvent:
    """Return the event of a commit that ends a run of failures."""
    return _about_account(AuditAction.REFRESH_RECOVERED, attempt, now, actor, None)


def failing_event(attempt: Attempt, failure: Failure, now: datetime, actor: str | None) -> AuditEvent:
    """Return the event of the first failure of a run of failures."""
    return _about_account(AuditAction.REFRESH_FAILING, attempt, now, actor, cause_of(failure))


def lost_event(attempt: Attempt, now: datetime, actor: str | None) -> AuditEvent:
    """Return the event of an earlier attempt that ended without a trace, because its process died, for example."""
    return _about_account(AuditAction.REFRESH_OUTCOME_UNKNOWN, attempt, now, actor, None)


def kept_event(attempt: Attempt, now: datetime, actor: str | None) -> AuditEvent:
    """Return the event of an answer that is kept because it could not be read."""
    return _about_account(AuditAction.ANSWER_KEPT, attempt, now, actor, UNREADABLE_ANSWER)


def required_event(attempt: Attempt, code: str, now: datetime, actor: str | None) -> AuditEvent:
    """Return the event of a refresh that condemned the credential."""
    return _about_account(AuditAction.REAUTHORIZATION_REQUIRED, attempt, now, actor, code)


def cause_of(failure: Failure) -> str:
    """Return the cause of a failure as a code; `AccountInfo.reason` shows this code until another attempt ends."""
    if failure.code is not None:
        return failure.code
    if failure.unknown:
        return OUTCOME_UNKNOWN
    return REFUSED if failure.refused else "temporarily_unavailable"


def _about_account(
    action: AuditAction, attempt: Attempt, now: datetime, actor: str | None, code: str | None
) -> AuditEvent:
    account = attempt.account
    return AuditEvent(action, now, tenant_id=account.tenant_id, account=account, actor=actor, code=code)
