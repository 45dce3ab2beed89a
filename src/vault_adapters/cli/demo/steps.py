"""The first steps of the demonstration: connect, look at one row, watch, invalidate."""

from __future__ import annotations

import textwrap
from datetime import timedelta
from typing import Any

from vault_adapters.cli.commands.watching import show_report
from vault_adapters.cli.demo.connecting import can_connect, connect_all
from vault_adapters.cli.demo.sample import ACME_GOOGLE, INITECH_WHATSAPP, TENANTS, api_keys, connections
from vault_adapters.cli.demo.stage import Stage
from vault_adapters.cli.screen import Content
from vault_adapters.cli.session import gather
from vault_adapters.cli.views import ACCOUNT_COLUMNS, TOKEN_COLUMNS, account_row, colored, token_row
from vault_adapters.runtime.json_forms import iso
from vault_domain import Account, Token, TokenKind, TokenSet

_SOON = timedelta(hours=1)
_BUFFER = timedelta(minutes=5)
_SHOWN_BYTES = 48


async def connect(stage: Stage) -> None:
    """Connect accounts of several tenants and providers."""
    through = can_connect()
    how = "at an OpenID provider on loopback that plays Google" if through else "with invented answers of Google"
    stage.screen.heading("Three tenants connect their accounts", f"{how}; API keys by store_tokens; then list_accounts")
    google = [connection for connection in connections() if connection.account.provider == "google"]
    if through:
        for info in await connect_all(stage.vault, google):
            await _remember_stored(stage, info.account)
    for connection in connections():
        if connection.account.provider != "google" or not through:
            await stage.vault.store_token_set(connection.account, connection.token_set, label=connection.label)
            _remember(stage, connection.account.key(TokenKind.ACCESS_TOKEN), connection.token_set)
    keys = api_keys()
    await stage.vault.store_tokens(keys)
    stage.stored.update(keys)
    infos = [info for tenant in TENANTS for info in await gather(stage.vault.iter_accounts(tenant))]
    stage.screen.table(ACCOUNT_COLUMNS, [account_row(info, stage.screen) for info in infos])
    if not through:
        stage.screen.text("With `pip install 'token-vault[cli,connect]'`, the demo connects at an OpenID provider.")
    stage.screen.text(f"{len(await stage.tokens())} tokens are stored, each bound to its own tenant, account and kind.")


async def show_both_sides(stage: Stage) -> None:
    """Show a row as the database holds it, beside the token that the vault returns."""
    stage.screen.heading("One row, from both sides", "the row by SELECT * on the SQLite file; the token by get_token")
    key = ACME_GOOGLE.key(TokenKind.ACCESS_TOKEN)
    row = stage.intruder.read(key)
    token = await stage.vault.get_token(key)
    if token is None:
        return
    stage.screen.beside(("The database holds", _row_fields(row)), ("The vault returns", _token_fields(token, stage)))
    found = stage.intruder.occurrences(token.value.reveal())
    stage.screen.text(f"The token's value in the database's files: found {found} times.")


async def watch_health(stage: Stage) -> None:
    """Show the health report."""
    stage.screen.heading("Health of the tokens", "health: counted without decrypting anything")
    show_report(await stage.vault.health(), stage.screen)


async def watch_expiry(stage: Stage) -> None:
    """Show the tokens that expire soon."""
    stage.screen.heading("Tokens that expire within an hour", "find_expiring_tokens(within=1 hour), soonest first")
    page = await stage.vault.find_expiring_tokens(_SOON)
    stage.screen.table(TOKEN_COLUMNS, [token_row(info, _BUFFER, stage.screen) for info in page.items])


async def invalidate(stage: Stage) -> None:
    """Mark a token invalid and show the effect."""
    stage.screen.heading("A provider's API answers 401", "mark_token_invalid, then get_access_token and get_account")
    key = INITECH_WHATSAPP.key(TokenKind.ACCESS_TOKEN)
    token = await stage.vault.get_token(key)
    if token is None:
        return
    outcome = await stage.vault.mark_token_invalid(token, "invalid_token")
    again = await stage.vault.mark_token_invalid(token, "invalid_token")
    usable = await stage.vault.get_access_token(INITECH_WHATSAPP)
    account = await stage.vault.get_account(INITECH_WHATSAPP)
    stage.screen.fields(
        [
            ("the token of", f"{key.tenant_id}, {key.provider}, {key.identifier}"),
            ("marking it", outcome.value),
            ("marking it again", again.value),
            ("get_access_token", repr(usable)),
            ("the account's state", None if account is None else colored(account.state)),
        ]
    )


async def _remember_stored(stage: Stage, account: Account) -> None:
    """Note an account's values from the vault, because only the connector has seen the provider's answer."""
    for kind in (TokenKind.ACCESS_TOKEN, TokenKind.REFRESH_TOKEN):
        token = await stage.vault.get_token(account.key(kind))
        if token is not None:
            stage.stored[token.info.key] = token.value


def _remember(stage: Stage, key: Any, token_set: TokenSet) -> None:
    stage.stored[key] = token_set.access_token
    if token_set.refresh_token is not None:
        stage.stored[key.account.key(TokenKind.REFRESH_TOKEN)] = token_set.refresh_token


def _row_fields(row: dict[str, Any]) -> list[tuple[str, Content]]:
    blob: bytes = row["blob"]
    names = ("tenant_id", "provider", "kind", "identifier", "status", "generation", "expires_at")
    return [
        *((name, row[name]) for name in names),
        ("data_key_id", row["data_key_id"].hex()),
        ("blob", f"{' '.join(textwrap.wrap(blob[:_SHOWN_BYTES].hex(), 16))} ..."),
        ("blob length", f"{len(blob)} bytes"),
    ]


def _token_fields(token: Token, stage: Stage) -> list[tuple[str, Content]]:
    info = token.info
    return [
        ("tenant", info.key.tenant_id),
        ("provider", info.key.provider),
        ("kind", info.key.kind.value),
        ("identifier", info.key.identifier),
        ("status", info.status.value),
        ("generation", info.generation),
        ("expires", iso(info.expires_at)),
        ("str(value)", str(token.value)),
        ("value.reveal()", token.value.reveal()),
        ("as stored", "yes" if token.value == stage.stored[info.key] else "no"),
    ]
