"""Rows to entities and back."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from vault_adapters.stores.sqlite.database import Parameters, Row
from vault_domain.entities.account import Account, TokenKey, stored_key
from vault_domain.entities.refresh_state import AccountRecord, RefreshState
from vault_domain.entities.token import SealedToken, StoredToken, TokenInfo, TokenStatus, TokenWrite

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_STATUSES = {status.value: status for status in TokenStatus}

INFO_COLUMNS = 15
"""How many columns of a query describe a token; others follow."""


def to_micros(value: datetime | None) -> int | None:
    """Return microseconds since 1970, exactly."""
    return None if value is None else (value - _EPOCH) // _MICROSECOND


def to_time(value: int | None) -> datetime | None:
    """Return the UTC time of microseconds since 1970."""
    return None if value is None else _EPOCH + timedelta(microseconds=value)


def token_info(row: Row, key: TokenKey | None = None) -> TokenInfo:
    """Return what the first columns of a row tell of a token.

    Args:
        row: see `INFO_COLUMNS`.
        key: the key that was asked for, where there was one.
    """
    return TokenInfo(
        id=UUID(bytes=row[4]),
        key=key or stored_key(*row[:4]),
        status=_STATUSES[row[5]],
        error_code=row[6],
        expires_at=to_time(row[7]),
        scopes=() if row[8] == "[]" else tuple(json.loads(row[8])),
        generation=row[9],
        last_used_at=to_time(row[10]),
        last_refreshed_at=to_time(row[11]),
        lifetime=None if row[12] is None else timedelta(microseconds=row[12]),
        created_at=_EPOCH + timedelta(microseconds=row[13]),
        updated_at=_EPOCH + timedelta(microseconds=row[14]),
    )


def stored_token(row: Row, key: TokenKey | None = None) -> StoredToken:
    """Return the token of a row that carries its sealed value."""
    return StoredToken(token_info(row, key), SealedToken(row[INFO_COLUMNS], row[INFO_COLUMNS + 1]))


def account_record(rows: Sequence[Row]) -> AccountRecord:
    """Return the account whose tokens these rows are; each carries the account's columns."""
    infos = [token_info(row) for row in rows]
    label, *state = rows[0][INFO_COLUMNS:]
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


def keys_parameter(keys: Sequence[TokenKey]) -> str:
    """Return keys as a JSON array of arrays."""
    return json.dumps([(key.tenant_id, key.provider, key.kind, key.identifier or "") for key in keys])


def write_parameters(write: TokenWrite, new_id: UUID, now: datetime) -> Parameters:
    """Return a write as named parameters; the id counts only where the key is new."""
    return {
        **key_parameters(write.key),
        "id": new_id.bytes,
        "data_key_id": write.sealed.data_key_id,
        "blob": write.sealed.blob,
        "expires_at": to_micros(write.expires_at),
        "lifetime": None if write.lifetime is None else write.lifetime // _MICROSECOND,
        "scopes": None if write.scopes is None else json.dumps(write.scopes, separators=(",", ":")),
        "refreshed": write.refreshed,
        "now": to_micros(now),
    }


def _refresh_state(columns: Sequence[Any]) -> RefreshState:
    credential_id, generation, attempt_id, lease_until, sent_at, failures, next_at, unknown_since, code = columns
    return RefreshState(
        credential_id=None if credential_id is None else UUID(bytes=credential_id),
        credential_generation=generation,
        attempt_id=None if attempt_id is None else UUID(bytes=attempt_id),
        lease_until=to_time(lease_until),
        sent_at=to_time(sent_at),
        failures=failures or 0,
        next_attempt_at=to_time(next_at),
        unknown_since=to_time(unknown_since),
        error_code=code,
    )
