"""`openid`: a refresher for any OpenID provider, from the facts that it publishes (OpenID Connect Discovery 1.0)."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast
from weakref import WeakKeyDictionary

from attrs import evolve, field, fields, frozen

from vault_adapters.providers.answers import json_object
from vault_adapters.providers.client_auth import BY_CERTIFICATE
from vault_adapters.providers.endpoint import as_endpoint
from vault_adapters.providers.http import Outgoing, exchange, settle
from vault_adapters.providers.oauth2 import later
from vault_adapters.providers.profiled import ProfileRefresher, refresher
from vault_adapters.providers.profiles.profile import CLIENT_AUTH, Profile
from vault_domain.entities.causes import TIMEOUT
from vault_domain.entities.errors import (
    ConfigurationError,
    InvalidInputError,
    ProviderConfigurationError,
    RefreshFailedError,
    VaultError,
)
from vault_domain.entities.scrub import scrubbed, scrubbed_class
from vault_domain.entities.secret import MAX_SECRET_BYTES, Secret
from vault_domain.entities.token_set import TokenSet
from vault_domain.ports.documents import DocumentKeeper
from vault_domain.ports.token_refresher import RefreshRequest

if TYPE_CHECKING:
    from vault_adapters.providers.http import HttpClient

_log = logging.getLogger(__name__)
T = TypeVar("T")
Document: TypeAlias = Mapping[str, Any]

_PATH = "/.well-known/openid-configuration"
_DEADLINE = timedelta(seconds=10)
_FRESH_SECONDS = 24 * 3600.0
_RETRY_SECONDS = 60.0
"""The time for which an old document serves before the issuer is asked again, if it could not be asked."""

_SHARE = 0.8
"""The part of the time for a document that the provider has; the rest is for the database."""

_USED = (
    *("issuer", "jwks_uri", "authorization_endpoint", "token_endpoint", "userinfo_endpoint", "revocation_endpoint"),
    *("device_authorization_endpoint", "pushed_authorization_request_endpoint", "mtls_endpoint_aliases"),
    *("require_pushed_authorization_requests", "authorization_response_iss_parameter_supported", "scopes_supported"),
    *("code_challenge_methods_supported", "token_endpoint_auth_methods_supported"),
    "dpop_signing_alg_values_supported",
)
"""The members of a document that are used, and so kept."""

_MOST_BYTES = 256 * 1024
_LABELS = ("email", "preferred_username", "name")

_monotonic, _wall = time.monotonic, time.time


@scrubbed
def openid(
    issuer: str,
    client_id: str,
    client_secret: Secret | str | None = None,
    *,
    api_hosts: Collection[str] = (),
    document: Document | None = None,
    pushed: bool = True,
    **options: Any,
) -> OpenIdRefresher:
    """Return a refresher for an OpenID provider, made of the facts that the provider publishes.

    The provider is asked for its document when it is first needed, such as for a refresh, and again after a day. If it
    does not answer, or its document cannot be used, the last good document goes on serving. Rotation counts as
    ``strict``, which is safe whatever the provider does.

    Args:
        issuer: the issuer identifier, such as ``https://id.example.com``; https, or http on loopback.
        client_id: the client id registered with the provider.
        client_secret: text or `Secret`; None for a public client, or with a ``signing_key``.
        api_hosts: the hosts to which access tokens may be sent; the provider does not publish them.
        document: the provider's document, if the host service has requested it itself; the provider is then never asked
            for it. None: it is requested.
        pushed: whether authorization requests are pushed (RFC 9126) if the provider offers it; they always are if it
            demands it.
        options: further arguments of `refresher`, such as ``scopes``, ``client`` and ``dpop``.

    Raises:
        ConfigurationError: ``document`` cannot be used: it is of another issuer, or lacks an endpoint (code
            ``discovery_failed``). Or see `refresher`. A document that is requested later and cannot be used makes the
            call fail that needs it.
        InvalidInputError: an argument is not valid; the message does not repeat it.
    """
    name = as_endpoint(issuer, "issuer")
    if "?" in name:
        raise InvalidInputError("issuer must hold no query")

    def make(found: Document) -> ProfileRefresher:
        if options.get("auth_method") in BY_CERTIFICATE:
            found = _with_aliases(found)
        profile = _profile(name, found, api_hosts, pushed=pushed)
        if options.get("dpop") is True and "ES256" not in _texts(found, "dpop_signing_alg_values_supported"):
            raise _failed("it binds no tokens to keys (DPoP) with ES256, so leave out dpop")
        return cast("ProfileRefresher", refresher(profile, client_id, client_secret, **options))

    made = None if document is None else make(document)
    shown = made or make(_unknown(name))
    facts = {str(each.alias): getattr(shown, each.name) for each in fields(ProfileRefresher)}
    return OpenIdRefresher(source=Discovery(name, make, made), **facts)


@scrubbed_class
@frozen(eq=False, kw_only=True)
class OpenIdRefresher(ProfileRefresher):
    """Refreshes grants of a client as the provider's document says; made by `openid`.

    Until the provider is asked, nothing knows its endpoints: those in ``profile`` are names below ``.invalid``, which
    lead nowhere (RFC 6761). `discovered` gives the refresher with the provider's own.

    Attributes:
        source: the provider's document, which all copies of this refresher share.
    """

    source: Discovery = field(repr=False)

    async def discovered(self) -> ProfileRefresher:
        """Return the refresher with the facts of the provider's document; ask the provider if needed.

        Raises:
            ConfigurationError: there is no document that can be used (code ``discovery_failed``); it is retryable if
                the provider does not answer.
        """
        found = await self.source.find(self.client, _DEADLINE)
        if isinstance(found, ConfigurationError):  # several callers may share it
            raise _failed_again(found)
        return self._with_client_of_vault(found)

    async def revoke(self, request: RefreshRequest) -> bool | None:
        """Revoke a refresh token or an access token; see `TokenRevoker`."""
        ready = await self._ready(request)
        return False if isinstance(ready, VaultError) else await ready[0].revoke(ready[1])

    async def refresh(self, request: RefreshRequest) -> TokenSet:
        """Ask the provider for a new access token; see `TokenRefresher`."""
        ready = await self._ready(request)
        if isinstance(ready, VaultError):
            return settle(ready, request.account)
        return await ready[0].refresh(ready[1])

    def kept_by(self, keeper: DocumentKeeper) -> AbstractContextManager[None]:
        """See `DocumentUser`."""
        return self.source.kept_by(keeper)

    async def _ready(self, request: RefreshRequest) -> tuple[ProfileRefresher, RefreshRequest] | VaultError:
        clock = asyncio.get_running_loop().time
        began = clock()
        # Half of the time at most, so that the request itself can still be sent with an old document.
        found = await self.source.find(self.client, min(_DEADLINE, (request.send_deadline or request.deadline) / 2))
        if isinstance(found, ConfigurationError):
            if found.retryable:
                return RefreshFailedError(str(found), reason=found.reason)
            return ProviderConfigurationError(str(found), refused=False)
        again = later(request, timedelta(seconds=clock() - began))
        return again if isinstance(again, VaultError) else (self._with_client_of_vault(found), again)

    def _with_client_of_vault(self, found: ProfileRefresher) -> ProfileRefresher:
        client = self.client
        return found if found.client is client else evolve(found, client=client)


class Discovery:
    """What one provider publishes, asked for when it is needed.

    Args:
        issuer: the issuer identifier.
        make: makes a refresher of a document, or raises a `ConfigurationError`.
        made: the refresher of the document that the host gave; None: the provider is asked.
    """

    def __init__(
        self, issuer: str, make: Callable[[Document], ProfileRefresher], made: ProfileRefresher | None
    ) -> None:
        self._issuer = issuer
        self._make = make
        self._made = made
        self._ask_at: float | None = None if made is None else float("inf")
        self._failure: ConfigurationError | None = None
        self._asked = 0
        self._keepers: list[tuple[DocumentKeeper, asyncio.AbstractEventLoop]] = []
        self._locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

    @contextmanager
    def kept_by(self, keeper: DocumentKeeper) -> Iterator[None]:
        """Let a keeper keep the last good document until the block ends; see `DocumentUser`."""
        entry = keeper, asyncio.get_running_loop()
        self._keepers.append(entry)
        try:
            yield
        finally:
            self._keepers.remove(entry)

    async def find(self, client: HttpClient | None, deadline: timedelta) -> ProfileRefresher | ConfigurationError:
        """Return the refresher of the newest good document, or the error if there is none.

        Args:
            client: the HTTP client to ask with, or None.
            deadline: longest time to wait for the provider.
        """
        if self._made is not None and not self._is_due():
            return self._made
        asked = self._asked
        try:
            async with asyncio.timeout(deadline.total_seconds()), self._lock():
                if self._made is None:
                    await self._recall()
                if self._asked == asked and self._is_due():  # nobody else has asked while this call waited
                    await self._ask(client, deadline * _SHARE)
        except TimeoutError:
            self._failure = self._failure or _failed("it gave no answer (timeout)", reason=TIMEOUT, retryable=True)
        return self._made or self._failure or _failed("it gave no answer", retryable=True)

    def _is_due(self) -> bool:
        return self._ask_at is None or _monotonic() >= self._ask_at

    def _lock(self) -> asyncio.Lock:
        return self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock())

    async def _ask(self, client: HttpClient | None, deadline: timedelta) -> None:
        answer = await _requested(self._issuer, client, deadline)
        self._asked += 1
        made = answer if isinstance(answer, ConfigurationError) else self._tried(answer)
        if not isinstance(made, ConfigurationError):
            self._made, self._failure, self._ask_at = made, None, _monotonic() + _FRESH_SECONDS
        elif self._made is None:
            self._failure = made
        else:
            self._ask_at = _monotonic() + _RETRY_SECONDS
            _log.warning("%s; its last good document goes on serving", made)
        if not isinstance(answer, ConfigurationError) and made is self._made:
            await self._keep(answer)

    def _tried(self, document: Document) -> ProfileRefresher | ConfigurationError:
        try:
            return self._make(document)
        except ConfigurationError as error:
            return error.with_traceback(None)

    async def _recall(self) -> None:
        """Take the document that was kept in the database, if it is good. While it is fresh, nobody is asked."""
        text = await self._with_keeper(lambda keeper: keeper.load(self._issuer))
        kept = None if text is None else json_object(text.encode())
        if kept is None:
            return
        made = self._tried(kept.get("document"))  # type: ignore[arg-type]  # `make` checks it
        if isinstance(made, ConfigurationError):
            _log.warning("the provider's document in the database is of no use: %s", made)
            return
        age = _wall() - read_at if isinstance(read_at := kept.get("read_at"), int) else _FRESH_SECONDS
        self._made, self._ask_at = made, _monotonic() + (_FRESH_SECONDS - age if age >= 0 else 0)

    async def _keep(self, document: Document) -> None:
        kept = {name: document[name] for name in _USED if name in document}
        text = json.dumps({"read_at": int(_wall()), "document": kept})
        if len(text) <= MAX_SECRET_BYTES:
            await self._with_keeper(lambda keeper: keeper.keep(self._issuer, text))

    async def _with_keeper(self, call: Callable[[DocumentKeeper], Coroutine[Any, Any, T]]) -> T | None:
        """Call the keeper on the event loop of its vault; the connector of another thread has another one."""
        if not self._keepers:
            return None
        keeper, loop = self._keepers[-1]
        if loop is asyncio.get_running_loop():
            return await call(keeper)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call(keeper), loop))


async def _requested(issuer: str, client: HttpClient | None, deadline: timedelta) -> Document | ConfigurationError:
    outgoing = Outgoing(issuer.rstrip("/") + _PATH, b"", {}, method="GET")
    answer = await exchange(client, outgoing, deadline)
    if isinstance(answer, RefreshFailedError):
        return _failed(f"it gave no answer ({answer.reason or answer.code})", reason=answer.reason, retryable=True)
    if isinstance(answer, ConfigurationError):
        return answer
    if answer.status != 200:
        return _failed(f"its document is answered with the status {answer.status}", retryable=answer.status >= 500)
    document = json_object(answer.body) if len(answer.body or b"") <= _MOST_BYTES else None
    return document or _failed("its document is no JSON object, or too large")


def _unknown(issuer: str) -> Document:
    """Return a document that stands in until the provider is asked; its endpoints lead nowhere."""
    endpoints = ("authorization", "token", "device_authorization", "userinfo", "revocation")
    return {
        "issuer": issuer,
        "jwks_uri": "https://not-discovered.invalid/",
        **{f"{name}_endpoint": "https://not-discovered.invalid/" for name in endpoints},
        "token_endpoint_auth_methods_supported": list(CLIENT_AUTH),
        "dpop_signing_alg_values_supported": ["ES256"],
    }


def _check_issuer(issuer: str, document: object) -> None:
    if not isinstance(document, Mapping) or document.get("issuer") != issuer:
        raise _failed("its document is of another issuer; the issuer must be written exactly as there")


def _with_aliases(document: Document) -> Document:
    """Return a document with the endpoints at which the provider asks for a certificate (RFC 8705 section 5)."""
    aliases = document.get("mtls_endpoint_aliases") if isinstance(document, Mapping) else None
    if not isinstance(aliases, Mapping):
        return document
    # The user's browser, which has no certificate, goes to the usual authorization endpoint.
    given = {name: url for name, url in aliases.items() if str(name).endswith("_endpoint")}
    return {**document, **given, "authorization_endpoint": document.get("authorization_endpoint")}


def _pushing(issuer: str, document: Document, *, pushed: bool) -> str | None:
    is_needed = document.get("require_pushed_authorization_requests") is True
    endpoint = _endpoint(issuer, document, "pushed_authorization_request_endpoint", needed=is_needed)
    return endpoint if pushed or is_needed else None


def _profile(issuer: str, document: Document, api_hosts: Collection[str], *, pushed: bool) -> Profile:
    _check_issuer(issuer, document)
    _endpoint(issuer, document, "jwks_uri", needed=True)  # without keys, no id_token says whose account it is
    userinfo = _endpoint(issuer, document, "userinfo_endpoint")
    scopes = [
        "openid",
        *(scope for scope in ("email", "offline_access") if scope in _texts(document, "scopes_supported")),
    ]
    # OpenID Connect Core 1.0 section 11: a provider may ignore offline_access unless the user is asked for consent.
    asking = {"prompt": "consent"} if "offline_access" in scopes else {}
    challenges = _texts(document, "code_challenge_methods_supported")
    return Profile(
        name=_name_of(issuer),
        title=f"OpenID provider {_name_of(issuer)}",
        docs=[issuer.rstrip("/") + _PATH],  # type: ignore[arg-type]  # the profile's checks convert it
        checked=datetime.now(UTC).date(),
        unverified=["rotation"],  # type: ignore[arg-type]
        token_url=_endpoint(issuer, document, "token_endpoint", needed=True),
        authorization_url=_endpoint(issuer, document, "authorization_endpoint", needed=True),
        pushed_authorization_url=_pushing(issuer, document, pushed=pushed),
        device_authorization_url=_endpoint(issuer, document, "device_authorization_endpoint"),
        userinfo_url=userinfo,
        revocation_url=_endpoint(issuer, document, "revocation_endpoint"),
        issuer=issuer,
        client_auth=_methods(document),
        api_hosts=tuple(api_hosts),
        authorization={  # type: ignore[arg-type]
            "scopes": scopes,
            "parameters": asking,
            "pkce": "unsupported" if challenges and "S256" not in challenges else "supported",
            "iss": document.get("authorization_response_iss_parameter_supported") is True,
        },
        revocation={"scope": "user_and_client"},  # type: ignore[arg-type]  # careful: not published
        identifier={"source": "id_token", "member": "sub"},  # type: ignore[arg-type]
        label={  # type: ignore[arg-type]
            "source": "id_token" if userinfo is None else "userinfo",
            "member": _LABELS[0],
            "otherwise": _LABELS[1:],
        },
    )


def _endpoint(issuer: str, document: Document, member: str, *, needed: bool = False) -> str | None:
    value = document.get(member)
    if value is None and not needed:
        return None
    problem = None
    try:
        url = as_endpoint(value, member)
    except InvalidInputError as error:
        problem = str(error)
    else:
        # A provider on another machine must not make this process call a service of this machine.
        if "{" not in url and (url.startswith("https:") or issuer.startswith("http:")):
            return url
    raise _failed(problem or f"{member} must use https and hold no braces")


def _methods(document: Document) -> tuple[str, ...]:
    given = _texts(document, "token_endpoint_auth_methods_supported") or ["client_secret_basic"]
    known = tuple(method for method in CLIENT_AUTH if method in given)
    if not known:
        raise _failed("it takes none of the supported methods of client authentication")
    return known


def _texts(document: Document, member: str) -> list[str]:
    value = document.get(member)
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def _name_of(issuer: str) -> str:
    """Return a profile's name for an issuer: its host."""
    host = issuer.partition("://")[2].partition("/")[0].lower()
    return (
        "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in host).strip("._-")[:64] or "openid"
    )


def _failed(problem: str, *, reason: str | None = None, retryable: bool = False) -> ConfigurationError:
    return ConfigurationError(
        f"the OpenID provider cannot be discovered: {problem}",
        code="discovery_failed",
        reason=reason,
        retryable=retryable,
    )


def _failed_again(error: ConfigurationError) -> ConfigurationError:
    return ConfigurationError(error.args[0], code=error.code, reason=error.reason, retryable=error.retryable)
