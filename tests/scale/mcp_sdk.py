"""The OAuth provider of the MCP SDK, whose tokens are in a file that processes share."""

from __future__ import annotations

import json
import os
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp.client.auth import OAuthClientProvider
from mcp.client.auth.oauth2 import AuthorizationCodeResult
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken


class SharedFile:
    """The SDK's `TokenStorage` over a file; each write replaces the file as a whole."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def _read(self, name: str):
        return json.loads(self._path.read_text()).get(name) if self._path.exists() else None

    def _write(self, **members) -> None:
        known = json.loads(self._path.read_text()) if self._path.exists() else {}
        fresh = self._path.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps({**known, **members}))
        fresh.replace(self._path)

    async def get_tokens(self):
        """Return the tokens, or None."""
        found = self._read("tokens")
        return None if found is None else OAuthToken.model_validate(found)

    async def set_tokens(self, tokens) -> None:
        """Store the tokens."""
        self._write(tokens=tokens.model_dump(mode="json"))

    async def get_client_info(self):
        """Return the registered client, or None."""
        found = self._read("client")
        return None if found is None else OAuthClientInformationFull.model_validate(found)

    async def set_client_info(self, info) -> None:
        """Store the registered client."""
        self._write(client=info.model_dump(mode="json"))


def provider(url: str, path: Path, redirect_uri: str) -> OAuthClientProvider:
    """Return a provider whose user agrees at once."""
    answers = []

    async def redirect(address: str) -> None:
        async with httpx2.AsyncClient(trust_env=False) as browser:
            answers.append(parse_qs(urlsplit((await browser.get(address)).headers["location"]).query))

    async def callback():
        found = answers.pop()
        return AuthorizationCodeResult(code=found["code"][0], state=found["state"][0], iss=found["iss"][0])

    metadata = OAuthClientMetadata(
        client_name="crowd",
        redirect_uris=[redirect_uri],
        token_endpoint_auth_method="client_secret_basic",
        grant_types=["authorization_code", "refresh_token"],
    )
    return OAuthClientProvider(url, metadata, SharedFile(path), redirect, callback)
