"""Slack Bolt's installation stores over the accounts of a vault."""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from vault_adapters.clients.extras import missing
from vault_domain import (
    Account,
    InvalidInputError,
    ReauthorizationRequiredError,
    TokenKind,
    TokenNotFoundError,
    TokenSet,
    VaultError,
)
from vault_domain.entities.scrub import scrubbed_methods

try:
    from slack_sdk.http_retry.async_handler import AsyncRetryHandler
    from slack_sdk.http_retry.handler import RetryHandler
    from slack_sdk.oauth.installation_store import Bot, Installation, InstallationStore
    from slack_sdk.oauth.installation_store.async_installation_store import AsyncInstallationStore
except ModuleNotFoundError as error:
    raise missing(error, "slack") from None

if TYPE_CHECKING:
    from vault_adapters.sync.vault import SyncVault
    from vault_domain import Token, TokenVault

T = TypeVar("T")
TenantOf = Callable[[str | None, str | None], Any]

_log = logging.getLogger(__name__)
_MOST_KNOWN = 10_000
"""Largest number of tokens whose accounts a store remembers, as digests."""

_BOT, _USER = "slack", "slack-user"  # the names of the profiles
_RECORD = "installation"
_SECRET = frozenset(
    f"{who}_{what}" for who in ("bot", "user") for what in ("token", "refresh_token", "token_expires_at")
)


@scrubbed_methods(are_async=True)
class AsyncVaultInstallationStore(AsyncInstallationStore):
    """Slack Bolt's ``AsyncInstallationStore``, whose tokens the vault keeps and refreshes.

    A bot is the account ``Account(tenant_id, "slack", team)``, and a user ``Account(tenant_id, "slack-user",
    "team:user")``; for an app that is installed for a whole organization, ``team`` is the organization's id. A
    `Connector` with the profiles ``slack`` and ``slack-user`` names them in the same way. What else Slack says about an
    installation is sealed with the access token.

    What this store finds has an access token that the vault has refreshed if it was due, and no refresh token, so that
    Bolt's own rotation, which has no lock, does nothing. An installation whose tokens cannot be refreshed any more
    counts as missing.

    The methods raise the errors of the vault's `ensure_access_token` except `TokenNotFoundError` and
    `ReauthorizationRequiredError`, and `InvalidInputError` if ``tenant_of`` names no tenant or Slack's ids are missing;
    nothing is then read, stored or sent.

    Args:
        vault: a `TokenVault` with refreshers for ``slack``, and for ``slack-user`` if users' tokens expire.
        tenant_of: function, plain or async, that returns the tenant's id for the ids of an organization and a
            workspace, one of which may be None. It returns None if the workspace belongs to no tenant. None: the
            workspace's id, or else the organization's, is the tenant's id.

    Raises:
        InvalidInputError: an argument is not valid.
    """

    def __init__(self, vault: TokenVault, *, tenant_of: TenantOf | None = None) -> None:
        self._rooms = _Installations(vault, tenant_of)

    @property
    def logger(self) -> logging.Logger:
        """The store's logger."""
        return logging.getLogger(__name__)

    @property
    def rejection_handler(self) -> AsyncRejectionHandler:
        """A retry handler for the app's client: it reports the tokens of this store that Slack rejects."""
        return AsyncRejectionHandler(self._rooms.calls)

    async def async_save(self, installation: Installation) -> None:
        """Store the tokens of an installation, of its bot and of its user."""
        await self._rooms.save(installation)

    async def async_save_bot(self, bot: Bot) -> None:
        """Store the token of a bot."""
        await self._rooms.save_bot(bot)

    async def async_find_bot(
        self, *, enterprise_id: str | None, team_id: str | None, is_enterprise_install: bool | None = False
    ) -> Bot | None:
        """Return a bot with an access token that may be used now, or None."""
        return await self._rooms.find_bot(enterprise_id, team_id, is_enterprise_install)

    async def async_find_installation(
        self,
        *,
        enterprise_id: str | None,
        team_id: str | None,
        user_id: str | None = None,
        is_enterprise_install: bool | None = False,
    ) -> Installation | None:
        """Return an installation with access tokens that may be used now, or None.

        Args:
            enterprise_id: the organization's id.
            team_id: the workspace's id.
            user_id: the user whose installation is wanted; None: the latest one.
            is_enterprise_install: whether the app is installed for the whole organization.
        """
        return await self._rooms.find_installation(enterprise_id, team_id, user_id, is_enterprise_install)

    async def async_delete_bot(self, *, enterprise_id: str | None, team_id: str | None) -> None:
        """Delete the account of a bot."""
        await self._rooms.delete_bot(enterprise_id, team_id)

    async def async_delete_installation(
        self, *, enterprise_id: str | None, team_id: str | None, user_id: str | None = None
    ) -> None:
        """Delete the account of a user, or of all users of a workspace."""
        await self._rooms.delete_users(enterprise_id, team_id, user_id)


