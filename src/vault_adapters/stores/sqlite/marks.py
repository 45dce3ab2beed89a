"""Marks stored values as invalid or suspect, and notes refresh tokens that expire soon."""

from datetime import timedelta
from typing import Any

from attrs import frozen

from vault_adapters.stores.damage import sound
from vault_adapters.stores.queries import Queries
from vault_adapters.stores.sqlite.audit import append_events, token_event
from vault_adapters.stores.sqlite.database import Row, Transaction
from vault_adapters.stores.sqlite.rows import account_parameters, key_parameters, to_micros, to_time, whole
from vault_domain.entities.account import TokenKey, TokenKind, stored_key
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.suspicion import ConfirmationWindow, Report
from vault_domain.entities.token import MarkOutcome, TokenRef, TokenStatus
from vault_domain.ports.change import Change


@frozen
class TokenState:
    """The columns of a token that a mutation compares before it writes."""

    value_id: bytes
    generation: int
    status: str
    suspect_since: int | None


async def token_state(transaction: Transaction, queries: Queries, key: TokenKey) -> TokenState | None:
    """Read only the columns that a write compares, so that a row with damage in other columns can be replaced."""
    rows = await transaction.fetch(queries["get_token_state"], key_parameters(key))
    return next((TokenState(*row) for row in rows), None)


async def mark_invalid(
    transaction: Transaction, queries: Queries, ref: TokenRef, error_code: str, actor: str | None
) -> Change[MarkOutcome]:
    """Mark exactly this value invalid; see `TokenRepository.mark_invalid`."""
    state = await _open_state(transaction, queries, ref)
    if isinstance(state, MarkOutcome):
        return Change(state)
    return await _invalidate(transaction, queries, ref, state, error_code, actor)


async def report_rejected(
    transaction: Transaction,
    queries: Queries,
    ref: TokenRef,
    error_code: str,
    window: ConfirmationWindow,
    actor: str | None,
) -> Change[MarkOutcome]:
    """Record that a resource rejected exactly this value; see `TokenRepository.report_rejected`."""
    state = await _open_state(transaction, queries, ref)
    if isinstance(state, MarkOutcome):
        return Change(state)
    report = window.judge(to_time(state.suspect_since), transaction.now)
    if report is Report.CONFIRMED:
        return await _invalidate(transaction, queries, ref, state, error_code, actor)
    if report is Report.EARLY:
        return Change(MarkOutcome.SUSPECTED)
    await transaction.execute(queries["suspect_value"], _value(transaction, ref))
    event = token_event(AuditAction.TOKEN_SUSPECTED, ref.key, state.generation, transaction, actor, error_code)
    await append_events(transaction, queries, [event])
    return Change(MarkOutcome.SUSPECTED, (event,))


async def _open_state(transaction: Transaction, queries: Queries, ref: TokenRef) -> TokenState | MarkOutcome:
    """Return the value's state if it can be marked, else the reason why not."""
    state = await token_state(transaction, queries, ref.key)
    if state is None or state.value_id != ref.value_id.bytes:
        return MarkOutcome.STALE
    return MarkOutcome.ALREADY_INVALID if state.status == TokenStatus.INVALID else state


async def invalidate_value(transaction: Transaction, queries: Queries, ref: TokenRef, error_code: str) -> None:
    """Make a stored value invalid, and make its account due now if it is an access token, so that a sweep refreshes it.

    The caller has checked that the value is stored, and appends the event.
    """
    await transaction.execute(queries["invalidate_token"], _value(transaction, ref) | {"error_code": error_code})
    if ref.key.kind is TokenKind.ACCESS_TOKEN:
        due = account_parameters(ref.key.account) | {"due_at": to_micros(transaction.now)}
        await transaction.execute(queries["schedule_value"], due)


async def _invalidate(
    transaction: Transaction, queries: Queries, ref: TokenRef, state: TokenState, error_code: str, actor: str | None
) -> Change[MarkOutcome]:
    await invalidate_value(transaction, queries, ref, error_code)
    event = token_event(AuditAction.TOKEN_INVALIDATED, ref.key, state.generation, transaction, actor, error_code)
    await append_events(transaction, queries, [event])
    return Change(MarkOutcome.APPLIED, (event,))


def _value(transaction: Transaction, ref: TokenRef) -> dict[str, Any]:
    return key_parameters(ref.key) | {"value_id": ref.value_id.bytes, "now": to_micros(transaction.now)}


async def note_ending(
    transaction: Transaction, queries: Queries, notice: timedelta, limit: int, actor: str | None
) -> Change[int]:
    """Write the event ``refresh_token_expiring`` for tokens that expire soon; see `TokenRepository.note_ending`."""
    parameters = {"now": to_micros(transaction.now), "notice": notice // timedelta(microseconds=1), "limit": limit}
    rows = await transaction.fetch(queries["find_ending"], parameters)
    names = [{"tenant_id": tenant, "provider": provider, "identifier": name} for tenant, provider, name, _ in rows]
    await transaction.execute_many(queries["note_ending"], names)
    events = sound(rows, lambda row: _ending_event(row, transaction, actor))
    await append_events(transaction, queries, events)
    return Change(len(rows), tuple(events))


def _ending_event(row: Row, transaction: Transaction, actor: str | None) -> AuditEvent:
    tenant_id, provider, identifier, generation = row
    key = stored_key(tenant_id, provider, TokenKind.REFRESH_TOKEN, identifier)
    return token_event(AuditAction.REFRESH_TOKEN_EXPIRING, key, whole(generation), transaction, actor)
