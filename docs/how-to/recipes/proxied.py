"""A vault whose token requests go through a proxy, and trust a private certificate authority."""

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import httpx2

from vault_adapters import TokenRefresher, TokenVault, VaultConfig, open_vault


@asynccontextmanager
async def opened(
    config: VaultConfig,
    refreshers: Mapping[str, TokenRefresher],
    *,
    proxy: str | None = None,
    ca_file: str | None = None,
) -> AsyncIterator[TokenVault]:
    """Open a vault; ``proxy`` is a URL such as ``http://proxy.example:3128``, ``ca_file`` the path of a PEM file."""
    trusted = ssl.create_default_context()
    if ca_file is not None:
        trusted.load_verify_locations(ca_file)  # in addition to the system's authorities
    # With a limit of connections, hanging requests would delay all others. The vault itself limits its requests.
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=20)
    # trust_env=False: no variable of the environment changes where tokens go.
    async with (
        httpx2.AsyncClient(proxy=proxy, verify=trusted, trust_env=False, limits=limits) as client,
        open_vault(config, refreshers=refreshers, http_client=client) as vault,
    ):
        yield vault
