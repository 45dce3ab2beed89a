"""Tells to which hosts an access token may be sent, in which header, and with which proof."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import timedelta

from vault_domain.entities.account import Account
from vault_domain.entities.api_header import ApiHeader
from vault_domain.entities.causes import VARIABLE_REFUSED
from vault_domain.entities.errors import ConfigurationError, InvalidInputError
from vault_domain.entities.secret import Secret
from vault_domain.entities.token import Token
from vault_domain.ports.prover import Prover
from vault_domain.ports.tasks import Tasks
from vault_domain.ports.token_refresher import ExtraJudge, HostNamer, TokenRefresher

_log = logging.getLogger(__name__)

_OF_DPOP = ApiHeader(scheme="DPoP")  # RFC 9449 section 7.1, whatever else the provider's APIs take

LONGEST_SECONDS = 10.0
"""Longest time for a refresher to name hosts.

The refresher may call code of the service that uses the vault, and this code may hang.
"""


class ApiHosts:
    """The API hosts that the refreshers name.

    If a refresher names none, the service that uses the vault decides to which hosts it sends the access tokens.

    Args:
        refreshers: the refreshers, by provider.
        packaged: returns the refresher of a provider that ``refreshers`` lacks, or None.
        tasks: cancels a refresher that takes longer than ``seconds``.
        seconds: longest time for a refresher.
        prover: returns what makes the proofs for tokens that are bound to a key.
    """

    def __init__(
        self,
        refreshers: Mapping[str, TokenRefresher],
        packaged: Callable[[str], TokenRefresher | None],
        tasks: Tasks,
        prover: Callable[[], Prover],
        seconds: float = LONGEST_SECONDS,
    ) -> None:
        self._refreshers, self._packaged = refreshers, packaged
        self._tasks, self._seconds, self._prover = tasks, seconds, prover
        self._known: dict[str, tuple[ApiHeader, HostNamer | None]] = {}

    def header_of(self, token: Token) -> ApiHeader:
        """Return the header in which API requests carry this token."""
        if _bound_to(token) is not None:
            return _OF_DPOP
        header, _ = self._about(token.info.key.provider)
        return header

    def proof_for(self, token: Token, method: str, url: str, nonce: str | None, ahead: timedelta) -> str | None:
        """Return the proof for a request with this token; None if the token is not bound to a key of the vault."""
        key = _bound_to(token)
        if key is None:
            return None
        return self._prover().prove(key, method, url, access_token=token.value, nonce=nonce, ahead=ahead)

    async def of(self, token: Token) -> tuple[str, ...]:
        """Return the hosts to which this token may be sent; an empty tuple if they are not known.

        Raises:
            ConfigurationError: the refresher knows hosts, but not those of this account.
        """
        account = token.info.key.account
        _, namer = self._about(account.provider)
        if namer is None:
            return ()
        try:
            return tuple(await self._tasks.within_briefly(self._seconds, lambda: namer.hosts_of(account, token.extra)))
        except ConfigurationError:
            raise
        except Exception as error:  # log the type only, because the error's text may hold a secret
            _log.error("a refresher for %s could not name its hosts (%s)", account.provider, type(error).__qualname__)
            return ()

    async def refusal_of(self, account: Account, extra: Mapping[str, str]) -> str | None:
        """Return why the account's refresher refuses extra members, without their texts; None if it does not."""
        judge = (self._refreshers.get(account.provider) or self._packaged(account.provider)) if extra else None
        if not isinstance(judge, ExtraJudge):
            return None
        try:
            return await self._tasks.within_briefly(self._seconds, lambda: judge.refusal_of(account, extra))
        except Exception as error:  # the members are checked again where they are used
            _log.error("a refresher for %s could not judge members (%s)", account.provider, type(error).__qualname__)
            return None

    async def check(self, account: Account, extra: Mapping[str, str]) -> None:
        """Raise an error if the account's refresher refuses extra members.

        Raises:
            InvalidInputError: it does (code ``variable_refused``).
        """
        if (problem := await self.refusal_of(account, extra)) is not None:
            raise InvalidInputError(problem, code=VARIABLE_REFUSED)

    def _about(self, provider: str) -> tuple[ApiHeader, HostNamer | None]:
        if provider not in self._known:
            refresher = self._refreshers.get(provider) or self._packaged(provider)
            header = getattr(refresher, "api_header", None)
            namer = refresher if isinstance(refresher, HostNamer) else None
            self._known[provider] = header if isinstance(header, ApiHeader) else ApiHeader(), namer
        return self._known[provider]


def _bound_to(token: Token) -> Secret | None:
    """Return the key that an access token is bound to; a refresh token may have a key beside a bearer token."""
    return token.proof_key if token.token_type.lower() == "dpop" else None
