"""Converts rows to entities, and entities to parameters."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any
from uuid import UUID, uuid4

from vault_adapters.stores.columns import LISTED, OWNED, STORED, is_missing, plain_arrays, plain_values
from vault_adapters.stores.damage import (
    account_of_row,
    key_of_row,
    own_key,
    refused_account,
    scopes_of,
    sealed_answer,
    sealed_value,
)
from vault_adapters.stores.postgres.cursors import Row, Texts, int8
from vault_domain.entities.account import Account, TokenKey, TokenKind
from vault_domain.entities.account_state import AccountRow, KeptAnswer
from vault_domain.entities.refresh_state import AccountRecord, RefreshState
from vault_domain.entities.token import (
    DAMAGED_ROW,
    WRONG_ROW,
    DamagedToken,
    StoredToken,
    TokenInfo,
    TokenStatus,
    TokenWrite,
)

MICROSECOND = timedelta(microseconds=1)
_STATUSES = {status.value: status for status in TokenStatus}
_encode = json.JSONEncoder(separators=(",", ":")).encode  # `json.dumps` would make an encoder for each call


def in_order(rows: list[Row]) -> list[Row]:
    """Sort the rows of a query for many keys by the last column: the position of the row's key among the keys.

    The database usually returns them in this order, so the sort is fast. In SQL, the sort would cost a quarter of the
    query's time.
    """
    rows.sort(key=itemgetter(-1))
    return rows


def token_info(columns: Row, key: TokenKey) -> TokenInfo:
    """Return a token's metadata from the columns `TOKEN`."""
    (
        id_,
        status,
        error_code,
        expires_at,
        scopes,
        generation,
        last_used_at,
        last_refreshed_at,
        lifetime,
        created_at,
        updated_at,
        value_id,
        suspect_since,
        rejected_at,
        *plain,
    ) = columns
    return TokenInfo(
        id_,
        key,
        _STATUSES[status],
        error_code,
        expires_at,
        () if scopes is None or scopes == "[]" else scopes_of(scopes),
        generation,
        last_used_at,
        last_refreshed_at,
        None if lifetime is None else timedelta(microseconds=lifetime),
        created_at,
        updated_at,
        value_id,
        suspect_since,
        rejected_at,
        *plain,
    )


def listed_info(row: Row, tenant_id: str | None = None, provider: str | None = None) -> TokenInfo:
    """Return a token's metadata from a row of a list; the row must belong to this tenant and provider (None: any).

    Raises:
        Exception: the row is damaged or belongs to another tenant or provider.
    """
    token, key, _ = LISTED.split(row)
    return token_info(token, key_of_row(key, tenant_id, provider))


def stored_info(row: Row, key: TokenKey) -> TokenInfo:
    """Return a token's metadata from the row of the statement that stored it."""
    token, *_ = LISTED.split(row)
    return token_info(token, key)


def stored_token(row: Row, key: TokenKey) -> tuple[StoredToken | DamagedToken | None, Row]:
    """Return the token with its sealed value from a row, and the row's remaining columns.

    The token is None if the row holds no token, and a `DamagedToken` if the row cannot be decoded. The first remaining
    columns are the store's time and, unless Citus distributes the tables, the token's version.
    """
    token, value, rest = STORED.split(row)
    if is_missing(token):
        return None, rest
    version = rest[1] if len(rest) > 1 else None
    try:
        return StoredToken(token_info(token, key), sealed_value(*value), version), rest
    except Exception:  # a damaged row may hold anything, so decoding it may raise anything
        return DamagedToken(key, DAMAGED_ROW), rest


