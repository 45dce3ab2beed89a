"""`accounts`: lists accounts with their connection states."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import App, Parameter

from vault_adapters.cli.failures import complain
from vault_adapters.cli.parameters import Json, OnlyProvider, Tenant
from vault_adapters.cli.screen import open_screen, print_json
from vault_adapters.cli.session import gather, with_vault
from vault_adapters.cli.views import ACCOUNT_COLUMNS, account_json, account_row
from vault_adapters.configuration.config import VaultConfig
from vault_domain import ConnectionState

_State = Annotated[
    Literal["connected", "retrying", "reauthorization_required"] | None, Parameter(help="Only accounts in this state.")
]


def add_to(app: App) -> None:
    """Add this module's commands."""
    app.command(accounts)


def accounts(tenant: Tenant, /, *, provider: OnlyProvider = None, state: _State = None, json: Json = False) -> None:
    """List a tenant's accounts with their states; the states show which accounts must be connected again."""
    wanted = None if state is None else ConnectionState(state)
    infos = with_vault(
        lambda vault: gather(vault.iter_accounts(tenant, provider=provider, state=wanted)), VaultConfig.from_env()
    )
    if json:
        print_json([account_json(info) for info in infos])
    elif not infos:
        complain("no accounts")
    else:
        screen = open_screen()
        screen.table(ACCOUNT_COLUMNS, [account_row(info, screen) for info in infos])
