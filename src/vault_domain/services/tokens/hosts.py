"""Tells to which hosts an access token may be sent, and in which header."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from vault_domain.entities.api_header import ApiHeader
from vault_domain.entities.errors import ConfigurationError
from vault_domain.entities.token import Token
from vault_domain.ports.tasks import Tasks
from vault_domain.ports.token_refresher import HostNamer, TokenRefresher

_log = logging.getLogger(__name__)

LONGEST_SECONDS = 10.0
"""Longest time for a refresher to name hosts.

The refresher may call code of the service that uses the vault, and this code may hang.
"""


class ApiHosts:
    """The API hosts that the refreshers name.

    If a refresher names none, the service that uses the vault decides to which hosts it sends the access tokens.

    Args:
        refreshers: the refreshers, by provider.
        tasks: cancels a refresher that takes longer than ``seconds``.
        seconds: longest time for a refresher.
    """

    def __init__(
        self, refreshers: Mapping[str, TokenRefresher], tasks: Tasks, seconds: float = LONGEST_SECONDS
    ) -> None:
        self._tasks, self._seconds = tasks, seconds
        headers = {name: getattr(each, "api_header", None) for name, each in refreshers.items()}
        self._headers = {name: header for name, header in headers.items() if isinstance(header, ApiHeader)}
        self._namers = {name: each for name, each in refreshers.items() if isinstance(each, HostNamer)}

    def header_of(self, token: Token) -> ApiHeader:
        """Return the header in which API requests carry this token."""
        return self._headers.get(token.info.key.provider) or ApiHeader()

    async def of(self, token: Token) -> tuple[str, ...]:
        """Return the hosts to which this token may be sent; an empty tuple if they are not known.

        Raises:
            ConfigurationError: the refresher knows hosts, but not those of this account.
        """
        account = token.info.key.account
        namer = self._namers.get(account.provider)
        if namer is None:
            return ()
        try:
            return tuple(await self._tasks.within_briefly(self._seconds, lambda: namer.hosts_of(account, token.extra)))
        except ConfigurationError:
            raise
        except Exception as error:  # log the type only, because the error's text may hold a secret
            _log.error("a refresher for %s could not name its hosts (%s)", account.provider, type(error).__qualname__)
            return ()