@scrubbed_methods(are_async=False)
class VaultInstallationStore(InstallationStore):
    """Slack Bolt's ``InstallationStore``; see `AsyncVaultInstallationStore`.

    Args:
        vault: a `SyncVault`.
        tenant_of: a plain function; see `AsyncVaultInstallationStore`.
    """

    def __init__(self, vault: SyncVault, *, tenant_of: TenantOf | None = None) -> None:
        self._rooms = _Installations(vault, tenant_of, sync=True)

    @property
    def logger(self) -> logging.Logger:
        """The store's logger."""
        return logging.getLogger(__name__)

    @property
    def rejection_handler(self) -> RejectionHandler:
        """A retry handler for the app's client: it reports the tokens of this store that Slack rejects."""
        return RejectionHandler(self._rooms.calls)

    def save(self, installation: Installation) -> None:
        """Store the tokens of an installation, of its bot and of its user."""
        _now(self._rooms.save(installation))

    def save_bot(self, bot: Bot) -> None:
        """Store the token of a bot."""
        _now(self._rooms.save_bot(bot))

    def find_bot(
        self, *, enterprise_id: str | None, team_id: str | None, is_enterprise_install: bool | None = False
    ) -> Bot | None:
        """Return a bot with an access token that may be used now, or None."""
        return _now(self._rooms.find_bot(enterprise_id, team_id, is_enterprise_install))

    def find_installation(
        self,
        *,
        enterprise_id: str | None,
        team_id: str | None,
        user_id: str | None = None,
        is_enterprise_install: bool | None = False,
    ) -> Installation | None:
        """Return an installation; see `AsyncVaultInstallationStore.async_find_installation`."""
        return _now(self._rooms.find_installation(enterprise_id, team_id, user_id, is_enterprise_install))

    def delete_bot(self, *, enterprise_id: str | None, team_id: str | None) -> None:
        """Delete the account of a bot."""
        _now(self._rooms.delete_bot(enterprise_id, team_id))

    def delete_installation(
        self, *, enterprise_id: str | None, team_id: str | None, user_id: str | None = None
    ) -> None:
        """Delete the account of a user, or of all users of a workspace."""
        _now(self._rooms.delete_users(enterprise_id, team_id, user_id))


class _Place:
    """A workspace or an organization in which the app is installed, and the tenant to whom it belongs."""

    def __init__(self, tenant_id: str, enterprise_id: str | None, where: str) -> None:
        self.tenant_id = tenant_id
        self.enterprise_id = enterprise_id
        self.where = where

    @property
    def bot(self) -> Account:
        return Account(self.tenant_id, _BOT, self.where)

    def user(self, user_id: str) -> Account:
        return Account(self.tenant_id, _USER, f"{self.where}:{user_id}")