def answers_of(rows: list[Row], keys: Sequence[TokenKey]) -> tuple[list[StoredToken | DamagedToken | None], datetime]:
    """Return the token of each key from the rows of a query for many keys, and the store's time.

    A key with several rows gets a `DamagedToken`, because at most one of these rows can belong to the key.
    """
    rows = in_order(rows)
    if len(rows) == len(keys):
        found = [stored_token(row, key) for row, key in zip(rows, keys, strict=True)]
        _, (now, *_) = found[0]
        return [token for token, _ in found], now
    answers: list[StoredToken | DamagedToken | None] = []
    times = []
    for key, (_, group) in zip(keys, groupby(rows, key=itemgetter(-1)), strict=True):
        several = list(group)
        found = [stored_token(row, key) for row in several]
        token, (now, *_) = found[0]
        times.append(now)
        answers.append(token if len(several) == 1 else DamagedToken(key, WRONG_ROW))
    return answers, times[0]


def has_token(row: Row) -> bool:
    """Return whether a row holds a token; some queries return a row even if there is no token."""
    return not is_missing(row)  # the token's columns come first


def account_record(rows: Sequence[Row], account: Account) -> tuple[AccountRecord | None, datetime]:
    """Return the account (None if it has no token) and the store's time, from the rows of the account's tokens.

    Raises:
        DecryptionError: a row is damaged or belongs to another account.
    """
    try:
        tokens, state, now = {}, None, None
        for row in rows:
            token, key, state, (now,) = OWNED.split(row)
            if not is_missing(token):
                own = own_key(key, account)
                tokens[own.kind] = token_info(token, own)
        assert state is not None  # noqa: S101 - the query returns at least one row
        assert now is not None  # noqa: S101 - every row holds the time
        return _record(account, tokens, state) if tokens else None, now
    except Exception as error:
        refusal = refused_account(account, error)
    raise refusal


def time_of(rows: Sequence[Row]) -> datetime:
    """Return the store's time from rows of accounts; at least one row is needed."""
    _, _, _, (now,) = OWNED.split(rows[-1])
    moment: datetime = now
    return moment


def listed_account(rows: Sequence[Row], tenant_id: str | None, provider: str | None) -> AccountRecord:
    """Return one account for a list of accounts, from the rows of this account's tokens.

    Raises:
        Exception: a row is damaged or belongs to another tenant or provider.
    """
    _, place, state, _ = OWNED.split(rows[-1])
    account = account_of_row(place, tenant_id, provider)
    tokens = {}
    for row in rows:
        token, columns, _ = LISTED.split(row)
        key = own_key(columns, account)
        tokens[key.kind] = token_info(token, key)
    return _record(account, tokens, state)


def _record(account: Account, tokens: dict[TokenKind, TokenInfo], columns: Row) -> AccountRecord:
    return AccountRecord(account, tokens, columns[0], _refresh_state(columns))


def account_row(columns: Row, committed: UUID | None, endpoint: bytes | None, due_at: datetime | None) -> AccountRow:
    """Return an account's row from the columns `stores.columns.ACCOUNT` and three further ones."""
    return AccountRow(columns[0], _refresh_state(columns), committed, endpoint, due_at)


def kept_answer(attempt_id: UUID, data_key_id: object, blob: object, kept_at: datetime) -> KeptAnswer:
    """Return an account's kept answer from its columns."""
    return KeptAnswer(attempt_id, sealed_answer(data_key_id, blob), kept_at)


def key_parameters(key: TokenKey) -> dict[str, Any]:
    """Return a key as named parameters."""
    return {
        "tenant_id": key.tenant_id,
        "provider": key.provider,
        "kind": key.kind.value,
        "identifier": key.identifier or "",
    }


def account_parameters(account: Account) -> dict[str, Any]:
    """Return an account as named parameters."""
    return {
        "tenant_id": account.tenant_id,
        "provider": account.provider,
        "identifier": account.identifier or "",
    }


def keys_parameters(keys: Iterable[TokenKey]) -> dict[str, Any]:
    """Return keys as arrays, one per column."""
    keys = list(keys)
    return {
        "tenant_ids": Texts([key.tenant_id for key in keys]),
        "providers": Texts([key.provider for key in keys]),
        "kinds": Texts([key.kind.value for key in keys]),
        "identifiers": Texts([key.identifier or "" for key in keys]),
    }


