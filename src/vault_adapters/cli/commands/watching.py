"""`health` and `expiring`: shows token health and expiring tokens, without decrypting."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from vault_adapters.cli.commands.tokens import show_tokens
from vault_adapters.cli.exit_codes import ExitCode
from vault_adapters.cli.inputs import as_duration
from vault_adapters.cli.parameters import Json, OnlyProvider, OnlyTenant
from vault_adapters.cli.screen import Cell, Content, Screen, open_screen, print_json
from vault_adapters.cli.session import gather, with_vault
from vault_adapters.cli.views import report_table
from vault_adapters.configuration.config import VaultConfig
from vault_adapters.runtime.json_forms import health_json
from vault_domain import HealthReport
from vault_domain.rules.advice import incident_finding


def health(*, tenant: OnlyTenant = None, json: Json = False) -> ExitCode:
    """Count tokens by health, and check the database and the master key.

    The exit code is 0 if both can be used, 5 if the database cannot be used, and 7 if only the master key cannot.
    """
    report = with_vault(lambda vault: vault.health(tenant_id=tenant), VaultConfig.from_env())
    if json:
        print_json(health_json(report))
    else:
        show_report(report, open_screen())
    if report.store_error is not None:
        return ExitCode.STORAGE
    return ExitCode.OK if report.ok else ExitCode.KEY_UNAVAILABLE


def expiring(
    *,
    within: Annotated[str, Parameter(help="Longest time until the expiry, such as 90s, 1h30m or 2d.")] = "1h",
    provider: OnlyProvider = None,
    limit: Annotated[int | None, Parameter(help="Largest number of tokens.")] = None,
    json: Json = False,
) -> None:
    """List access tokens that expire soon or have expired.

    The list holds the access tokens of all tenants, the earliest expiry first. It leaves out tokens without an expiry
    and tokens that are marked invalid. Nothing is decrypted.
    """
    span = as_duration(within, "--within")
    config = VaultConfig.from_env()
    infos = with_vault(lambda vault: gather(vault.iter_expiring_tokens(span, provider=provider), limit), config)
    show_tokens(infos, config, json=json)


def show_report(report: HealthReport, screen: Screen) -> None:
    """Show a health report."""
    columns, rows = report_table(report)
    if rows:
        screen.table(columns, rows)
    screen.fields(
        [
            ("database", _answer(report.store_reason or report.store_error)),
            ("master key", _answer(report.master_key_error)),
        ]
    )
    if report.incidents:
        incidents: list[list[Content]] = [
            [
                incident.provider if incident.pauses else f"{incident.provider} (not paused)",
                Cell(incident.reason, "bad"),
                screen.moment(incident.since),
            ]
            for incident in report.incidents
        ]
        screen.table(["paused provider", "reason", "since"], incidents)
        for incident in report.incidents:
            found = incident_finding(incident)
            screen.text(f"{incident.provider}: {found.sentence} {found.action}")
    if report.unread:
        kept: list[list[Content]] = [[provider, number] for provider, number in sorted(report.unread.items())]
        screen.table(["provider", "unread answers"], kept)


def _answer(error: str | None) -> Cell:
    return Cell("answers", "good") if error is None else Cell(error, "bad")
