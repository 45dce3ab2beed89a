"""Rows to entities and back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import timedelta
from operator import itemgetter
from typing import Any
from uuid import uuid4

from vault_adapters.stores.postgres.cursors import Row, int8
from vault_domain.entities.account import Account, TokenKey, stored_key
from vault_domain.entities.key_records import DataKeyRecord, DataKeyState, DataKeyWrap
from vault_domain.entities.refresh_state import AccountRecord, RefreshState
from vault_domain.entities.token import SealedToken, StoredToken, TokenInfo, TokenStatus, TokenWrite

MICROSECOND = timedelta(microseconds=1)
_STATUSES = {status.value: status for status in TokenStatus}

INFO_COLUMNS = 11
"""How many columns of a query describe a token; where its key is not known, four more follow with that."""


TIME = INFO_COLUMNS + 2
"""Where the time stands in a row that carries a sealed value."""


def in_order(rows: list[Row]) -> list[Row]:
    """Return the rows of a query for many keys in the order in which the keys were sent; they end with that.

    The database mostly returns them so; having it sort them costs a quarter of the query.
    """
    rows.sort(key=itemgetter(-1))
    return rows


def token_info(row: Row, key: TokenKey | None = None) -> TokenInfo:
    """Return what the first columns of a row tell of a token.

    Args:
        row: see `INFO_COLUMNS`.
        key: the key that was asked for, where there was one.
    """
    lifetime, scopes = row[8], row[4]
    return TokenInfo(
        id=row[0],
        key=key or stored_key(*row[INFO_COLUMNS : INFO_COLUMNS + 4]),
        status=_STATUSES[row[1]],
        error_code=row[2],
        expires_at=row[3],
        scopes=() if scopes is None or scopes == "[]" else tuple(json.loads(scopes)),
        generation=row[5],
        last_used_at=row[6],
        last_refreshed_at=row[7],
        lifetime=None if lifetime is None else timedelta(microseconds=lifetime),
        created_at=row[9],
        updated_at=row[10],
    )


def stored_token(row: Row, key: TokenKey) -> StoredToken | None:
    """Return the token of a row that carries its sealed value; None where the row says that there is none."""
    if row[0] is None:
        return None
    return StoredToken(token_info(row, key), SealedToken(row[INFO_COLUMNS], row[INFO_COLUMNS + 1]))


def data_key_record(row: Row) -> DataKeyRecord:
    """Return the data key of a row that carries its wraps as two arrays."""
    tenant_id, key_id, state, emptied_at, master_key_ids, wraps = row
    pairs = zip(master_key_ids or (), wraps or (), strict=True)
    return DataKeyRecord(
        tenant_id,
        key_id,
        DataKeyState(state),
        tuple(DataKeyWrap(master_key_id, wrapped) for master_key_id, wrapped in pairs),
        emptied_at,
    )


def data_keys_parameters(records: Sequence[DataKeyRecord]) -> dict[str, Any]:
    """Return new data keys and their wraps as arrays, in the order of the tenants."""
    ordered = sorted(records, key=lambda record: record.tenant_id)
    wraps = [(record, wrap) for record in ordered for wrap in record.wraps]
    return {
        "tenant_ids": [record.tenant_id for record in ordered],
        "data_key_ids": [record.key_id for record in ordered],
        "wrap_tenant_ids": [record.tenant_id for record, _ in wraps],
        "wrap_data_key_ids": [record.key_id for record, _ in wraps],
        "master_key_ids": [wrap.master_key_id for _, wrap in wraps],
        "wraps": [wrap.wrapped for _, wrap in wraps],
    }


def account_record(rows: Sequence[Row]) -> AccountRecord:
    """Return the account whose tokens these rows are; each carries the account's columns."""
    infos = [token_info(row) for row in rows]
    label, *state = rows[0][INFO_COLUMNS + 5 :]
    return AccountRecord(
        account=infos[0].key.account,
        tokens={info.key.kind: info for info in infos},
        label=label,
        refresh=_refresh_state(state),
    )


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
        "tenant_ids": [key.tenant_id for key in keys],
        "providers": [key.provider for key in keys],
        "kinds": [key.kind.value for key in keys],
        "identifiers": [key.identifier or "" for key in keys],
    }


def place(key: TokenKey) -> tuple[str, ...]:
    """Return a key as in its row; sorted by it, keys are in the order of the primary key under COLLATE "C"."""
    return (key.tenant_id, key.provider, key.kind.value, key.identifier or "")


def write_parameters(write: TokenWrite) -> dict[str, Any]:
    """Return a write as named parameters; the id counts only where the key is new."""
    return {
        **key_parameters(write.key),
        "id": uuid4(),
        "data_key_id": write.sealed.data_key_id,
        "blob": write.sealed.blob,
        "expires_at": write.expires_at,
        "lifetime": _lifetime(write),
        "scopes": _scopes(write),
        "refreshed": write.refreshed,
    }


def writes_parameters(writes: Sequence[TokenWrite]) -> dict[str, Any]:
    """Return writes as arrays, one per column."""
    return {
        **keys_parameters(write.key for write in writes),
        "ids": [uuid4() for _ in writes],
        "data_key_ids": [write.sealed.data_key_id for write in writes],
        "blobs": [write.sealed.blob for write in writes],
        "expires_at": [write.expires_at for write in writes],
        "lifetimes": [_lifetime(write) for write in writes],
        "scopes": [_scopes(write) for write in writes],
    }


def micros(value: timedelta) -> Any:
    """Return a duration in microseconds, as a parameter."""
    return int8(value // MICROSECOND)


def _lifetime(write: TokenWrite) -> Any:
    return None if write.lifetime is None else micros(write.lifetime)


def _scopes(write: TokenWrite) -> str | None:
    if not write.scopes:
        return None if write.scopes is None else "[]"
    return json.dumps(write.scopes, separators=(",", ":"))


def _refresh_state(columns: Sequence[Any]) -> RefreshState:
    credential_id, generation, attempt_id, lease_until, sent_at, failures, next_at, unknown_since, code = columns
    return RefreshState(
        credential_id=credential_id,
        credential_generation=generation,
        attempt_id=attempt_id,
        lease_until=lease_until,
        sent_at=sent_at,
        failures=failures or 0,
        next_attempt_at=next_at,
        unknown_since=unknown_since,
        error_code=code,
    )
