"""`openid`: a refresher for any OpenID provider, from the facts that it publishes (OpenID Connect Discovery 1.0)."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias, cast

from vault_adapters.providers.answers import json_object
from vault_adapters.providers.client_auth import BY_CERTIFICATE
from vault_adapters.providers.endpoint import as_endpoint
from vault_adapters.providers.http import Incoming, Outgoing, exchange
from vault_adapters.providers.profiled import ProfileRefresher, refresher
from vault_adapters.providers.profiles.profile import CLIENT_AUTH, Profile
from vault_domain.entities.errors import ConfigurationError, InvalidInputError
from vault_domain.entities.scrub import scrubbed
from vault_domain.entities.secret import Secret

Document: TypeAlias = Mapping[str, Any]

_PATH = "/.well-known/openid-configuration"
_DEADLINE = timedelta(seconds=10)
_FRESH_SECONDS = 3600.0
_MOST_BYTES = 256 * 1024
_MOST_ISSUERS = 64
_LABELS = ("email", "preferred_username", "name")

_known: dict[str, tuple[float, Document]] = {}
_lock = threading.Lock()
_monotonic = time.monotonic


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
) -> ProfileRefresher:
    """Return a refresher for an OpenID provider, made of the facts that the provider publishes.

    The provider's document is requested now, which takes up to ten seconds and blocks the calling thread, and is kept
    for an hour. Rotation counts as ``strict``, which is safe whatever the provider does.

    Args:
        issuer: the issuer identifier, such as ``https://id.example.com``; https, or http on loopback.
        client_id: the client id registered with the provider.
        client_secret: text or `Secret`; None for a public client, or with a ``signing_key``.
        api_hosts: the hosts to which access tokens may be sent; the provider does not publish them.
        document: the provider's document, if the host service has requested it itself, for example through a proxy;
            None: it is requested here.
        pushed: whether authorization requests are pushed (RFC 9126) if the provider offers it; they always are if it
            demands it.
        options: further arguments of `refresher`, such as ``scopes``, ``client`` and ``dpop``.

    Raises:
        ConfigurationError: the provider cannot be discovered: there is no such document, it is of another issuer, or it
            lacks an endpoint (code ``discovery_failed``). Or see `refresher`.
        InvalidInputError: an argument is not valid; the message does not repeat it.
    """
    name = as_endpoint(issuer, "issuer")
    if "?" in name:
        raise InvalidInputError("issuer must hold no query")
    remembered = _remembered(name) if document is None else document
    found = read = _discovered(name) if remembered is None else remembered
    if options.get("auth_method") in BY_CERTIFICATE:
        found = _with_aliases(found)
    profile = _profile(name, found, api_hosts, pushed=pushed)
    if options.get("dpop") is True and "ES256" not in _texts(found, "dpop_signing_alg_values_supported"):
        raise _failed("it binds no tokens to keys (DPoP) with ES256, so leave out dpop")
    if remembered is None:
        _remember(name, read)
    return cast("ProfileRefresher", refresher(profile, client_id, client_secret, **options))


def _remembered(issuer: str) -> Document | None:
    with _lock:
        read_at, document = _known.get(issuer, (-_FRESH_SECONDS, None))
    return document if _monotonic() - read_at < _FRESH_SECONDS else None


def _remember(issuer: str, document: Document) -> None:
    with _lock:
        _known.pop(issuer, None)
        _known[issuer] = _monotonic(), document
        while len(_known) > _MOST_ISSUERS:
            _known.pop(next(iter(_known)))


def _discovered(issuer: str) -> Document:
    # The calling thread may run an event loop, which cannot run another one.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, _requested(issuer)).result()


async def _requested(issuer: str) -> Document:
    outgoing = Outgoing(issuer.rstrip("/") + _PATH, b"", {}, method="GET")
    answer = await exchange(None, outgoing, _DEADLINE)
    if not isinstance(answer, Incoming):
        raise _failed(f"it gave no answer ({answer.reason or answer.code})")
    if answer.status != 200:
        raise _failed(f"its document is answered with the status {answer.status}")
    document = json_object(answer.body) if len(answer.body or b"") <= _MOST_BYTES else None
    if document is None:
        raise _failed("its document is no JSON object, or too large")
    return document


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


def _failed(problem: str) -> ConfigurationError:
    return ConfigurationError(f"the OpenID provider cannot be discovered: {problem}", code="discovery_failed")
