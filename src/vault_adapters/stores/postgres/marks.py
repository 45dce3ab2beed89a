"""Marks stored values as invalid or suspect, and notes refresh tokens that expire soon."""

from datetime import timedelta

from vault_adapters.stores.postgres.audit import token_event
from vault_adapters.stores.postgres.cursors import int8
from vault_adapters.stores.postgres.database import PostgresDatabase
from vault_adapters.stores.postgres.rows import key_parameters, micros
from vault_adapters.stores.queries import Queries
from vault_domain.entities.account import TokenKind, stored_key
from vault_domain.entities.audit import AuditAction
from vault_domain.entities.suspicion import ConfirmationWindow
from vault_domain.entities.token import MarkOutcome, TokenRef
from vault_domain.ports.change import Change


async def mark_invalid(
    database: PostgresDatabase, queries: Queries, ref: TokenRef, error_code: str, actor: str | None
) -> Change[MarkOutcome]:
    """Mark exactly this value invalid; see `TokenRepository.mark_invalid`."""
    value = key_parameters(ref.key) | {"value_id": ref.value_id}
    parameters = value | {"error_code": error_code, "actor": actor, "now": database.now()}
    rows = await database.write(queries["invalidate_token"], parameters)
    if rows:
        action = AuditAction.TOKEN_INVALIDATED
        [(occurred_at, generation)] = rows
        event = token_event(action, ref.key, generation, occurred_at, actor, error_code)
        return Change(MarkOutcome.APPLIED, (event,))
    # The value is invalid already, or it was replaced or deleted.
    [(is_invalid,)] = await database.fetch(queries["is_invalid"], value)
    return Change(MarkOutcome.ALREADY_INVALID if is_invalid else MarkOutcome.STALE)


async def report_rejected(
    database: PostgresDatabase,
    queries: Queries,
    ref: TokenRef,
    error_code: str,
    window: ConfirmationWindow,
    actor: str | None,
) -> Change[MarkOutcome]:
    """Record that a resource rejected exactly this value; see `TokenRepository.report_rejected`."""
    value = key_parameters(ref.key) | {"value_id": ref.value_id}
    parameters = value | {"error_code": error_code, "actor": actor, "now": database.now()}
    parameters |= {"least": micros(window.least), "most": micros(window.most)}
    rows = await database.write(queries["report_token"], parameters)
    if rows:
        [(occurred_at, generation, is_invalid)] = rows
        action = AuditAction.TOKEN_INVALIDATED if is_invalid else AuditAction.TOKEN_SUSPECTED
        event = token_event(action, ref.key, generation, occurred_at, actor, error_code)
        return Change(MarkOutcome.APPLIED if is_invalid else MarkOutcome.SUSPECTED, (event,))
    statuses = {status for (status,) in await database.fetch(queries["get_status"], value)}
    if not statuses:
        return Change(MarkOutcome.STALE)
    return Change(MarkOutcome.ALREADY_INVALID if "invalid" in statuses else MarkOutcome.SUSPECTED)


async def note_ending(
    database: PostgresDatabase, queries: Queries, notice: timedelta, limit: int, actor: str | None
) -> Change[int]:
    """Write the event ``refresh_token_expiring`` for tokens that expire soon; see `TokenRepository.note_ending`."""
    parameters = {"notice": micros(notice), "limit": int8(limit), "actor": actor, "now": database.now()}
    rows = await database.write(queries["note_ending"], parameters)
    events = []
    for tenant_id, provider, identifier, generation, occurred_at in rows:
        key = stored_key(tenant_id, provider, TokenKind.REFRESH_TOKEN, identifier)
        events.append(token_event(AuditAction.REFRESH_TOKEN_EXPIRING, key, generation, occurred_at, actor))
    return Change(len(rows), tuple(events))
