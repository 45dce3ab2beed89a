"""Connects the accounts of the demonstration at a provider on loopback, as a user with a browser does."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from vault_adapters.cli.demo.sample import Connection
from vault_domain import AccountInfo, TokenVault

if TYPE_CHECKING:
    from vault_adapters.testing.openid import LoopbackOpenIdProvider

_REDIRECT_URI = "http://127.0.0.1/connect/callback"


def can_connect() -> bool:
    """Return whether the packages of the extra ``connect`` are installed."""
    return all(find_spec(package) is not None for package in ("authlib", "joserfc", "httpx2"))


async def connect_all(vault: TokenVault, connections: Sequence[Connection]) -> list[AccountInfo]:
    """Connect accounts at one provider.

    Nothing needs to listen at the redirect URI, because the last redirect is not followed.

    Args:
        vault: the vault.
        connections: the accounts, with the lifetimes and scopes that the provider is to give them.
    """
    from vault_adapters.connect import Connector
    from vault_adapters.testing.openid import openid_provider

    [name] = {connection.account.provider for connection in connections}
    with openid_provider() as provider:
        _introduce(provider, connections)
        connector = Connector(vault, {name: provider.refresher(name)}, redirect_uri=_REDIRECT_URI)
        infos = []
        for connection in connections:
            account, hint = connection.account, {"login_hint": connection.account.identifier or ""}
            start = await connector.begin(
                account.tenant_id, name, session="demo", scopes=connection.token_set.scopes, extra=hint
            )
            infos.append(await connector.finish(await _agree(start.url), session="demo"))
        return infos


async def _agree(url: str) -> str:
    """Open the provider's page, which signs in the user of the ``login_hint``; return the query of the callback."""
    import httpx2

    async with httpx2.AsyncClient(trust_env=False) as browser:
        answer = await browser.get(url)
    return urlsplit(answer.headers["location"]).query


def _introduce(provider: LoopbackOpenIdProvider, connections: Sequence[Connection]) -> None:
    from vault_adapters.testing.openid import User

    provider.users = []
    for connection in connections:
        identifier, lifetime = connection.account.identifier or "", connection.token_set.expires_in
        provider.users.append(User(identifier, identifier, connection.label or identifier))
        if lifetime is not None:
            provider.lifetimes[identifier] = int(lifetime.total_seconds())
