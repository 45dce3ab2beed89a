"""Finds the token endpoint of an account, because a pause concerns one endpoint."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from attrs import evolve

from vault_domain.entities.account import Account
from vault_domain.entities.errors import VaultError
from vault_domain.ports.accounts import Snapshot
from vault_domain.ports.token_refresher import EndpointNamer, TokenRefresher
from vault_domain.rules.clients import at_endpoint
from vault_domain.rules.refresh import Claim
from vault_domain.services.tokens.clients import Clients
from vault_domain.services.tokens.opening import TokenOpener

_log = logging.getLogger(__name__)


class Endpoints:
    """The token endpoints of accounts, where they differ.

    Args:
        refreshers: the refresher of each provider.
        clients: name the clients.
        opener: opens the extra members that may say where an account's endpoint is.
    """

    def __init__(self, refreshers: Mapping[str, TokenRefresher], clients: Clients, opener: TokenOpener) -> None:
        self._namers = {name: each for name, each in refreshers.items() if isinstance(each, EndpointNamer)}
        self._clients = clients
        self._opener = opener

    async def placed(self, account: Account, decision: Claim, snapshot: Snapshot) -> Claim:
        """Return the decision with the account's endpoint, if the provider has several; nothing is sent."""
        endpoint = await self.of(account, snapshot)
        return decision if endpoint is None else evolve(decision, endpoint=endpoint)

    async def of(self, account: Account, snapshot: Snapshot) -> bytes | None:
        """Return the client at the account's endpoint; None if the provider has one endpoint, or if it is not known."""
        namer = self._namers.get(account.provider)
        if namer is None:
            return None
        try:
            url: object = await namer.token_url_of(account, await self._opener.previous_extra(account, snapshot))
        except VaultError as error:  # the attempt itself will say what is wrong
            _log.info("the token endpoint of an account at %s is not known (%s)", account.provider, error.code)
            return None
        except Exception as error:  # a host's own refresher may raise any exception; its text may hold a secret
            kind = type(error).__qualname__
            _log.error("a refresher for %s could not name its token endpoint (%s)", account.provider, kind)
            return None
        return at_endpoint(self._clients.of(account), url) if isinstance(url, str) else None
