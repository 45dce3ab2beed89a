"""`restored`: tells the vault that a backup was restored, and lists whom to ask."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from vault_adapters.cli.inputs import as_moment_or_age
from vault_adapters.cli.parameters import Json
from vault_adapters.cli.progress import waiting
from vault_adapters.cli.refreshers import Refreshers, load_if_named
from vault_adapters.cli.screen import open_screen, print_json
from vault_adapters.cli.session import with_vault
from vault_adapters.cli.views import ACCOUNT_COLUMNS, account_row
from vault_adapters.configuration.config import VaultConfig
from vault_adapters.runtime.json_forms import account_json
from vault_domain import RestoreReport, TokenVault


def restored(
    *,
    since: Annotated[
        str | None,
        Parameter(
            help="When the restored database went into use, such as 2030-01-31T12:00:00Z, or 2h for two hours ago;"
            " without it, now."
        ),
    ] = None,
    refreshers: Refreshers = None,
    json: Json = False,
) -> None:
    """Tell the vault that a backup was restored, and list the accounts whose users must connect them again.

    The database is then older than the providers: the vault believes the rejection of a token from the backup, however
    many are rejected. Accounts whose provider answers stay connected. With --refreshers, the command refreshes the
    accounts that are due; otherwise workers do. Repeat the command to see what has become known since.
    """
    begin = None if since is None else as_moment_or_age(since, "--since")
    known = load_if_named(refreshers)
    with waiting("refreshing", None):

        async def work(vault: TokenVault) -> RestoreReport:
            return await vault.restored(since=begin)

        report = with_vault(work, VaultConfig.from_env(), refreshers=known)
    if json:
        print_json(
            {
                "restored_at": report.restored_at.isoformat(),
                "refreshed": report.swept.refreshed,
                "ask": [account_json(info) for info in report.ask],
                "retrying": [account_json(info) for info in report.retrying],
            }
        )
        return
    screen = open_screen()
    if report.ask:
        screen.table(ACCOUNT_COLUMNS, [account_row(info, screen) for info in report.ask])
    counts = {"refreshed": report.swept.refreshed, "ask to connect again": len(report.ask)}
    screen.fields(list({**counts, "retrying": len(report.retrying)}.items()))
