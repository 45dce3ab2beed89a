"""What a decision about an account writes: the shape of the statement, and its parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vault_adapters.stores.columns import plain_values
from vault_adapters.stores.damage import gone_kinds
from vault_adapters.stores.postgres.account_columns import versions_text
from vault_adapters.stores.postgres.appending import event_rows
from vault_adapters.stores.postgres.cursors import Texts, int8
from vault_adapters.stores.postgres.rows import account_parameters, micros, scopes_text
from vault_adapters.stores.postgres.shaping import Shape
from vault_domain.entities.account import Account
from vault_domain.entities.account_state import AccountRow, AccountState, Decision, KeptAnswer
from vault_domain.entities.token import StoredToken, TokenInfo


def changed_tokens(before: AccountState, after: AccountState) -> tuple[list[StoredToken], list[StoredToken]]:
    """Return the tokens that a decision puts in place: those of kinds that were absent, and those that replace."""
    _, versions, _ = before.version
    changed = [token for kind, token in after.tokens.items() if before.tokens.get(kind) is not token]
    return (
        [token for token in changed if token.key.kind not in versions],
        [token for token in changed if token.key.kind in versions],
    )


def statement_of(before: AccountState, decision: Decision[Any]) -> tuple[Shape, dict[str, Any]]:
    """Return the shape of `apply_account` for a decision, and the parameters, but for the times."""
    inserted, updated = changed_tokens(before, decision.state)
    changed, gone = [*inserted, *updated], gone_kinds(before, decision.state)
    answer, own = answer_part(before, decision.state), decision.state.answer
    parts = {"tokens" if changed or gone or answer else "alone", _row_part(before, decision.state)}
    is_sealed = answer in {"kept", "replaced"} or are_sealed(changed, before)
    for name, is_there in (
        ("sealed", is_sealed),
        ("inserted", inserted),
        ("updated", updated),
        ("deleted", gone),
        (answer, answer),
        ("durable", decision.durable),
        ("events", decision.events),
    ):
        if is_there:
            parts.add(name)
    first, last = len(inserted), len(changed)
    rows = ("inserted", range(first)), ("updated", range(first, last)), ("event", range(len(decision.events)))
    parameters = state_parameters(before, decision)
    parameters |= token_parameters(changed, before, with_values=is_sealed, answer=own if answer else None)
    parameters |= event_rows(decision.events)
    parameters |= {"inserted": int8(first), "updated": int8(last - first), "gone": Texts([kind.value for kind in gone])}
    return Shape(frozenset(parts), rows), parameters


def are_sealed(changed: Sequence[StoredToken], before: AccountState) -> bool:
    """Return whether a token has another sealed value than before."""
    return any(
        (old := before.tokens.get(token.key.kind)) is None or old.sealed is not token.sealed for token in changed
    )


def answer_part(before: AccountState, after: AccountState) -> str:
    """Return the part of the statement that is about the kept answer; empty: it stays, or goes with the row."""
    if after.answer is before.answer or after.is_empty:
        return ""
    if after.answer is None:
        return "dropped"
    return "kept" if before.answer is None else "replaced"


def _row_part(before: AccountState, after: AccountState) -> str:
    """Return the part of the statement that is about the account's row.

    A row that stays, or goes with the last token, is locked and compared. An absent one must still be absent.
    """
    version, *_ = before.version
    if after.row is not None and after.row != before.row:
        return "row_inserted" if version is None else "row_updated"
    return "no_row" if version is None else "row_locked"


def state_parameters(before: AccountState, decision: Decision[Any]) -> dict[str, Any]:
    """Return the loaded versions, and the account's new row, as named parameters."""
    row_version, versions, _ = before.version
    row = decision.state.row or before.row  # a row that is to be deleted is locked and compared too
    return {
        **_row_parameters(before.account, row or AccountRow()),
        "has_row": row is not None,
        "versions": versions_text(versions),
        "version": None if row_version is None else int8(row_version),
        "durable": decision.durable,
        "before_attempt_id": None if before.answer is None else before.answer.attempt_id,
    }


def _row_parameters(account: Account, row: AccountRow) -> dict[str, Any]:
    refresh = row.refresh
    return {
        **account_parameters(account),
        "label": row.label,
        "credential_value_id": refresh.credential_value_id,
        "attempt_id": refresh.attempt_id,
        "committed_attempt_id": row.committed_attempt_id,
        "lease_until": refresh.lease_until,
        "sent_at": refresh.sent_at,
        "failures": int8(refresh.failures),
        "next_attempt_at": refresh.next_attempt_at,
        "unknown_since": refresh.unknown_since,
        "error_code": refresh.error_code,
        "refused_since": refresh.refused_since,
        "refused_for": micros(refresh.refused_for),
        "endpoint": row.endpoint,
        "due_at": row.due_at,
    }


def token_parameters(
    changed: Sequence[StoredToken], before: AccountState, *, with_values: bool = True, answer: KeptAnswer | None = None
) -> dict[str, Any]:
    """Return what is to be written as parameters: tokens as the rows ``{{written_row}}`` (see `shaping`), an answer."""
    known = before.value_ids
    new = [token for token in changed if token.info.value_id not in known]
    values = [token.sealed for token in new] + ([] if answer is None else [answer.sealed])
    parameters: dict[str, Any] = {
        "key_ids": sorted({value.data_key_id for value in values}),
        "are_new": len(new) == len(changed),
    }
    if answer is not None:
        parameters |= {"answer_attempt_id": answer.attempt_id, "kept_at": answer.kept_at}
        parameters |= {"answer_data_key_id": answer.sealed.data_key_id, "answer_blob": answer.sealed.blob}
    for number, token in enumerate(changed):
        prefix = f"w{number}_"
        for name, value in _columns(token.info, token).items():
            parameters[prefix + name] = value
        if with_values:
            sealed = token.sealed
            parameters[prefix + "data_key_id"] = sealed.data_key_id
            parameters[prefix + "blob"] = sealed.blob
            parameters[prefix + "extra"] = sealed.extra
    return parameters


def _columns(info: TokenInfo, token: StoredToken) -> dict[str, Any]:
    return {
        "kind": info.key.kind.value,
        "id": info.id,
        "value_id": info.value_id,
        "status": info.status.value,
        "error_code": info.error_code,
        "expires_at": info.expires_at,
        "lifetime": None if info.lifetime is None else micros(info.lifetime),
        "scopes": scopes_text(info.scopes),
        "generation": int8(info.generation),
        "last_refreshed_at": info.last_refreshed_at,
        "created_at": info.created_at,
        "updated_at": info.updated_at,
        "suspect_since": info.suspect_since,
        "rejected_at": info.rejected_at,
        "noted_value_id": info.value_id if token.is_end_told else None,
        **plain_values(info),
    }