def key_columns(key: TokenKey) -> tuple[str, ...]:
    """Return a key's columns; sorting by them gives the order of the primary key under COLLATE "C"."""
    return (key.tenant_id, key.provider, key.identifier or "", key.kind.value)


def write_parameters(write: TokenWrite) -> dict[str, Any]:
    """Return a write as named parameters; if the key holds no token yet, the value id becomes the token's id too."""
    return {
        **key_parameters(write.key),
        "value_id": write.value_id or uuid4(),
        "data_key_id": write.sealed.data_key_id,
        "blob": write.sealed.blob,
        "extra": write.sealed.extra,
        "expires_at": write.expires_at,
        "lifetime": _lifetime(write),
        "scopes": _scopes(write),
        "refreshed": write.refreshed,
        **plain_values(write),
        "lead": None if write.lead is None else micros(write.lead),
        "due_in": None if write.due_in is None else micros(write.due_in),
    }


def writes_parameters(writes: Sequence[TokenWrite]) -> dict[str, Any]:
    """Return writes as arrays, one per column."""
    leads = {lead: None if lead is None else micros(lead) for lead in {write.lead for write in writes}}
    scopes = texts_of_scopes(write.scopes for write in writes)
    return {
        **keys_parameters(write.key for write in writes),
        "value_ids": [write.value_id or uuid4() for write in writes],
        "data_key_ids": [write.sealed.data_key_id for write in writes],
        "blobs": [write.sealed.blob for write in writes],
        "extras": [write.sealed.extra for write in writes],
        "expires_at": [write.expires_at for write in writes],
        "lifetimes": [_lifetime(write) for write in writes],
        "scopes": [scopes[write.scopes] for write in writes],
        **plain_arrays(writes),
        "leads": [leads[write.lead] for write in writes],
        "due_ins": [None if write.due_in is None else micros(write.due_in) for write in writes],
    }


def compact(columns: Mapping[str, list[Any]]) -> dict[str, list[Any] | None]:
    """Return arrays, one per column, for ``unnest``; a column that holds only None becomes None.

    ``unnest`` fills up a short array, and an array that is NULL, with NULL.
    """
    return {name: None if _is_bare(values) else values for name, values in columns.items()}


def _is_bare(values: list[Any]) -> bool:
    # To count is slow if the values are not None, so look at the first value first.
    return values[0] is None and values.count(None) == len(values)


def micros(value: timedelta) -> Any:
    """Return a duration in microseconds, as a parameter."""
    return int8(value // MICROSECOND)


def _lifetime(write: TokenWrite) -> Any:
    return None if write.lifetime is None else micros(write.lifetime)


def _scopes(write: TokenWrite) -> str | None:
    return None if write.scopes is None else scopes_text(write.scopes)


def texts_of_scopes(several: Iterable[tuple[str, ...] | None]) -> dict[tuple[str, ...] | None, str | None]:
    """Map each tuple of scopes to its text. Many values have equal scopes, so each text is made only once."""
    return {scopes: None if scopes is None else scopes_text(scopes) for scopes in set(several)}


def scopes_text(scopes: Sequence[str]) -> str:
    """Return scopes as the text of a JSON array."""
    return _encode(scopes) if scopes else "[]"


def _refresh_state(columns: Row) -> RefreshState:
    (
        _,
        credential_value_id,
        attempt_id,
        lease_until,
        sent_at,
        failures,
        next_attempt_at,
        unknown_since,
        error_code,
        refused_since,
        refused_for,
    ) = columns
    return RefreshState(
        credential_value_id=credential_value_id,
        attempt_id=attempt_id,
        lease_until=lease_until,
        sent_at=sent_at,
        failures=failures or 0,
        next_attempt_at=next_attempt_at,
        unknown_since=unknown_since,
        error_code=error_code,
        refused_since=refused_since,
        refused_for=(refused_for or 0) * MICROSECOND,
    )
