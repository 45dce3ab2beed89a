"""`accounts`, `find`, `tenants` and `delete-account`: lists and finds accounts, lists tenants, deletes an account."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Literal

from cyclopts import Parameter

from vault_adapters.cli.failures import complain
from vault_adapters.cli.parameters import (
    All,
    Identifier,
    Json,
    Limit,
    OnlyProvider,
    Provider,
    Tenant,
    TenantOrAll,
    one_tenant_or_all,
)
from vault_adapters.cli.refreshers import Refreshers, load_refreshers
from vault_adapters.cli.screen import open_screen, print_json
from vault_adapters.cli.session import gather, with_vault
from vault_adapters.cli.views import ACCOUNT_COLUMNS, account_row
from vault_adapters.configuration.config import VaultConfig
from vault_adapters.runtime.json_forms import account_json
from vault_domain import Account, AccountInfo, ConnectionState, Incident, Page, TokenNotFoundError, TokenVault
from vault_domain.entities.clients import CLIENT_REASONS
from vault_domain.rules.advice import advice_for

_State = Annotated[
    Literal["connected", "retrying", "reauthorization_required"] | None, Parameter(help="Only accounts in this state.")
]


def accounts(
    tenant: TenantOrAll = None,
    /,
    *,
    all_: All = False,
    provider: OnlyProvider = None,
    state: _State = None,
    limit: Limit = None,
    json: Json = False,
) -> None:
    """List the accounts of a tenant or of all tenants; the states show which accounts must be connected again."""
    one_tenant_or_all(tenant, all_)
    wanted = None if state is None else ConnectionState(state)

    def listed(vault: TokenVault) -> AsyncIterator[AccountInfo]:
        return vault.iter_accounts(tenant, provider=provider, state=wanted)

    async def work(vault: TokenVault) -> tuple[Sequence[AccountInfo], Sequence[Incident]]:
        infos = await gather(listed(vault), limit)
        return infos, await _pauses(vault, infos)

    infos, incidents = with_vault(work, VaultConfig.from_env())
    _show(infos, incidents, json=json)


def find(
    text: Annotated[
        str, Parameter(help="The beginning of a label or an identifier, or a provider's name; 2 characters at least.")
    ],
    /,
    *,
    limit: Annotated[int, Parameter(help="Largest number of accounts.")] = 100,
    json: Json = False,
) -> None:
    """Find the accounts of all tenants whose label or identifier begins with TEXT, or whose provider is TEXT.

    Upper and lower case of the letters A to Z are alike. Nothing is decrypted.
    """

    async def work(vault: TokenVault) -> tuple[Page[AccountInfo], Sequence[Incident]]:
        page = await vault.find(text, limit=limit)
        return page, await _pauses(vault, page.items)

    page, incidents = with_vault(work, VaultConfig.from_env())
    _show(
        page.items,
        incidents,
        json=json,
        none="no account's label or identifier begins with this, and no provider is called so",
    )
    if page.next is not None:
        complain("there are more accounts; write more of the text, or pass a larger --limit")


async def _pauses(vault: TokenVault, infos: Sequence[AccountInfo]) -> Sequence[Incident]:
    """Return the pauses of clients, if one of the accounts may be held back by a pause."""
    tenant = next((info.account.tenant_id for info in infos if info.reason in CLIENT_REASONS), None)
    return () if tenant is None else (await vault.health(tenant_id=tenant)).incidents


def _show(
    infos: Sequence[AccountInfo], incidents: Sequence[Incident], *, json: bool, none: str = "no accounts"
) -> None:
    if json:
        print_json([account_json(info) for info in infos])
    elif not infos:
        complain(none)
    else:
        screen = open_screen()
        screen.table(ACCOUNT_COLUMNS, [account_row(info, screen) for info in infos])
        for line in dict.fromkeys(line for info in infos if (line := _to_do(info, incidents)) is not None):
            screen.text(line)


def _to_do(info: AccountInfo, incidents: Sequence[Incident]) -> str | None:
    found = advice_for(info, incidents)
    return None if found is None else f"{info.reason or info.state.value}: {found.sentence} {found.action}"


def tenants(*, json: Json = False) -> None:
    """List the ids of the tenants that have tokens."""
    found = with_vault(lambda vault: gather(vault.iter_tenants()), VaultConfig.from_env())
    if json:
        print_json(found)
    elif not found:
        complain("no tenants")
    else:
        open_screen().table(("tenant",), [[tenant] for tenant in found])


def delete_account(
    tenant: Tenant,
    provider: Provider,
    /,
    *,
    identifier: Identifier = None,
    revoke: Annotated[
        bool, Parameter(help="First ask the provider to revoke the grant; this needs --refreshers.", show_default=False)
    ] = False,
    refreshers: Refreshers = None,
    json: Json = False,
) -> None:
    """Delete all tokens of an account.

    With --revoke, it first asks the provider to revoke the grant, unless that would end another tenant's grant too. The
    tokens are deleted even if the provider does not confirm.
    """
    account = Account(tenant, provider, identifier)
    known = load_refreshers(refreshers) if revoke else None
    deletion = with_vault(
        lambda vault: vault.delete_account(account, revoke=revoke), VaultConfig.from_env(), refreshers=known
    )
    if not deletion.deleted:
        raise TokenNotFoundError(account=account)
    if json:
        print_json({"deleted": deletion.deleted, "revoked": deletion.revoked, "reason": deletion.reason})
        return
    screen = open_screen()
    screen.text(f"deleted {deletion.deleted} {'token' if deletion.deleted == 1 else 'tokens'}")
    if revoke:
        verb = "confirmed" if deletion.revoked else "did not confirm"
        outcome = "nothing was revoked" if deletion.revoked is None else f"the provider {verb} the revocation"
        screen.text(outcome if deletion.reason is None else f"{outcome} ({deletion.reason})")
