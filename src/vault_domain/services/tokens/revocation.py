"""Asks a provider to revoke an account's refresh or access token before the vault deletes the account."""

import logging
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta

from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.causes import NOT_HOME
from vault_domain.entities.errors import VaultError
from vault_domain.entities.extra import NO_EXTRA, Extra
from vault_domain.entities.rotation_policy import RevocationScope
from vault_domain.ports.accounts import Accounts, Snapshot
from vault_domain.ports.pages import AccountQuery, Pages
from vault_domain.ports.tasks import Tasks
from vault_domain.ports.token_refresher import RefreshRequest, TokenRefresher, TokenRevoker
from vault_domain.services.tokens.homes import HomeService
from vault_domain.services.tokens.opening import TokenOpener, checked_snapshot

_log = logging.getLogger(__name__)

SHARED_GRANT = "shared_grant"
"""Reason why nothing was revoked: the provider would have ended another account's grant too."""


class RevocationService:
    """Revokes tokens and reports the result; it does not raise errors of the provider."""

    def __init__(
        self,
        accounts: Accounts,
        opener: TokenOpener,
        tasks: Tasks,
        refreshers: Mapping[str, TokenRefresher],
        deadline: timedelta,
        pages: Pages,
        home: HomeService | None = None,
    ) -> None:
        self._accounts = accounts
        self._opener = opener
        self._tasks = tasks
        self._refreshers = refreshers
        self._deadline = deadline
        self._pages = pages
        self._home = home

    async def hindrance(self, account: Account) -> str | None:
        """Return why no token of the account may be revoked, or None.

        The reason is ``not_home`` if the database is a copy, whose tokens are those of the original, or `SHARED_GRANT`.
        """
        if self._home is not None and not await self._home.is_home():
            return NOT_HOME
        return SHARED_GRANT if await self._shares_grant(account) else None

    async def _shares_grant(self, account: Account) -> bool:
        """Return whether a revocation would also end the grant of an account of another tenant."""
        scope = getattr(self._refreshers.get(account.provider), "revocation_scope", RevocationScope.GRANT)
        if scope != RevocationScope.USER_AND_CLIENT:
            return False
        siblings = AccountQuery(sibling_of=account, with_damaged=True)
        found, _ = await self._pages.accounts(siblings, limit=1, after=None)
        return bool(found)

    async def revoke(self, account: Account) -> bool | None:
        """Ask the provider to revoke one token of the account; return whether the provider confirmed.

        The token is the refresh token, or the access token if no refresh token is readable.

        None means that there is no readable token, no refresher that can revoke, or no revocation endpoint.
        """
        revoker = self._refreshers.get(account.provider)
        if not isinstance(revoker, TokenRevoker):
            return None
        request = await self._request(account)
        if request is None:
            return None
        try:
            return await self._tasks.within(self._deadline.total_seconds(), lambda: revoker.revoke(request))
        except Exception as error:
            _log.warning("revoking at %s failed (%s)", account.provider, type(error).__qualname__)
        return False

    async def _request(self, account: Account) -> RefreshRequest | None:
        """Return a request with the refresh token, because revoking it ends the grant (RFC 7009, 2.1).

        If there is no readable refresh token, the request has the access token. None: neither is readable.
        """
        snapshot = checked_snapshot(account, await self._accounts.read(account))
        for kind in (TokenKind.REFRESH_TOKEN, TokenKind.ACCESS_TOKEN):
            row = snapshot.token(kind)
            if row is None:
                continue
            try:
                token = await self._opener.open(account.key(kind), row, snapshot.now)
            except VaultError:
                continue
            extra = await self._extra(account, snapshot)
            return RefreshRequest(account, token.value, kind, row.info.scopes, self._deadline, extra=extra)
        return None

    async def _extra(self, account: Account, snapshot: Snapshot) -> Extra:
        """Return the extra members, which may name the provider's host for this account."""
        row = snapshot.token(TokenKind.ACCESS_TOKEN)
        if row is None:
            return NO_EXTRA
        with suppress(VaultError):
            return await self._opener.kept_extra(account.key(TokenKind.ACCESS_TOKEN), row, snapshot.now)
        return NO_EXTRA
