"""Hands out API keys that do not expire, to callers who ask for an account's access token."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.token import Token
from vault_domain.ports.tasks import Tasks
from vault_domain.ports.token_refresher import TokenRefresher
from vault_domain.services.refresh.exchange import overdue
from vault_domain.services.refresh.provider_rules import is_static
from vault_domain.services.refresh.refusing import ended
from vault_domain.services.tokens.token_service import TokenService


class ApiKeys:
    """The API keys of the providers whose keys do not expire.

    Args:
        tokens: reads and hands out tokens.
        tasks: limits the time of a read.
        refreshers: the host's refreshers, by provider; some may be of such providers.
        packaged: returns the static keys of a provider that ``refreshers`` lacks, or None.
    """

    def __init__(
        self,
        tokens: TokenService,
        tasks: Tasks,
        refreshers: Mapping[str, TokenRefresher],
        packaged: Callable[[str], TokenRefresher | None],
    ) -> None:
        self._tokens = tokens
        self._tasks = tasks
        self._is_static = {name: is_static(each) for name, each in refreshers.items()}
        self._packaged = packaged

    def serves(self, account: Account) -> bool:
        """Return whether the API keys of the account's provider do not expire."""
        known = self._is_static.get(account.provider)
        return self._packaged(account.provider) is not None if known is None else known

    async def find(self, account: Account, timeout: float | None, *, fresh: bool) -> Token | None:
        """Return the account's API key; None if it has none, so that it may have an access token.

        Args:
            account: the account.
            timeout: longest time in seconds; None: no limit.
            fresh: see `RowReader.read`.

        Raises:
            ReauthorizationRequiredError: the API key is invalid or has expired.
            RefreshFailedError: the time is over.
        """
        key = ("api_key", self._tasks.new_id())
        try:
            return await self._tasks.share(key, lambda: self._read(account, fresh=fresh), timeout)
        except TimeoutError:
            pass  # raise the new error below, so that it has no ``__context__``
        raise overdue(account)

    async def _read(self, account: Account, *, fresh: bool) -> Token | None:
        token, info = await self._tokens.find_usable(account.key(TokenKind.API_KEY), fresh=fresh)
        if token is None and info is not None:
            raise ended(account, TokenKind.API_KEY, info.error_code or "token_expired")
        return token
