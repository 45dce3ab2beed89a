"""`refresh` and `worker`: refreshes access tokens."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Annotated

from cyclopts import App, Parameter

from vault_adapters.cli.inputs import as_duration
from vault_adapters.cli.parameters import Identifier, Json, Limit, Provider, Tenant
from vault_adapters.cli.refreshers import Refreshers, load_refreshers
from vault_adapters.cli.screen import iso, open_screen, print_json
from vault_adapters.cli.session import with_vault
from vault_adapters.cli.views import ACCOUNT_COLUMNS, account_json, account_row
from vault_adapters.configuration.config import VaultConfig
from vault_adapters.runtime.worker import RefreshWorker, describe
from vault_domain import Account, AccountInfo, SweepReport, TokenVault


def add_to(app: App) -> None:
    """Add this module's commands."""
    app.command(refresh)
    app.command(worker)


def refresh(
    tenant: Tenant,
    provider: Provider,
    /,
    *,
    identifier: Identifier = None,
    refreshers: Refreshers = None,
    json: Json = False,
) -> None:
    """Refresh an account now, even if it is not due.

    It ignores backoff and unknown outcomes. After an unknown outcome, a provider that accepts each refresh token only
    once may then revoke the grant.
    """
    account = Account(tenant, provider, identifier)

    async def work(vault: TokenVault) -> AccountInfo | None:
        await vault.refresh_account(account)
        return await vault.get_account(account)

    info = with_vault(work, VaultConfig.from_env(), refreshers=load_refreshers(refreshers))
    if info is None:
        return  # the account was deleted meanwhile
    if json:
        print_json(account_json(info))
    else:
        screen = open_screen()
        screen.table(ACCOUNT_COLUMNS, [account_row(info, screen)])


def worker(
    *,
    refreshers: Refreshers = None,
    interval: Annotated[str, Parameter(help="Average pause between two sweeps.")] = "1m",
    limit: Limit = None,
    once: Annotated[bool, Parameter(help="Sweep once and end.", show_default=False)] = False,
) -> None:
    """Refresh due accounts at an interval until SIGTERM or Ctrl-C.

    It prints one line per sweep. Any number of workers may run.
    """
    pause = as_duration(interval, "--interval")

    async def work(vault: TokenVault) -> None:
        named = vault.with_actor("worker")
        if once:
            _print_report(await named.refresh_due(limit=limit))
        else:
            await RefreshWorker(named, interval=pause, limit=limit, on_sweep=_print_report).run()

    with_vault(work, VaultConfig.from_env(), refreshers=load_refreshers(refreshers))


def _print_report(report: SweepReport) -> None:
    if sys.stdout.isatty():
        line = f"{datetime.now():%H:%M:%S}  {describe(report)}"
    else:
        line = f"{iso(datetime.now(UTC))} {describe(report)}"
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
