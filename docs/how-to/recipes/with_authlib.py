"""Authlib's clients with an account's token. They hold no token of their own, so only the vault refreshes."""

from typing import Any

import httpx2
from authlib.integrations.httpx_client import AsyncOAuth2Client
from authlib.integrations.requests_client import OAuth2Session

from vault_adapters import Account, SyncVault, TokenVault
from vault_adapters.clients import httpx2 as with_httpx2
from vault_adapters.clients import requests as with_requests


class VaultSession(OAuth2Session):
    def __init__(self, vault: SyncVault, account: Account, *, hosts: list[str] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.bearer = with_requests.VaultAuth(vault, account, hosts=hosts)

    def request(self, method: str, url: str, withhold_token: bool = False, auth: Any = None, **options: Any) -> Any:
        auth = self.bearer if auth is None and not withhold_token else auth
        return super().request(method, url, withhold_token=withhold_token, auth=auth, **options)


class VaultClient(AsyncOAuth2Client):
    def __init__(self, vault: TokenVault, account: Account, *, hosts: list[str] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.bearer = with_httpx2.VaultAuth(vault, account, hosts=hosts)

    async def request(self, method: str, url: str, *arguments: Any, **options: Any) -> Any:
        return await super().request(method, url, *arguments, **self.with_bearer(options))

    def stream(self, method: str, url: str, *arguments: Any, **options: Any) -> Any:
        return super().stream(method, url, *arguments, **self.with_bearer(options))

    def with_bearer(self, options: dict[str, Any]) -> dict[str, Any]:
        named = options.get("auth", httpx2.USE_CLIENT_DEFAULT) is not httpx2.USE_CLIENT_DEFAULT
        return options if named or options.get("withhold_token") else {**options, "auth": self.bearer}
