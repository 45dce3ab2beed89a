"""`connect`: connects an account at a provider from a terminal."""

from __future__ import annotations

import getpass
import secrets
import sys
import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

from cyclopts import Parameter

from vault_adapters.cli.failures import complain
from vault_adapters.cli.inputs import read_secret
from vault_adapters.cli.parameters import Json, Provider
from vault_adapters.cli.refreshers import Refreshers, load_if_named
from vault_adapters.cli.screen import open_screen, print_json, printable
from vault_adapters.cli.session import with_vault
from vault_adapters.cli.views import ACCOUNT_COLUMNS, account_row
from vault_adapters.configuration.config import VaultConfig
from vault_adapters.providers import refresher
from vault_adapters.providers.profiles import Profile
from vault_adapters.providers.profiles.loading import as_profile
from vault_adapters.runtime.json_forms import account_json
from vault_domain import AccountInfo, ConfigurationError, InvalidInputError, TokenVault


def connect(
    provider: Provider,
    /,
    *,
    tenant: Annotated[str, Parameter(help="The tenant that the account will belong to.")] = "default",
    scope: Annotated[list[str] | None, Parameter(help="A scope to ask for; repeat it for more.")] = None,
    port: Annotated[int, Parameter(help="Port of the redirect URI on 127.0.0.1; 0 takes a free one.")] = 0,
    browse: Annotated[bool, Parameter(name="--open", help="Open the address in a browser.", show_default=False)] = (
        False
    ),
    device: Annotated[bool, Parameter(help="Show a code to enter on any device.", show_default=False)] = False,
    refreshers: Refreshers = None,
    json: Json = False,
) -> None:
    """Connect an account: show the provider's address, wait until the user has agreed there, store the tokens.

    The browser must run on this machine, because the provider sends it back to 127.0.0.1. With --device, or if the
    provider offers nothing else, it may run anywhere, and the user enters a code there. The client is that of
    --refreshers; without them, its id and secret are asked for, or read from the first two lines of standard input.
    """
    if not 0 <= port <= 65535:
        raise InvalidInputError("--port must be a number from 0 to 65535")
    config = VaultConfig.from_env()
    made = _refresher(provider, refreshers)

    async def work(vault: TokenVault) -> Sequence[AccountInfo]:
        if device or _is_for_devices(made):
            return await _by_code(vault, provider, made, tenant, scope)
        return await _by_browser(vault, provider, made, tenant, scope, port=port, browse=browse)

    infos = with_vault(work, config, refreshers={provider: made})
    if json:
        print_json([account_json(info) for info in infos])
    else:
        screen = open_screen()
        screen.table(ACCOUNT_COLUMNS, [account_row(info, screen) for info in infos])


async def _by_browser(
    vault: TokenVault, provider: str, made: Any, tenant: str, scopes: list[str] | None, *, port: int, browse: bool
) -> Sequence[AccountInfo]:
    with _extra():
        from vault_adapters.connect import Connector
        from vault_adapters.connect.connector import LIFETIME
        from vault_adapters.connect.loopback import loopback_callback
    session = secrets.token_urlsafe(32)
    async with loopback_callback(port) as callback:
        connector = Connector(vault, {provider: made}, redirect_uri=callback.redirect_uri)
        start = await connector.begin(tenant, provider, session=session, scopes=scopes)
        _tell(f"Open this address in a browser on this machine:\n{start.url}")
        if browse and not webbrowser.open(start.url):
            complain("no browser could be opened")
        query = await callback.wait(start.state, LIFETIME)
        return await connector.finish_all(query, session=session)


async def _by_code(
    vault: TokenVault, provider: str, made: Any, tenant: str, scopes: list[str] | None
) -> Sequence[AccountInfo]:
    with _extra():
        from vault_adapters.connect import DeviceConnector
    connector = DeviceConnector(vault, {provider: made})
    start = await connector.begin(tenant, provider, scopes=scopes)
    _tell(f"Open this address in a browser, and enter the code {start.user_code}\n{start.verification_uri}")
    return [await connector.finish(start)]


def _is_for_devices(made: Any) -> bool:
    profile = getattr(made, "profile", None)
    return isinstance(profile, Profile) and profile.authorization_url is None and bool(profile.device_authorization_url)


@contextmanager
def _extra() -> Iterator[None]:
    """Say which extra to install if a library is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigurationError(str(error), code="missing_extra") from None


def _refresher(provider: str, place: str | None) -> Any:
    """Return the host's refresher of a provider, or one of the package's profile for a client that is asked for."""
    known = load_if_named(place)
    if known is not None:
        if provider not in known:
            raise InvalidInputError("the refreshers have no such provider")
        return known[provider]
    profile = as_profile(provider)
    if profile.token_url is None:
        raise InvalidInputError("API keys of this provider are not connected: keep one with token-vault store")
    client_id, client_secret = _client()
    return refresher(profile, client_id, client_secret, auth_method="none" if client_secret is None else None)


def _client() -> tuple[str, str | None]:
    """Return a client's id and its secret; None for a public client, whose secret is left empty."""
    if sys.stdin.isatty():
        sys.stderr.write("Client id: ")
        sys.stderr.flush()
        client_id = sys.stdin.readline().strip()
        return client_id, getpass.getpass("Client secret (it is not shown; empty for a public client): ") or None
    lines = read_secret().reveal().splitlines()
    if len(lines) > 2:
        raise InvalidInputError("standard input must hold the client id and the client secret, a line each")
    return lines[0], lines[1] if len(lines) > 1 else None


def _tell(text: str) -> None:
    """Write a text for the user on standard error, because standard output is for what was stored."""
    sys.stderr.write("".join(f"{printable(line)}\n" for line in text.splitlines()))
    sys.stderr.flush()
