"""`DeviceConnector`: connects accounts where no browser can come back (device authorization grant, RFC 8628)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from vault_adapters.connect.asking import Members, unavailable
from vault_adapters.connect.client import Client, as_clients, provider_unknown
from vault_adapters.connect.completing import identified, issuer_of, stored
from vault_adapters.connect.exchanging import bound, key_of, refused, tokens_in
from vault_adapters.connect.handshake import Handshake, new_seed
from vault_adapters.connect.openid import Issuers
from vault_adapters.connect.posting import post
from vault_adapters.connect.settling import about, settling
from vault_adapters.connect.vaults import keeper_of
from vault_adapters.providers.answers import answer_members, read_answer
from vault_adapters.providers.endpoint import as_endpoint
from vault_adapters.providers.http import Incoming, opened
from vault_adapters.providers.shaped_answers import read_shaped
from vault_adapters.sync.vault import SyncVault
from vault_domain.entities.account import Account, AccountInfo
from vault_domain.entities.causes import OUTAGES, UNREADABLE_ANSWER
from vault_domain.entities.errors import AuthorizationRefusedError, ConnectError, InvalidInputError, VaultError
from vault_domain.entities.scrub import scrubbed
from vault_domain.entities.secret import Secret
from vault_domain.entities.text import Scopes, as_provider, as_scopes, as_tenant_id, plain_text
from vault_domain.entities.token_set import TokenSet
from vault_domain.facade.vault import TokenVault

if TYPE_CHECKING:
    from vault_adapters.providers.http import HttpClient

_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_USUAL_INTERVAL = 5.0
_SLOWER = 5.0
_LONGEST_INTERVAL = 60.0
_LONGEST_LIFE = 3600.0
_LONGEST = 2048
_LONGEST_CODE = 64


@frozen
class DeviceStart:
    """What to show to a user, who opens an address on any device and enters a code there.

    Attributes:
        user_code: the code to enter.
        verification_uri: the address.
        verification_uri_complete: an address that holds the code already, for a link or a QR code, or None.
        owner: the tenant and the provider.
        device_code: the secret code by which the connector asks whether the user has agreed.
        scopes: the requested scopes.
        interval: the seconds between two such requests.
        ends_at: when the codes expire, by the monotonic clock.
    """

    user_code: str = field(repr=False)
    verification_uri: str
    verification_uri_complete: str | None = field(repr=False)
    owner: Account
    device_code: Secret
    scopes: tuple[str, ...]
    interval: float
    ends_at: float


class DeviceConnector:
    """Connects accounts of a vault's tenants from a command line, or from a host that has no address for a browser.

    Args:
        vault: a `TokenVault` or `SyncVault`; pass ``vault.with_actor(...)`` to name an actor in the audit log.
        providers: maps each provider's name in the vault to a refresher from `vault_adapters.providers.refresher`,
            whose profile has `device_authorization_url`.
        sleep: waits for a number of seconds between two requests.

    Raises:
        ConfigurationError: there is no provider, or a provider's refresher lacks facts that connecting needs; the
            message names them.
        InvalidInputError: an argument is not valid; the message does not repeat it.
    """

    @scrubbed
    def __init__(
        self,
        vault: TokenVault | SyncVault,
        providers: Mapping[str, object],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._keeper = keeper_of(vault)
        self._clients = as_clients(providers, "device_authorization_url")
        self._issuers = Issuers()
        self._sleep = sleep

    @settling
    async def begin(self, tenant_id: str, provider: str, *, scopes: Scopes | None = None) -> DeviceStart:
        """Ask the provider for a code, and return what to show to the user; see `finish`.

        Args:
            tenant_id: the tenant that the account will belong to.
            provider: one of this connector's providers.
            scopes: the scopes to ask for; if None, the refresher's scopes. The profile's own scopes are added.

        Raises:
            InvalidInputError: an argument is not valid; the message does not repeat it.
            AuthorizationRefusedError, ProviderConfigurationError: the provider refuses the request.
            ConnectError: the provider gave no usable answer (``provider_unavailable``).
        """
        owner = Account(as_tenant_id(tenant_id), as_provider(provider))
        client = self._client(owner.provider)
        with about(owner):
            client = await client.discovered()
        facts = client.profile.authorization
        wanted = as_scopes(scopes) if scopes is not None else client.made_of.scopes
        asked = tuple(dict.fromkeys([*wanted, *facts.scopes]))
        members = {facts.scopes_parameter: facts.scope_separator.join(asked)} if asked else {}
        members["client_id"] = client.made_of.client_id
        with about(owner):
            async with opened(client.made_of.client) as http:
                answer = await post(client, "device_authorization_url", members, {}, http, shaped=False)
            return _start(answer, owner, asked)

    @settling
    async def finish(self, start: DeviceStart) -> AccountInfo:
        """Wait until the user has agreed, and store the tokens; return the account.

        The provider is asked at the interval that it wants, until the code expires, at most for an hour.

        Raises:
            InvalidInputError: ``start`` is not from `begin`.
            AuthorizationRefusedError: the user refused (reason ``access_denied``), or did not answer in time
                (``expired_token``).
            IdentityRefusedError: the answer does not prove whose account it is; see its ``reason``.
            ConnectError: the provider gave no usable answer (``provider_unavailable``).
            ProviderConfigurationError: the provider rejects this client.
            KeyUnavailableError, StorageError: the tokens cannot be stored now.
        """
        if not isinstance(start, DeviceStart):
            raise InvalidInputError("start must be the DeviceStart that begin returned")
        with about(start.owner):
            client = await self._client(start.owner.provider).discovered()
        handshake = Handshake(client.name, new_seed(), None, start.scopes)
        with about(start.owner):
            async with opened(client.made_of.client) as http:
                issuer = await issuer_of(self._issuers, client, handshake, http)
                given = await self._granted(client, start, key_of(client, handshake), http)
                connected = await identified(
                    client,
                    self._clients.values(),
                    handshake,
                    given,
                    {},
                    http,
                    issuers=self._issuers,
                    issuer=issuer,
                    nonce=None,
                )
        infos = await stored(self._keeper, start.owner.tenant_id, connected, None, None)
        return infos[0]

    async def _granted(
        self, client: Client, start: DeviceStart, key: Secret | None, http: HttpClient
    ) -> tuple[TokenSet, Members]:
        """Ask until the provider gives tokens or refuses."""
        members = {"grant_type": _GRANT, "device_code": start.device_code.reveal()}
        interval = start.interval
        while time.monotonic() + interval < start.ends_at:
            await self._sleep(interval)
            try:
                answer = await post(client, "token_url", members, {}, http, shaped=True, proof_key=key)
            except ConnectError as error:
                result: TokenSet | VaultError = error
            else:
                found = answer_members(answer.body) if 200 <= answer.status < 300 else None
                tokens = None if found is None else tokens_in(client.profile, found)
                if found is not None and tokens is not None:
                    return bound(tokens, key), found
                result = read_shaped(answer, client.profile)
            interval = _next_interval(interval, result)
        raise AuthorizationRefusedError(reason="expired_token")

    def _client(self, provider: str) -> Client:
        client = self._clients.get(provider)
        if client is None:
            raise provider_unknown(sorted(self._clients))
        return client


def _next_interval(interval: float, result: TokenSet | VaultError) -> float:
    """Return the seconds until the next request after one without tokens (RFC 8628 section 3.5).

    Raises:
        AuthorizationRefusedError, ProviderConfigurationError, ConnectError: a further request would be in vain.
    """
    reason = None if isinstance(result, TokenSet) else getattr(result, "reason", None)
    if reason == "authorization_pending":
        return interval
    if reason == "slow_down":
        return interval + _SLOWER
    if reason in OUTAGES:
        return min(interval * 2, max(interval, _LONGEST_INTERVAL))
    if reason in ("access_denied", "expired_token"):
        raise AuthorizationRefusedError(reason=reason)
    if isinstance(result, ConnectError):
        raise result
    raise unavailable(UNREADABLE_ANSWER) if isinstance(result, TokenSet) else refused(result)


def _start(answer: Incoming, owner: Account, scopes: tuple[str, ...]) -> DeviceStart:
    """Read the answer to a device authorization request (RFC 8628 section 3.2).

    Raises:
        AuthorizationRefusedError, ProviderConfigurationError, ConnectError: see `DeviceConnector.begin`.
    """
    members = answer_members(answer.body) if 200 <= answer.status < 300 else None
    if members is None:
        result = read_answer(answer)
        raise unavailable(UNREADABLE_ANSWER) if isinstance(result, TokenSet) else refused(result)
    code, user_code = plain_text(members.get("device_code")), plain_text(members.get("user_code"))
    # Google wrote ``verification_url`` before the RFC, and still does.
    address = _address(members.get("verification_uri", members.get("verification_url")))
    life, interval = _seconds(members.get("expires_in")), _seconds(members.get("interval", _USUAL_INTERVAL))
    is_usable = code is not None and code.isprintable() and 1 <= len(code) <= _LONGEST
    is_shown = user_code is not None and user_code.isprintable() and 1 <= len(user_code) <= _LONGEST_CODE
    if not is_usable or not is_shown or address is None or life is None or interval is None:
        raise unavailable(UNREADABLE_ANSWER)
    return DeviceStart(
        user_code=str(user_code),
        verification_uri=address,
        verification_uri_complete=_address(members.get("verification_uri_complete")),
        owner=owner,
        device_code=Secret(str(code)),
        scopes=scopes,
        interval=min(max(interval, 1.0), _LONGEST_INTERVAL),
        ends_at=time.monotonic() + min(life, _LONGEST_LIFE),
    )


def _address(value: Any) -> str | None:
    try:
        return as_endpoint(value, "verification_uri")
    except InvalidInputError:
        return None


def _seconds(value: Any) -> float | None:
    """Return a number of seconds, which may be a text of digits; None for anything else."""
    text = str(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else ""
    try:
        number = float(text) if len(text) <= 32 else -1.0
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None
