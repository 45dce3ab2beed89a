"""`as_json`: what the vault reports, as JSON with stable names; the command line uses the same names.

Times are ISO 8601 in UTC with microseconds, durations are seconds, and missing values are None.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any
from uuid import UUID

import attrs

from vault_domain import AccountInfo, AuditEvent, HealthReport, InvalidInputError, Secret, TokenInfo


def as_json(value: object) -> Any:
    """Convert an object that the vault reports to values that `json.dumps` takes.

    The JSON of an `AccountInfo`, `TokenInfo`, `AuditEvent` or `HealthReport` has the members that
    ``token-vault --json`` prints, except for a token's ``health``, which depends on the time. The JSON of any other
    object, such as a `Page` or an `ErasureReport`, has the object's attributes. It also has each property whose value
    is True or False, such as ``ok``.

    Args:
        value: an object of the vault's public interface, or a list, tuple or dictionary of such objects.

    Raises:
        InvalidInputError: the value holds a secret, as `Token` and `TokenSet` do, or an object of a class that has no
            JSON form.
    """
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, Secret):
        raise InvalidInputError("a secret is never shown as JSON; instead of a Token, pass its info")
    for known, form in _FORMS.items():
        if isinstance(value, known):
            return form(value)
    kind = type(value)
    if attrs.has(kind):
        names = [field.name for field in attrs.fields(kind)] + _flags(value)
        return {name: as_json(getattr(value, name)) for name in names if not name.startswith("_")}
    raise InvalidInputError(f"an object of the class {kind.__qualname__} cannot be shown as JSON")


def iso(value: datetime | None) -> str | None:
    """Return a time as ISO 8601 in UTC, with microseconds and a Z."""
    if value is None:
        return None
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


_TOKEN: dict[str, Callable[[TokenInfo], Any]] = {
    "tenant_id": lambda info: info.key.tenant_id,
    "provider": lambda info: info.key.provider,
    "kind": lambda info: info.key.kind.value,
    "identifier": lambda info: info.key.identifier,
    "id": lambda info: str(info.id),
    "status": lambda info: info.status.value,
    "error_code": lambda info: info.error_code,
    "expires_at": lambda info: iso(info.expires_at),
    "suspect_since": lambda info: iso(info.suspect_since),
    "scopes": lambda info: list(info.scopes),
    "generation": lambda info: info.generation,
    "lifetime_seconds": lambda info: None if info.lifetime is None else info.lifetime.total_seconds(),
    "last_used_at": lambda info: iso(info.last_used_at),
    "last_refreshed_at": lambda info: iso(info.last_refreshed_at),
    "created_at": lambda info: iso(info.created_at),
    "updated_at": lambda info: iso(info.updated_at),
}

TOKEN_MEMBERS = tuple(_TOKEN)
"""The names of the members of a token's metadata as JSON."""


def token_json(info: TokenInfo) -> dict[str, Any]:
    """Return a token's metadata as JSON."""
    return {name: of(info) for name, of in _TOKEN.items()}


def account_json(info: AccountInfo) -> dict[str, Any]:
    """Return an account, as the vault reports it, as JSON."""
    return {
        "tenant_id": info.account.tenant_id,
        "provider": info.account.provider,
        "identifier": info.account.identifier,
        "label": info.label,
        "state": info.state.value,
        "reason": info.reason,
        "scopes": list(info.scopes),
        "expires_at": iso(info.expires_at),
        "refresh_token_expires_at": iso(info.refresh_token_expires_at),
        "last_refreshed_at": iso(info.last_refreshed_at),
        "next_attempt_at": iso(info.next_attempt_at),
    }


def event_json(event: AuditEvent) -> dict[str, Any]:
    """Return an audit event as JSON; its cursor may be passed as ``after`` to `audit_events`."""
    return {
        "action": event.action.value,
        "occurred_at": iso(event.occurred_at),
        "tenant_id": event.tenant_id,
        "provider": event.provider if event.account is None else event.account.provider,
        "identifier": None if event.account is None else event.account.identifier,
        "kind": None if event.kind is None else event.kind.value,
        "generation": event.generation,
        "credential_generation": event.credential_generation,
        "actor": event.actor,
        "code": event.code,
        "cursor": event.cursor,
    }


def health_json(report: HealthReport) -> dict[str, Any]:
    """Return a health report as JSON."""
    return {
        "ok": report.ok,
        "status": report.status,
        "store_error": report.store_error,
        "store_reason": report.store_reason,
        "master_key_error": report.master_key_error,
        "failed_reads": report.failed_reads,
        "counts": [
            {"provider": count.provider, "health": count.health.value, "count": count.count} for count in report.counts
        ],
        "is_estimate": report.is_estimate,
        "incidents": [
            {
                "provider": incident.provider,
                "reason": incident.reason,
                "since": iso(incident.since),
                "refused_at": iso(incident.refused_at),
                "pauses": incident.pauses,
            }
            for incident in report.incidents
        ],
        "unread": dict(report.unread),
    }


def _flags(value: object) -> list[str]:
    """Return the names of an object's properties that are True or False."""
    properties = [name for name, member in vars(type(value)).items() if isinstance(member, property)]
    return [name for name in properties if isinstance(getattr(value, name), bool)]


_FORMS: dict[type, Callable[[Any], Any]] = {
    TokenInfo: token_json,
    AccountInfo: account_json,
    AuditEvent: event_json,
    HealthReport: health_json,
    datetime: iso,
    timedelta: timedelta.total_seconds,
    UUID: str,
    Enum: lambda choice: choice.value,
    # Of the mappings, only `dict` has a form, because another mapping may be `Extra`, which holds secrets.
    dict: lambda pairs: {str(as_json(name)): as_json(part) for name, part in pairs.items()},
    list: lambda parts: [as_json(part) for part in parts],
    tuple: lambda parts: [as_json(part) for part in parts],
}
