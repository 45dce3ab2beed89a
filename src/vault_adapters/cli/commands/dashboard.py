"""`dashboard`: shows the vault in a browser on this machine."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter

from vault_adapters.cli.refreshers import Refreshers, load_if_named
from vault_adapters.cli.session import with_vault
from vault_adapters.configuration.config import VaultConfig
from vault_domain import ConfigurationError, TokenVault


def dashboard(
    *,
    port: Annotated[int, Parameter(help="Port to listen at; 0 takes a free one.")] = 8321,
    host: Annotated[str, Parameter(help="Address of this machine to listen at.")] = "127.0.0.1",
    actions: Annotated[
        bool,
        Parameter(
            help="Allow refreshing, reviving and deleting accounts; a refresh needs --refreshers.", show_default=False
        ),
    ] = False,
    actor: Annotated[str, Parameter(help="The actor in the audit events of the actions.")] = "dashboard",
    refreshers: Refreshers = None,
) -> None:
    """Show accounts, events and keys in a browser until SIGTERM or Ctrl-C.

    The command prints a link that works once, for one browser. No page shows the value of a token. The dashboard
    listens at 127.0.0.1 only, unless --host names another address. The connection is not encrypted.
    """
    try:
        from vault_adapters.web import dashboard as make
        from vault_adapters.web.serving import serve
    except ImportError:
        raise ConfigurationError(
            "the dashboard needs Starlette, Jinja2 and uvicorn: install token-vault[web]", code="missing_extra"
        ) from None

    async def work(vault: TokenVault) -> None:
        app = make(vault, actions=actions, actor=lambda _: actor)
        await serve(app, host=host, port=port, announce=_announce)

    with_vault(work, VaultConfig.from_env(), refreshers=load_if_named(refreshers))


def _announce(link: str) -> None:
    sys.stdout.write(f"Open this link; it works once. Ctrl-C ends the dashboard.\n{link}\n")
    sys.stdout.flush()
