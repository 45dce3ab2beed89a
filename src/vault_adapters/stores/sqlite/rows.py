"""Converts rows to entities, and entities to parameters."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from operator import call
from typing import TYPE_CHECKING, Any
from uuid import UUID

from vault_adapters.stores.columns import (
    LISTED,
    PLAIN,
    STORED,
    is_missing,
    plain_values,
)
from vault_adapters.stores.damage import key_of_row, scopes_of, sealed_value
from vault_domain.entities.token import DAMAGED_ROW, DamagedToken, StoredToken, TokenInfo, TokenStatus

if TYPE_CHECKING:
    from vault_adapters.stores.columns import (
        ColumnType,
    )
    from vault_adapters.stores.sqlite.database import Row
    from vault_domain.entities.account import Account, TokenKey
    from vault_domain.entities.imported import ImportedWrite
    from vault_domain.entities.token import TokenWrite

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_STATUSES = {status.value: status for status in TokenStatus}


def to_micros(value: datetime | None) -> int | None:
    """Return a time as microseconds since 1970, without rounding."""
    return None if value is None else (value - _EPOCH) // _MICROSECOND


def to_time(value: int | None) -> datetime | None:
    """Return microseconds since 1970 as a time in UTC."""
    return None if value is None else _EPOCH + timedelta(microseconds=value)


def token_info(columns: Row, key: TokenKey) -> TokenInfo:
    """Return a token's metadata from the columns `stores.columns.TOKEN`.

    Raises:
        Exception: the row is damaged.
    """
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
        UUID(bytes=id_),
        key,
        _STATUSES[status],
        text(error_code),
        to_time(expires_at),
        () if scopes == "[]" else scopes_of(scopes),
        whole(generation),
        to_time(last_used_at),
        to_time(last_refreshed_at),
        None if lifetime is None else timedelta(microseconds=lifetime),
        _EPOCH + timedelta(microseconds=created_at),
        _EPOCH + timedelta(microseconds=updated_at),
        UUID(bytes=value_id),
        to_time(suspect_since),
        to_time(rejected_at),
        *map(call, _PLAIN_DECODERS, plain),
    )


def whole(value: object) -> int:
    """Return the value if it is an int, else raise ValueError; a damaged row may hold any type."""
    if type(value) is int:
        return value
    raise ValueError


def text(value: object) -> str | None:
    """Return the value if it is a text or None, else raise ValueError; a damaged row may hold any type."""
    if value is None or type(value) is str:
        return value
    raise ValueError


def octets(value: object) -> bytes | None:
    """Return the value if it is bytes or None, else raise ValueError; a damaged row may hold any type."""
    if value is None or type(value) is bytes:
        return value
    raise ValueError


_DECODERS: dict[ColumnType, Callable[[Any], Any]] = {"text": text, "bytea": octets, "timestamptz": to_time}
_PLAIN_DECODERS = tuple(_DECODERS[column.type] for column in PLAIN)
_PLAIN_TIMES = tuple(column.name for column in PLAIN if column.type == "timestamptz")


def plain_parameters(owner: TokenInfo | TokenWrite | ImportedWrite) -> dict[str, Any]:
    """Return the values of the plain columns as named parameters."""
    values = plain_values(owner)
    for name in _PLAIN_TIMES:
        values[name] = to_micros(values[name])
    return values


def listed_info(row: Row, tenant_id: str | None = None, provider: str | None = None) -> TokenInfo:
    """Return a token's metadata from a row of a list; the row must belong to this tenant and provider (None: any).

    Raises:
        Exception: the row is damaged or belongs to another tenant or provider.
    """
    token, key, _ = LISTED.split(row)
    return token_info(token, key_of_row(key, tenant_id, provider))


def stored_token(row: Row, key: TokenKey) -> StoredToken | DamagedToken | None:
    """Return the token with its sealed value and its version from a row; None if the row holds no token."""
    token, value, (version, *_) = STORED.split(row)
    if is_missing(token):
        return None
    try:
        return StoredToken(token_info(token, key), sealed_value(*value), version)
    except Exception:  # a damaged row may hold anything, so decoding it may raise anything
        return DamagedToken(key, DAMAGED_ROW)


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


def token_parameters(token: StoredToken) -> dict[str, Any]:
    """Return a token as the parameters of `put_token`."""
    info, sealed = token.info, token.sealed
    return {
        **key_parameters(info.key),
        "id": info.id.bytes,
        "value_id": info.value_id.bytes,
        "data_key_id": sealed.data_key_id,
        "blob": sealed.blob,
        "extra": sealed.extra,
        "status": info.status.value,
        "error_code": info.error_code,
        "expires_at": to_micros(info.expires_at),
        "lifetime": None if info.lifetime is None else info.lifetime // _MICROSECOND,
        "scopes": json.dumps(info.scopes, separators=(",", ":")) if info.scopes else "[]",
        "generation": info.generation,
        "last_refreshed_at": to_micros(info.last_refreshed_at),
        "created_at": to_micros(info.created_at),
        "updated_at": to_micros(info.updated_at),
        **plain_parameters(info),
        "suspect_since": to_micros(info.suspect_since),
        "rejected_at": to_micros(info.rejected_at),
        "noted_value_id": info.value_id.bytes if token.is_end_told else None,
    }
