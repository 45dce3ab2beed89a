"""Formats entities for output: as JSON with stable names, and as rows of tables."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from vault_adapters.cli.screen import Cell, Content, Screen, iso
from vault_domain import (
    AccountInfo,
    AuditEvent,
    ConnectionState,
    HealthCount,
    HealthReport,
    TokenHealth,
    TokenInfo,
)

TOKEN_COLUMNS = ("tenant", "provider", "kind", "identifier", "health", "expires")
ACCOUNT_COLUMNS = ("tenant", "provider", "identifier", "label", "state", "reason", "expires")
EVENT_COLUMNS = ("when", "action", "tenant", "provider", "identifier", "kind", "generation", "actor", "code")

_MEANING = {
    TokenHealth.FRESH: "good",
    TokenHealth.EXPIRING: "warning",
    TokenHealth.EXPIRED: "bad",
    TokenHealth.INVALID: "bad",
    TokenHealth.UNKNOWN: "warning",
    TokenHealth.SUSPECT: "warning",
    ConnectionState.CONNECTED: "good",
    ConnectionState.RETRYING: "warning",
    ConnectionState.REAUTHORIZATION_REQUIRED: "bad",
}


def colored(value: TokenHealth | ConnectionState) -> Cell:
    """Return a cell for a health or a state, marked as good, warning or bad."""
    return Cell(value.value, _MEANING[value])


def health_of(info: TokenInfo, buffer: timedelta) -> TokenHealth:
    """Return a token's health now, by this machine's clock."""
    return info.health(datetime.now(UTC), buffer)


_TOKEN_MEMBERS: dict[str, Callable[[TokenInfo, timedelta], Any]] = {
    "tenant_id": lambda info, _: info.key.tenant_id,
    "provider": lambda info, _: info.key.provider,
    "kind": lambda info, _: info.key.kind.value,
    "identifier": lambda info, _: info.key.identifier,
    "id": lambda info, _: str(info.id),
    "status": lambda info, _: info.status.value,
    "health": lambda info, buffer: health_of(info, buffer).value,
    "error_code": lambda info, _: info.error_code,
    "expires_at": lambda info, _: iso(info.expires_at),
    "suspect_since": lambda info, _: iso(info.suspect_since),
    "scopes": lambda info, _: list(info.scopes),
    "generation": lambda info, _: info.generation,
    "lifetime_seconds": lambda info, _: None if info.lifetime is None else info.lifetime.total_seconds(),
    "last_used_at": lambda info, _: iso(info.last_used_at),
    "last_refreshed_at": lambda info, _: iso(info.last_refreshed_at),
    "created_at": lambda info, _: iso(info.created_at),
    "updated_at": lambda info, _: iso(info.updated_at),
}

TOKEN_MEMBERS = tuple(_TOKEN_MEMBERS)
"""The members of a token's metadata as JSON, which are also the columns of an export as CSV."""


def token_json(info: TokenInfo, buffer: timedelta) -> dict[str, Any]:
    """Return a token's metadata as JSON."""
    return {name: of(info, buffer) for name, of in _TOKEN_MEMBERS.items()}


def token_row(info: TokenInfo, buffer: timedelta, screen: Screen) -> list[Content]:
    """Return a token as a row under `TOKEN_COLUMNS`."""
    key = info.key
    health = colored(health_of(info, buffer))
    return [
        key.tenant_id,
        key.provider,
        key.kind.value,
        key.identifier,
        health,
        screen.moment(info.expires_at),
    ]


def token_fields(info: TokenInfo, buffer: timedelta, screen: Screen) -> list[tuple[str, Content]]:
    """Return a token as names and values."""
    return [
        ("tenant", info.key.tenant_id),
        ("provider", info.key.provider),
        ("kind", info.key.kind.value),
        ("identifier", info.key.identifier),
        ("id", str(info.id)),
        ("status", info.status.value),
        ("health", colored(health_of(info, buffer))),
        ("error code", info.error_code),
        ("expires", screen.moment(info.expires_at)),
        ("suspect since", screen.moment(info.suspect_since)),
        ("scopes", " ".join(info.scopes) or None),
        ("generation", info.generation),
        ("last used", screen.moment(info.last_used_at)),
        ("last refreshed", screen.moment(info.last_refreshed_at)),
        ("created", screen.moment(info.created_at)),
        ("updated", screen.moment(info.updated_at)),
    ]


def account_json(info: AccountInfo) -> dict[str, Any]:
    """Return an account as JSON."""
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


def account_row(info: AccountInfo, screen: Screen) -> list[Content]:
    """Return an account as a row under `ACCOUNT_COLUMNS`."""
    account = info.account
    state, expires = colored(info.state), screen.moment(info.expires_at)
    return [account.tenant_id, account.provider, account.identifier, info.label, state, info.reason, expires]


def event_json(event: AuditEvent) -> dict[str, Any]:
    """Return an audit event as JSON; its cursor is a value for ``--after``."""
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


def event_row(event: AuditEvent, screen: Screen) -> list[Content]:
    """Return an audit event as a row under `EVENT_COLUMNS`."""
    provider = event.provider if event.account is None else event.account.provider
    identifier = None if event.account is None else event.account.identifier
    kind = None if event.kind is None else event.kind.value
    when = screen.moment(event.occurred_at)
    what = [when, event.action.value, event.tenant_id, provider, identifier, kind, event.generation]
    return [*what, event.actor, event.code]


def report_json(report: HealthReport) -> dict[str, Any]:
    """Return a health report as JSON."""
    return {
        "ok": report.ok,
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
            }
            for incident in report.incidents
        ],
    }


def report_table(report: HealthReport) -> tuple[list[str], list[list[Content]]]:
    """Return a health report's counts as a table: a row per provider, a column per health."""
    counts = {(count.provider, count.health): count for count in report.counts}
    columns = list(reversed(TokenHealth))
    rows: list[list[Content]] = []
    for provider in dict.fromkeys(count.provider for count in report.counts):
        cells = [_count(counts.get((provider, health)), health) for health in columns]
        rows.append([provider, *cells])
    return ["provider", *(health.value for health in columns)], rows


def _count(found: HealthCount | None, health: TokenHealth) -> Cell:
    if found is None or found.count == 0:
        return Cell("0", "quiet")
    return Cell(f"~{found.count}" if found.is_estimate else str(found.count), _MEANING[health])
