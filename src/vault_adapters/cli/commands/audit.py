"""`audit`: lists audit events."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from vault_adapters.cli.failures import complain
from vault_adapters.cli.parameters import Json, OnlyTenant
from vault_adapters.cli.screen import open_screen, print_json
from vault_adapters.cli.session import with_vault
from vault_adapters.cli.views import EVENT_COLUMNS, event_json, event_row
from vault_adapters.configuration.config import VaultConfig


def add_to(app: App) -> None:
    """Add this module's commands."""
    app.command(audit)


def audit(
    *,
    tenant: OnlyTenant = None,
    limit: Annotated[int, Parameter(help="Largest number of events, up to 10000.")] = 1000,
    after: Annotated[
        str | None,
        Parameter(help="Continue after the event with this cursor; take it from --json with the same --tenant."),
    ] = None,
    json: Json = False,
) -> None:
    """List the audit events of tokens and keys, oldest first."""
    page = with_vault(
        lambda vault: vault.audit_events(tenant_id=tenant, limit=limit, after=after), VaultConfig.from_env()
    )
    if json:
        print_json([event_json(event) for event in page.items])
        return
    if page.items:
        screen = open_screen()
        screen.table(EVENT_COLUMNS, [event_row(event, screen) for event in page.items])
    if page.next is not None:
        complain("there are more events; continue with --after and the last event's cursor, which --json shows")
    elif not page.items:
        complain("no events")
