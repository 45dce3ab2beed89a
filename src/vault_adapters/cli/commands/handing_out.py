"""`token`: prints a valid access token as JSON, for programs that cannot open the vault themselves."""

from __future__ import annotations

import shlex
import sys
from typing import Annotated

from cyclopts import Parameter

from vault_adapters.cli.parameters import Identifier, Provider, Tenant
from vault_adapters.cli.refreshers import Refreshers, load_if_named
from vault_adapters.cli.screen import print_json, printable
from vault_adapters.cli.session import with_vault
from vault_adapters.clients.access import PROOF_TYPES, check_characters
from vault_adapters.configuration.config import VaultConfig
from vault_adapters.runtime.json_forms import iso
from vault_domain import Account, ApiHeader, InvalidInputError, Token, TokenNotFoundError, TokenVault, VaultError

_MOST_SHOWN = 10
"""Largest number of identifiers in an error."""


def token(
    tenant: Tenant,
    provider: Provider,
    /,
    *,
    identifier: Identifier = None,
    refreshers: Refreshers = None,
    reveal: Annotated[bool, Parameter(help="Print the token even on a terminal.", show_default=False)] = False,
) -> None:
    """Print an access token for another program, refreshed if it is due.

    The output is one JSON object: access_token (or an API key that does not expire), headers (those of a request to
    the API), expires_at (ISO 8601, or null), token_type and extra. On a terminal,
    the command needs --reveal, because a terminal keeps what it shows. Without refreshers, a token that is due is
    printed without a refresh, and an expired token is an error. So is a token that a header cannot carry.
    """
    account = Account(tenant, provider, identifier)
    if sys.stdout.isatty() and not reveal:
        raise InvalidInputError("a token is printed on a terminal only with --reveal; a program reads it from a pipe")
    known = load_if_named(refreshers)
    found, header = with_vault(lambda vault: _access_token(vault, account), VaultConfig.from_env(), refreshers=known)
    if header.scheme == "DPoP":
        raise VaultError(
            "the token is bound to a key that the vault keeps (DPoP), so only the vault's HTTP clients can use it",
            code="token_needs_proof",
            account=account,
        )
    # Programs write the token into headers and files of options.
    credentials = check_characters(found, header.credentials_of(found.value))
    is_plain = found.token_type.lower() not in PROOF_TYPES
    print_json(
        {
            "access_token": credentials.reveal(),
            "headers": {header.name: header.over(credentials)} if is_plain else {},
            "expires_at": iso(found.info.expires_at),
            "token_type": found.token_type,
            "extra": dict(found.extra),
        }
    )


async def _access_token(vault: TokenVault, account: Account) -> tuple[Token, ApiHeader]:
    """Return an access token, and the header that carries it.

    If only the identifier is missing, the error lists the identifiers that exist.
    """
    try:
        token = await vault.ensure_access_token(account)
        return token, await vault.api_header(token)
    except TokenNotFoundError as error:
        refusal = error
    if account.identifier is None:
        page = await vault.list_accounts(tenant_id=account.tenant_id, provider=account.provider, limit=_MOST_SHOWN)
        known = [printable(shlex.quote(info.account.identifier)) for info in page.items if info.account.identifier]
        if known:
            more = ", ..." if page.next is not None else ""
            refusal = TokenNotFoundError(
                f"no such token; pass --identifier with one of those that exist: {', '.join(known)}{more}"
            )
    raise refusal
