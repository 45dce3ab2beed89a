"""`refresh`: refreshes the access token of one account."""

from __future__ import annotations

from vault_adapters.cli.parameters import Identifier, Json, Provider, Tenant
from vault_adapters.cli.refreshers import Refreshers, load_refreshers
from vault_adapters.cli.screen import open_screen, print_json
from vault_adapters.cli.session import with_vault
from vault_adapters.cli.views import ACCOUNT_COLUMNS, account_row
from vault_adapters.configuration.config import VaultConfig
from vault_adapters.runtime.json_forms import account_json
from vault_domain import Account, AccountInfo, TokenVault


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

    The command ignores backoff and unknown outcomes. After an unknown outcome, the stored refresh token may be spent
    already; a provider that accepts each refresh token only once may then revoke the grant.
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
