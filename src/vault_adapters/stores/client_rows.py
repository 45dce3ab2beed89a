"""Converts the records of refused OAuth clients, and the turns of clients, to and from columns of both stores.

A `ClientScope` without a client has an empty value in the column ``client``. A `ClientRecord` has a mark for each
account that was refused last; one column holds all marks, joined.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from vault_domain.entities.clients import CLIENT_REASONS, ClientRecord, ClientScope
from vault_domain.rules.clients import MARK_SIZE
from vault_domain.rules.pacing import MARK_SIZE as TENANT_MARK_SIZE
from vault_domain.rules.pacing import Turns

_CLIENT_SIZE, _TIME_SIZE = 16, 8
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_MICROS = (datetime(9999, 1, 1, tzinfo=UTC) - _EPOCH) // timedelta.resolution


def scope_columns(scope: ClientScope) -> dict[str, Any]:
    """Return the parameters that name a `ClientScope` in a statement."""
    return {"provider": scope.provider, "client": scope.client or b"", "reason": scope.reason}


def record_columns(record: ClientRecord) -> dict[str, Any]:
    """Return the parameters that store a record."""
    return scope_columns(record.scope) | {
        "marks": b"".join(record.marks),
        "since": record.since,
        "refused_at": record.refused_at,
        "opened_at": record.opened_at,
        "probe_at": record.probe_at,
    }


def is_record(row: Sequence[Any]) -> bool:
    """Return whether a row of the list of records is a record; one further row is not."""
    provider, *_ = row
    return provider is not None


def client_record(
    provider: Any,
    client: Any,
    reason: Any,
    marks: Any,
    since: datetime,
    refused_at: datetime,
    opened_at: datetime | None,
    probe_at: datetime | None,
) -> ClientRecord:
    """Return the record from the columns of a row.

    Raises:
        ValueError: the row is damaged.
    """
    is_sound = type(provider) is str and type(client) is bytes and reason in CLIENT_REASONS and type(marks) is bytes
    if not is_sound or len(client) not in (0, _CLIENT_SIZE):
        raise ValueError
    # Earlier releases wrote marks of half this size. Read together, they stand for accounts that do not exist.
    parts = tuple(marks[start : start + MARK_SIZE] for start in range(0, len(marks), MARK_SIZE))
    return ClientRecord(ClientScope(provider, client or None, reason), since, refused_at, parts, opened_at, probe_at)


def turns_of(free_at: datetime | None, reserved: bytes | None) -> Turns:
    """Return a client's turns from the columns of its row."""
    size = TENANT_MARK_SIZE + _TIME_SIZE
    parts = [(reserved or b"")[start : start + size] for start in range(0, len(reserved or b""), size)]
    return Turns(free_at, tuple((part[:TENANT_MARK_SIZE], _time_of(part[TENANT_MARK_SIZE:])) for part in parts))


def reserved_column(turns: Turns) -> bytes:
    """Return the turns that tenants have reserved, joined into one value."""
    return b"".join(
        mark + ((at - _EPOCH) // timedelta.resolution).to_bytes(_TIME_SIZE, "big") for mark, at in turns.reserved
    )


def _time_of(micros: bytes) -> datetime:
    return _EPOCH + min(int.from_bytes(micros, "big"), _MOST_MICROS) * timedelta.resolution
