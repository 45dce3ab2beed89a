"""Loads an account whole, and writes what differs between two of its states."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from vault_adapters.stores.columns import OWNED_VALUE, generation_of, is_missing
from vault_adapters.stores.damage import (
    Damage,
    gone_kinds,
    own_key,
    refused_account,
    report_damage,
    sealed_answer,
    sealed_value,
)
from vault_adapters.stores.sqlite.account_rows import account_row
from vault_adapters.stores.sqlite.audit import appending
from vault_adapters.stores.sqlite.rows import (
    account_parameters,
    to_micros,
    token_info,
    token_parameters,
)
from vault_adapters.stores.sqlite.writing import require_active
from vault_domain.entities.account_state import AccountState, KeptAnswer
from vault_domain.entities.token import StoredToken

if TYPE_CHECKING:
    from vault_adapters.stores.queries import Queries
    from vault_adapters.stores.sqlite.database import Row, Transaction
    from vault_domain.entities.account import Account, TokenKey
    from vault_domain.entities.account_state import AccountRow, Decision
    from vault_domain.entities.audit import AuditEvent
    from vault_domain.ports.accounts import Decide

T = TypeVar("T")

_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def change_state(
    transaction: Transaction,
    queries: Queries,
    account: Account,
    decide: Decide[T],
) -> Decision[T]:
    """Load an account, decide and write the new state in the given transaction; return the decision."""
    state = state_of(await transaction.fetch(queries["load_account"], account_parameters(account)), account)
    decision = decide(state, transaction.now)
    if decision.state is not state:
        await _write(transaction, queries, state, decision.state, decision.events)
    return decision


async def _write(
    transaction: Transaction, queries: Queries, before: AccountState, after: AccountState, events: Sequence[AuditEvent]
) -> None:
    """Write what differs between two states of an account, and append the events."""
    changed = [token for kind, token in after.tokens.items() if before.tokens.get(kind) is not token]
    new = [token.sealed for token in changed if token.info.value_id not in before.value_ids]
    answer = after.answer if after.answer is not before.answer else None
    new += [] if answer is None else [answer.sealed]
    if new:
        await require_active(transaction, queries, [(after.account.tenant_id, each.data_key_id) for each in new])
    own, kinds = account_parameters(after.account), gone_kinds(before, after)
    gone = [own | {"kinds": json.dumps([kind.value for kind in kinds])}] if kinds else []
    row = after.row if after.row != before.row else None
    await transaction.finish(
        [
            (queries["delete_uses"], [] if transaction.has_foreign_keys else gone),
            (queries["delete_tokens"], gone),
            (queries["delete_answer"], [own] if before.answer is not None and after.answer is None else []),
            (queries["delete_account"], [own] if gone and after.is_empty else []),
            (queries["put_token"], [token_parameters(token) for token in changed]),
            (queries["put_account"], [] if row is None else [_row_parameters(after.account, row)]),
            (queries["put_answer"], [] if answer is None else [own | _answer_parameters(answer)]),
            appending(queries, events),
        ]
    )


def state_of(rows: Sequence[Row], account: Account) -> AccountState:
    """Return the state of an account from the rows of `load_account`.

    Raises:
        DecryptionError: a row belongs to another account, or its kind cannot be read.
    """
    tokens, row, answer, damage = {}, None, None, Damage()
    try:
        for each in rows:
            token, key, columns, value, rest = OWNED_VALUE.split(each)
            *more, is_end_told, has_row = rest[:-4]
            if rest[-4] is not None:
                answer = damage.read(None, None, _kept, *rest[-4:])
            if has_row:
                row = damage.read(None, None, account_row, columns, *more)
            if not is_missing(token):
                own = own_key(key, account)
                stored = damage.read(own.kind, generation_of(token), _stored, token, own, value, is_end_told)
                if stored is not None:
                    tokens[own.kind] = stored
    except Exception as error:
        refusal = refused_account(account, error)
    else:
        state = AccountState(account, tokens, row, answer, damage.rows)
        report_damage(state)
        return state
    raise refusal


def _stored(token: Row, key: TokenKey, value: Row, is_end_told: object) -> StoredToken:
    return StoredToken(token_info(token, key), sealed_value(*value), is_end_told=bool(is_end_told))


def _kept(attempt_id: bytes, data_key_id: object, blob: object, kept_at: int) -> KeptAnswer:
    return KeptAnswer(UUID(bytes=attempt_id), sealed_answer(data_key_id, blob), _EPOCH + kept_at * _MICROSECOND)


def _answer_parameters(answer: KeptAnswer) -> dict[str, Any]:
    return {
        "attempt_id": answer.attempt_id.bytes,
        "data_key_id": answer.sealed.data_key_id,
        "blob": answer.sealed.blob,
        "kept_at": to_micros(answer.kept_at),
    }


def _row_parameters(account: Account, row: AccountRow) -> dict[str, Any]:
    refresh = row.refresh
    ids = {
        "credential_value_id": refresh.credential_value_id,
        "attempt_id": refresh.attempt_id,
        "committed_attempt_id": row.committed_attempt_id,
    }
    times = {
        "lease_until": refresh.lease_until,
        "sent_at": refresh.sent_at,
        "next_attempt_at": refresh.next_attempt_at,
        "unknown_since": refresh.unknown_since,
        "refused_since": refresh.refused_since,
        "due_at": row.due_at,
    }
    return {
        **account_parameters(account),
        "label": row.label,
        "endpoint": row.endpoint,
        "failures": refresh.failures,
        "error_code": refresh.error_code,
        "refused_for": refresh.refused_for // _MICROSECOND,
        **{name: None if each is None else each.bytes for name, each in ids.items()},
        **{name: to_micros(each) for name, each in times.items()},
    }