class _Installations:
    """What both stores do."""

    def __init__(self, vault: Any, tenant_of: TenantOf | None, *, sync: bool = False) -> None:
        call = getattr(vault, "ensure_access_token", None)
        if not callable(call) or inspect.iscoroutinefunction(call) is sync:
            raise InvalidInputError(f"vault must be a {'SyncVault' if sync else 'TokenVault'}")
        if tenant_of is not None and not callable(tenant_of):
            raise InvalidInputError("tenant_of must be a function or None")
        self._vault = _Immediate(vault) if sync else vault
        self._tenant_of = tenant_of
        self._known: OrderedDict[bytes, Account] = OrderedDict()

    def account_of(self, value: str) -> Account | None:
        """Return the account of a token that this store has handed out lately, or None."""
        return self._known.get(_digest(value))

    @property
    def calls(self) -> _Calls:
        return _Calls(self._vault, self.account_of)

    async def save(self, installation: Installation) -> None:
        place = await self._place_of(installation)
        members, whole = vars(installation), []
        if installation.bot_token is not None:
            whole.append((place.bot, _tokens("bot", members)))
        if installation.user_token is not None:
            whole.append((place.user(installation.user_id), _tokens("user", members)))
        for account, tokens in whole:  # only once all of them are known to be good
            await self._store(account, tokens, members)

    async def save_bot(self, bot: Bot) -> None:
        place = await self._place_of(bot)
        known = _record(await self._vault.get_access_token(place.bot))
        members = {**known, **vars(bot)}
        await self._store(place.bot, _tokens("bot", members), members)

    async def find_bot(self, enterprise_id: str | None, team_id: str | None, whole: bool | None) -> Bot | None:
        place = await self._place(enterprise_id, team_id, whole)
        token = await self._take(place, place.bot)
        return None if token is None else _installation(place, token, bot=token).to_bot()

    async def find_installation(
        self, enterprise_id: str | None, team_id: str | None, user_id: str | None, whole: bool | None
    ) -> Installation | None:
        place = await self._place(enterprise_id, team_id, whole)
        bot = await self._take(place, place.bot)
        installer = None if bot is None else _record(bot).get("user_id")
        asked = user_id or installer or await self._latest_user(place)
        user = None if not asked else await self._take(place, place.user(asked))
        if user is not None:
            return _installation(place, user, bot=bot, user=user, user_id=asked or "")
        return None if bot is None or not installer or asked != installer else _installation(place, bot, bot=bot)

    async def delete_bot(self, enterprise_id: str | None, team_id: str | None) -> None:
        place = await self._place(enterprise_id, team_id, False)
        await self._delete(place, place.bot)

    async def delete_users(self, enterprise_id: str | None, team_id: str | None, user_id: str | None) -> None:
        place = await self._place(enterprise_id, team_id, False)
        users = [place.user(user_id)] if user_id else [account async for account in self._users(place)]
        for account in users:
            await self._delete(place, account)

    async def _delete(self, place: _Place, account: Account) -> None:
        """Delete an account, unless its installation is of another organization."""
        token = await self._vault.get_token(account.key(TokenKind.ACCESS_TOKEN))
        if _is_of(place, token):
            await self._vault.delete_account(account)

    async def _place_of(self, installed: Installation | Bot) -> _Place:
        return await self._place(installed.enterprise_id, installed.team_id, installed.is_enterprise_install)

    async def _place(self, enterprise_id: str | None, team_id: str | None, whole: bool | None) -> _Place:
        where = enterprise_id if whole or team_id is None else team_id
        if not isinstance(where, str) or not where or ":" in where:
            raise InvalidInputError("the id of the workspace or of the organization is missing")
        tenant = where if self._tenant_of is None else self._tenant_of(enterprise_id, team_id)
        tenant_id = await tenant if inspect.isawaitable(tenant) else tenant
        if tenant_id is None:
            raise InvalidInputError("tenant_of names no tenant for this workspace")
        return _Place(tenant_id, enterprise_id, where)

    async def _store(self, account: Account, tokens: TokenSet, members: dict[str, Any]) -> None:
        await self._vault.store_token_set(account, tokens, label=members.get("team_name") or None)

    async def _take(self, place: _Place, account: Account) -> Token | None:
        """Return a token that may be used now; None if there is none, or it is of another organization."""
        try:
            token: Token = await self._vault.ensure_access_token(account)
        except (TokenNotFoundError, ReauthorizationRequiredError):
            return None
        if not _is_of(place, token):
            return None
        self._known[_digest(token.value.reveal())] = account
        if len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)
        return token

    async def _users(self, place: _Place) -> AsyncIterator[Account]:
        after = None
        while True:
            page = await self._vault.list_accounts(place.tenant_id, provider=_USER, after=after)
            for info in page.items:
                if (info.account.identifier or "").startswith(f"{place.where}:"):
                    yield info.account
            after = page.next
            if after is None:
                return

    async def _latest_user(self, place: _Place) -> str | None:
        """Return the user who installed the app last, if it is installed for users only."""
        found = []
        async for account in self._users(place):
            record = _record(await self._vault.get_access_token(account))
            found.append((record.get("installed_at", 0), (account.identifier or "").partition(":")[2]))
        return max(found)[1] if found else None


def _tokens(who: str, members: dict[str, Any]) -> TokenSet:
    """Return the tokens of a bot or of a user, with what else Slack and the host said of the installation."""
    ends = members.get(f"{who}_token_expires_at")
    try:
        record = json.dumps({name: value for name, value in members.items() if name not in _SECRET})
    except (TypeError, ValueError, RecursionError):
        record = None
    if record is None:
        raise InvalidInputError("the custom values of an installation must be JSON")
    return TokenSet(
        members[f"{who}_token"],
        members.get(f"{who}_refresh_token"),
        expires_at=None if ends is None else datetime.fromtimestamp(ends, UTC),
        scopes=tuple(members.get(f"{who}_scopes") or ()),
        extra={_RECORD: record},
    )


def _record(token: Any) -> dict[str, Any]:
    """Return what was stored of an installation with a token; empty if it was connected in another way."""
    found = getattr(token, "token", token)  # get_access_token tells more than the token
    return {} if found is None else dict(json.loads(found.extra.get(_RECORD, "{}")))


def _is_of(place: _Place, token: Any) -> bool:
    """Return whether an installation is of this organization, as far as its record says."""
    return bool(_record(token).get("enterprise_id", place.enterprise_id) == place.enterprise_id)


