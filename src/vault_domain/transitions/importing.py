"""What becomes of an account when tokens of another system are imported."""

from __future__ import annotations

from collections.abc import Container, Sequence
from datetime import UTC, datetime
from uuid import UUID

from attrs import frozen

from vault_domain.entities.account_state import AccountState, Decision
from vault_domain.entities.audit import AuditAction
from vault_domain.entities.imported import ImportedWrite, ImportOutcome
from vault_domain.entities.token import StoredToken, TokenInfo
from vault_domain.transitions.events import token_event
from vault_domain.transitions.values import scheduled


@frozen
class Held:
    """What an import looks at of the token that a key holds.

    Attributes:
        id: the token's id.
        generation: the generation of its value.
        updated_at: time of its last change, UTC.
        last_refreshed_at: time of its last refresh, UTC; None: unknown.
    """

    id: UUID
    generation: int
    updated_at: datetime
    last_refreshed_at: datetime | None = None


DAMAGED = Held(UUID(int=0), 0, datetime.max.replace(tzinfo=UTC))
"""Stands for a row that cannot be read; it counts as one that another writer has stored."""

Named = tuple[ImportedWrite, UUID]
"""A write, and the id that the token and its value get if they are stored."""


def imported(
    state: AccountState,
    now: datetime,
    writes: Sequence[Named],
    own: Container[UUID],
    actor: str | None,
    *,
    overwrite: bool,
) -> Decision[list[ImportOutcome]]:
    """Store values under keys that hold nothing, and later values of this import; see `Accounts.begin_import`.

    Args:
        state: the account.
        now: the store's time.
        writes: the values, each of another kind.
        own: the ids of tokens that this import recognizes as its own.
        actor: who imports.
        overwrite: whether to replace what other writers stored.
    """
    outcomes, stored, events = [], [], []
    for write, token_id in writes:
        outcome, is_stored = outcome_of(write, _held(state, write), now, own, overwrite=overwrite)
        outcomes.append(outcome)
        if is_stored:
            info = _info(write, token_id, _held(state, write), now, own)
            stored.append((write, info))
            code = None if outcome is ImportOutcome.IMPORTED else "replaced"
            events.append(token_event(AuditAction.TOKEN_IMPORTED, info, now, actor, code))
    if not stored:
        return Decision(state, outcomes)
    new = state.with_tokens(*(StoredToken(info, write.sealed) for write, info in stored))
    return Decision(scheduled(new, now, stored), outcomes, tuple(events))


def outcome_of(
    write: ImportedWrite, held: Held | None, now: datetime, own: Container[UUID], *, overwrite: bool
) -> tuple[ImportOutcome, bool]:
    """Return the outcome of a write, and whether it is stored; ``held``: what its key holds, or None."""
    if held is None:
        return ImportOutcome.IMPORTED, True
    if held.id in own:
        # A write without `updated_at`, or with one in the future, does not count as later than the stored row.
        is_later = write.updated_at is not None and held.updated_at < write.updated_at < now
        return ImportOutcome.SKIPPED, held.generation == 1 and is_later
    return (ImportOutcome.REPLACED, True) if overwrite else (ImportOutcome.SKIPPED, False)


def _held(state: AccountState, write: ImportedWrite) -> Held | None:
    token = state.tokens.get(write.key.kind)
    if token is None:
        return DAMAGED if write.key.kind in state.damaged else None
    return Held(token.info.id, token.info.generation, token.info.updated_at, token.info.last_refreshed_at)


def past(moment: datetime | None, now: datetime) -> datetime:
    """Return a time that is not in the future; an unknown one becomes the present."""
    return now if moment is None else min(moment, now)


def refreshed_at(write: ImportedWrite, held: Held | None, now: datetime, own: Container[UUID]) -> datetime | None:
    """Return the time of the last refresh of a write that is stored; ``held``: what its key holds, or None."""
    moment = write.last_refreshed_at
    if moment is None and held is not None:
        moment = held.last_refreshed_at if held.id in own else now
    return None if moment is None else min(moment, now)


def _info(write: ImportedWrite, token_id: UUID, held: Held | None, now: datetime, own: Container[UUID]) -> TokenInfo:
    """Return the metadata of a write that is stored; for the arguments see `imported` and `outcome_of`."""
    return TokenInfo(
        id=token_id,
        key=write.key,
        status=write.status,
        error_code=write.error_code,
        expires_at=write.expires_at,
        scopes=write.scopes,
        generation=1,
        last_used_at=None if write.last_used_at is None else min(write.last_used_at, now),
        last_refreshed_at=refreshed_at(write, held, now, own),
        lifetime=None,
        created_at=past(write.created_at, now),
        updated_at=past(write.updated_at, now),
        value_id=token_id,
        client=write.client,
    )
