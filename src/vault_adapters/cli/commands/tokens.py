"""`store`, `get`, `list`, `invalidate`, `delete` and `delete-provider`: manages stored tokens."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter

from vault_adapters.cli.failures import complain
from vault_adapters.cli.inputs import as_expiry, read_secret
from vault_adapters.cli.parameters import Identifier, Json, Kind, OnlyProvider, Provider, Tenant
from vault_adapters.cli.refreshers import Refreshers, load_if_named
from vault_adapters.cli.screen import open_screen, print_json, printable
from vault_adapters.cli.session import gather, with_vault
from vault_adapters.cli.views import TOKEN_COLUMNS, token_fields, token_json, token_row
from vault_adapters.configuration.config import VaultConfig
from vault_domain import (
    GenerationConflictError,
    MarkOutcome,
    Secret,
    TokenInfo,
    TokenKey,
    TokenKind,
    TokenNotFoundError,
    TokenVault,
)


def store(
    tenant: Tenant,
    provider: Provider,
    kind: Kind,
    /,
    *,
    identifier: Identifier = None,
    expires_in: Annotated[str | None, Parameter(help="Time until the value expires, such as 90s, 1h30m or 2d.")] = None,
    expires_at: Annotated[str | None, Parameter(help="The value's expiry, such as 2030-01-31T12:00:00Z.")] = None,
    scope: Annotated[list[str] | None, Parameter(help="A scope that was granted; repeat it for more.")] = None,
    expected_generation: Annotated[
        int | None, Parameter(help="Store only if this generation is stored; 0: only if nothing is stored.")
    ] = None,
    label: Annotated[
        str | None, Parameter(help="A name for the account, such as an e-mail address, for lists and find; no secret.")
    ] = None,
    refreshers: Refreshers = None,
    json: Json = False,
) -> None:
    """Store a value from standard input.

    On a terminal, a prompt asks for it without echo. A value that is already stored is replaced. One final line end is
    not part of the value. With --refreshers, the vault knows the provider's default and idle lifetimes, so that sweeps
    refresh the token in time.
    """
    key = TokenKey(tenant, provider, TokenKind(kind), identifier)
    expiry = as_expiry(expires_in, expires_at)
    config = VaultConfig.from_env()
    known = load_if_named(refreshers)
    value = read_secret()
    info = with_vault(
        lambda vault: vault.store_token(
            key, value, expires_at=expiry, scopes=scope, expected_generation=expected_generation, label=label
        ),
        config,
        refreshers=known,
    )
    _show(info, config, json=json)


def get(
    tenant: Tenant,
    provider: Provider,
    kind: Kind,
    /,
    *,
    identifier: Identifier = None,
    reveal: Annotated[bool, Parameter(help="Print the value, and nothing else.", show_default=False)] = False,
    json: Json = False,
) -> None:
    """Show a token's metadata, or its value with --reveal.

    The value is always decrypted. If it cannot be decrypted, the exit code is 6, with and without --reveal. --reveal
    writes exactly the value's bytes into a pipe or a file; on a terminal it shows control characters as escapes.
    """
    key = TokenKey(tenant, provider, TokenKind(kind), identifier)
    config = VaultConfig.from_env()
    token = with_vault(lambda vault: vault.get_token(key), config)
    if token is None:
        raise TokenNotFoundError(account=key.account)
    if reveal and not json:
        _print_value(token.value)
    else:
        _show(token.info, config, json=json, value=token.value if reveal else None)


def list_tokens(tenant: Tenant, /, *, provider: OnlyProvider = None, json: Json = False) -> None:
    """List a tenant's tokens; nothing is decrypted."""
    config = VaultConfig.from_env()
    infos = with_vault(lambda vault: gather(vault.iter_tokens(tenant, provider=provider)), config)
    show_tokens(infos, config, json=json)


def invalidate(
    tenant: Tenant,
    provider: Provider,
    kind: Kind,
    /,
    *,
    identifier: Identifier = None,
    error_code: Annotated[str, Parameter(help="The reason, as a code; no free text.")] = "invalid_token",
    json: Json = False,
) -> None:
    """Mark a token invalid, for example after a resource answered 401 to it.

    The token stays stored, but callers who ask for a usable token no longer get it.
    """
    key = TokenKey(tenant, provider, TokenKind(kind), identifier)

    async def work(vault: TokenVault) -> MarkOutcome:
        return await vault.mark_token_invalid(await _find(vault, key), error_code)

    outcome = with_vault(work, VaultConfig.from_env())
    if outcome is MarkOutcome.STALE:
        raise GenerationConflictError("the token was replaced or deleted in the meantime; nothing was marked")
    if json:
        print_json({"outcome": outcome.value})
    else:
        open_screen().text("marked invalid" if outcome is MarkOutcome.APPLIED else "the token was already invalid")


def delete(
    tenant: Tenant, provider: Provider, kind: Kind, /, *, identifier: Identifier = None, json: Json = False
) -> None:
    """Delete one token."""
    key = TokenKey(tenant, provider, TokenKind(kind), identifier)
    if not with_vault(lambda vault: vault.delete_token(key), VaultConfig.from_env()):
        raise TokenNotFoundError(account=key.account)
    _show_deleted(1, json=json)


def delete_provider(tenant: Tenant, provider: Provider, /, *, json: Json = False) -> None:
    """Delete all of a tenant's tokens at a provider."""
    deleted = with_vault(lambda vault: vault.delete_provider_tokens(tenant, provider), VaultConfig.from_env())
    _show_deleted(deleted, json=json)


def show_tokens(infos: list[TokenInfo], config: VaultConfig, *, json: bool) -> None:
    """Show a list of tokens, as JSON or as a table."""
    if json:
        print_json([token_json(info, config.refresh_buffer) for info in infos])
    elif not infos:
        complain("no tokens")
    else:
        screen = open_screen()
        screen.table(TOKEN_COLUMNS, [token_row(info, config.refresh_buffer, screen) for info in infos])


async def _find(vault: TokenVault, key: TokenKey) -> TokenInfo:
    """Return a token's metadata without decrypting it, so that an unreadable token can be invalidated."""
    async for info in vault.iter_tokens(key.tenant_id, provider=key.provider):
        if info.key == key:
            return info
    raise TokenNotFoundError(account=key.account)


def _show(info: TokenInfo, config: VaultConfig, *, json: bool, value: Secret | None = None) -> None:
    if json:
        found = token_json(info, config.refresh_buffer)
        print_json(found if value is None else {**found, "value": value.reveal()})
        return
    screen = open_screen()
    screen.fields(token_fields(info, config.refresh_buffer, screen))


def _print_value(value: Secret) -> None:
    """Write exactly the value's bytes into a pipe or a file; on a terminal, escape its control characters."""
    sys.stdout.flush()
    # Keep the text out of local variables, because writing may fail, and a traceback may show them.
    sys.stdout.buffer.write(_harmless(value) if sys.stdout.isatty() else value.reveal().encode())


def _harmless(value: Secret) -> bytes:
    # Keep line ends, because they do no harm, and a user who copies a value of several lines needs them.
    shown = "\n".join(printable(line) for line in value.reveal().split("\n"))
    if shown != value.reveal():
        complain("characters that control a terminal are shown as escapes; a pipe gets the value as it is")
    return shown.encode() + b"\n"


def _show_deleted(count: int, *, json: bool) -> None:
    if json:
        print_json({"deleted": count})
    else:
        open_screen().text(f"deleted {count} {'token' if count == 1 else 'tokens'}")