def _installation(
    place: _Place, token: Token, *, bot: Token | None, user: Token | None = None, user_id: str = ""
) -> Installation:
    """Make an installation of what was stored with a token; a `Connector` stores less than Bolt."""
    told = {name: token.extra.get(name) for name in ("team_id", "bot_user_id")}
    known = {"user_id": user_id, "enterprise_id": place.enterprise_id, "installed_at": token.info.created_at, **told}
    installation = Installation(**{**known, **_record(token)})
    if bot is not None:
        newest = _record(bot)
        installation.bot_id = newest.get("bot_id")
        installation.bot_user_id = newest.get("bot_user_id") or bot.extra.get("bot_user_id")
        installation.bot_scopes = newest.get("bot_scopes") or list(bot.info.scopes)
        installation.bot_token = bot.value.reveal()
    if user is not None:
        installation.user_token = user.value.reveal()
    return installation


@scrubbed_methods(are_async=True)
class AsyncRejectionHandler(AsyncRetryHandler):
    """A retry handler of slack_sdk's ``AsyncWebClient`` that never retries: it tells the vault of rejected tokens.

    Slack answers a dead token with the status 200 and a code, which slack_sdk raises as ``SlackApiError``. This handler
    reads the answer before that, and calls the vault's `report_rejected`; the caller gets Slack's answer in any case.

    Args:
        calls: made by `of`, or by a store's ``rejection_handler``.
    """

    def __init__(self, calls: _Calls) -> None:
        super().__init__()
        self._calls = calls

    @classmethod
    def of(cls, vault: TokenVault, account: Account) -> AsyncRejectionHandler:
        """Return the handler for a client that sends the token of one account."""
        return cls(_Calls(vault, lambda _: account))

    async def can_retry_async(self, *, state: Any, request: Any, response: Any = None, error: Any = None) -> bool:
        """Report a rejected token; return False, so that nothing is sent again."""
        await self._calls.saw(request, response)
        return False


@scrubbed_methods(are_async=False)
class RejectionHandler(RetryHandler):
    """A retry handler of slack_sdk's ``WebClient``; see `AsyncRejectionHandler`."""

    def __init__(self, calls: _Calls) -> None:
        super().__init__()
        self._calls = calls

    @classmethod
    def of(cls, vault: SyncVault, account: Account) -> RejectionHandler:
        """Return the handler for a client that sends the token of one account."""
        return cls(_Calls(_Immediate(vault), lambda _: account))

    def can_retry(self, *, state: Any, request: Any, response: Any = None, error: Any = None) -> bool:
        """Report a rejected token; return False, so that nothing is sent again."""
        _now(self._calls.saw(request, response))
        return False


class _Calls:
    """Reads Slack's answers to the calls with an account's token.

    Args:
        vault: a vault whose methods can be awaited.
        account_of: returns the account whose token was sent, or None.
    """

    def __init__(self, vault: Any, account_of: Callable[[str], Account | None]) -> None:
        self._vault = vault
        self._account_of = account_of

    async def saw(self, request: Any, response: Any) -> None:
        """Report the token of a request if the answer rejects it; an error of the vault does not reach the caller."""
        try:
            token = await self._sent(request)
            if token is None or response is None:
                return
            header = await self._vault.api_header(token)
            if header.rejects(_body(response)):
                await self._vault.report_rejected(token)
        except ReauthorizationRequiredError:
            pass  # the caller gets Slack's answer, which says the same
        except VaultError as error:
            _log.warning("a token that Slack rejected could not be reported (%s)", error.code)

    async def _sent(self, request: Any) -> Token | None:
        """Return the stored token if it is what the request carried."""
        given = [each for name, each in request.headers.items() if name.lower() == "authorization"]
        value = "".join(given[0]).partition(" ")[2] if given else ""
        account = self._account_of(value) if value else None
        found = None if account is None else await self._vault.get_access_token(account)
        return found.token if found is not None and found.token.value.reveal() == value else None


def _body(response: Any) -> bytes:
    if isinstance(response.body, dict):
        return json.dumps({"error": response.body.get("error")}).encode()
    return response.data if isinstance(response.data, bytes) else b""


def _digest(value: str) -> bytes:
    return hashlib.sha256(value.encode()).digest()


class _Immediate:
    """A `SyncVault` whose methods can be awaited; each has ended when it returns."""

    def __init__(self, vault: Any) -> None:
        self._vault = vault

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(self._vault, name)

        async def called(*arguments: Any, **options: Any) -> Any:
            return method(*arguments, **options)

        return called


def _now(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise InvalidInputError("a sync store needs a SyncVault, and a tenant_of that is not async")
