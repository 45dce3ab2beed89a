"""Formats entities for output: as JSON with stable names, and as rows of tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from vault_adapters.cli.screen import Cell, Content, Screen
from vault_adapters.runtime import json_forms
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


_HEALTH = json_forms.TOKEN_MEMBERS.index("status") + 1

TOKEN_MEMBERS = (*json_forms.TOKEN_MEMBERS[:_HEALTH], "health", *json_forms.TOKEN_MEMBERS[_HEALTH:])
"""The members of a token's metadata as JSON, which are also the columns of an export as CSV."""


def token_json(info: TokenInfo, buffer: timedelta) -> dict[str, Any]:
    """Return a token's metadata as JSON, with its health now."""
    found = {**json_forms.token_json(info), "health": health_of(info, buffer).value}
    return {name: found[name] for name in TOKEN_MEMBERS}


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


def account_row(info: AccountInfo, screen: Screen) -> list[Content]:
    """Return an account as a row under `ACCOUNT_COLUMNS`."""
    account = info.account
    state, expires = colored(info.state), screen.moment(info.expires_at)
    return [account.tenant_id, account.provider, account.identifier, info.label, state, info.reason, expires]


def event_row(event: AuditEvent, screen: Screen) -> list[Content]:
    """Return an audit event as a row under `EVENT_COLUMNS`."""
    provider = event.provider if event.account is None else event.account.provider
    identifier = None if event.account is None else event.account.identifier
    kind = None if event.kind is None else event.kind.value
    when = screen.moment(event.occurred_at)
    what = [when, event.action.value, event.tenant_id, provider, identifier, kind, event.generation]
    return [*what, event.actor, event.code]


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
