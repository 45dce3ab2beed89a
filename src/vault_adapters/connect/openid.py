"""OpenID Connect: reads a provider's public keys, and checks its id_tokens (Core 1.0 section 3.1.3.7)."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from attrs import field, frozen
from authlib.oidc.core.util import create_half_hash  # type: ignore[import-untyped]
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from vault_adapters.connect.asking import Members, get_json, unavailable
from vault_adapters.providers.endpoint import as_endpoint
from vault_domain.entities.errors import IdentityRefusedError, InvalidInputError
from vault_domain.entities.secret import Secret

if TYPE_CHECKING:
    from vault_adapters.providers.http import HttpClient

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
"""The accepted signature algorithms, which verify with a public key. ``none`` and algorithms that use the client secret
are refused.
"""

_FRESH_SECONDS = 3600.0
_RETRY_SECONDS = 30.0
_LEEWAY_SECONDS = 60

_MOST_BYTES = 256 * 1024
"""Largest size of an issuer's document; the largest that we know have some 40 KB. Reading it takes milliseconds."""

_MOST_KEYS = 32
"""Largest number of an issuer's public keys that are kept; importing a key takes up to a tenth of a millisecond."""

_MOST_ISSUERS = 64
"""Largest number of issuers to remember. With an issuer for each user's instance there may be any number."""

_OF_KEYS = ("kty", "kid", "use", "alg", "crv", "n", "e", "x", "y")
"""The members of a public key that a check uses (RFC 7517, RFC 7518)."""

# The errors that joserfc raises for a key or a token that it cannot read; a RecursionError for deeply nested claims.
_UNREADABLE = (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError)
# Microsoft Entra ID publishes discovery documents that are valid for several of its directories. The issuer in such a
# document has this placeholder; the issuer in an id_token has the value of the claim ``tid`` there.
_DIRECTORY = "{tenantid}"
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")


@frozen
class Issuer:
    """The facts that a provider publishes about itself.

    Attributes:
        asked_as: the issuer identifier in the profile; the URL of the provider's document begins with it.
        name: the issuer identifier that its document declares.
        sends_iss: whether each of its callbacks holds ``iss`` (RFC 9207).
        keys_url: the URL of its public keys.
        keys: its public keys.
        read_at: when document and public keys were read, by the monotonic clock.
        public: whether its documents are read from public addresses only.
    """

    asked_as: str
    name: str
    sends_iss: bool
    keys_url: str
    keys: Mapping[str, Any] = field(repr=False)
    read_at: float
    public: bool = False


class Issuers:
    """The known issuers; each is read again after an hour, or if its public keys do not verify a token."""

    def __init__(self) -> None:
        self._known: dict[str, Issuer] = {}

    async def find(
        self, name: str, client: HttpClient | None, *, newer_than: float | None = None, public: bool = False
    ) -> Issuer:
        """Return an issuer; read its document and its public keys if needed.

        Args:
            name: the issuer identifier.
            client: the HTTP client.
            newer_than: the ``read_at`` of an issuer whose public keys did not verify a token, or None. This call reads
                a known issuer again if its last read is at least an hour old. If the last read is not later than
                ``newer_than``, the call reads again after 30 seconds.
            public: see `Issuer`.

        Raises:
            ConnectError: its documents cannot be read.
            IdentityRefusedError: its document names another issuer; the ``reason`` is ``issuer``.
        """
        known, now = self._known.get(name), time.monotonic()
        if known is not None:
            have_failed = newer_than is not None and known.read_at <= newer_than
            if now - known.read_at < (_RETRY_SECONDS if have_failed else _FRESH_SECONDS):
                return known
        found = await _read(name, client, now, public=public)
        self._known.pop(name, None)
        self._known[name] = found
        while len(self._known) > _MOST_ISSUERS:
            self._known.pop(next(iter(self._known)))  # the one that was read longest ago
        return found


async def _read(name: str, client: HttpClient | None, now: float, *, public: bool) -> Issuer:
    document = await get_json(
        client, name.rstrip("/") + "/.well-known/openid-configuration", most=_MOST_BYTES, public=public
    )
    declared, keys_url = document.get("issuer"), document.get("jwks_uri")
    if declared != name and not (isinstance(declared, str) and _DIRECTORY in declared and _alike(declared, name)):
        raise IdentityRefusedError(reason="issuer")
    try:
        keys_url = as_endpoint(keys_url, "jwks_uri")
    except InvalidInputError:
        raise unavailable() from None
    # A URL with http is on loopback (see `as_endpoint`). A provider on another machine must not make this process call
    # a service of this machine.
    if keys_url.startswith("http:") and not name.startswith("http:"):
        raise unavailable()
    sends_iss = document.get("authorization_response_iss_parameter_supported") is True
    keys = _kept(await get_json(client, keys_url, most=_MOST_BYTES, public=public))
    return Issuer(name, declared, sends_iss, keys_url, keys, now, public)


def _kept(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the public keys of a JWK set, at most `_MOST_KEYS`, without what a check does not use (certificates)."""
    listed = document.get("keys")
    keys = [key for key in listed if isinstance(key, dict)] if isinstance(listed, list) else []
    return {"keys": [{name: key[name] for name in _OF_KEYS if name in key} for key in keys[:_MOST_KEYS]]}


def _alike(declared: str, name: str) -> bool:
    """Return whether ``declared`` becomes ``name`` if a directory, such as ``common``, replaces ``{tenantid}``."""
    before, _, after = declared.partition(_DIRECTORY)
    return name.startswith(before) and name.endswith(after) and len(name) > len(before) + len(after)


def is_named(issuer: Issuer, given: str) -> bool:
    """Return whether a callback's ``iss`` names this issuer; any directory's id may stand for ``{tenantid}``."""
    if _DIRECTORY not in issuer.name:
        return given == issuer.name
    before, _, after = issuer.name.partition(_DIRECTORY)
    directory = given.removeprefix(before).removesuffix(after)
    return bool(_UUID.match(directory)) and given == f"{before}{directory}{after}"


async def check_id_token(
    issuers: Issuers,
    issuer: Issuer,
    id_token: object,
    *,
    client_id: str,
    nonce: str | None,
    access_token: Secret,
    client: HttpClient | None,
) -> Members:
    """Return the claims of an id_token that this provider issued for this client and this request.

    ``nonce`` is None if the provider puts no nonce into its id_tokens.

    Raises:
        ConnectError: the provider's public keys do not verify the token, and cannot be read again.
        IdentityRefusedError: its ``reason`` names the failed check: id_token (missing), signature (also if the token is
            unreadable), typ, iss, aud, azp, exp, nonce, at_hash or sub. The ``reason`` is ``issuer`` if this call read
            the provider's document again, and the document names another issuer.
    """
    if not isinstance(id_token, str):
        raise IdentityRefusedError(reason="id_token")
    token = _verified(id_token, issuer.keys)
    if token is None:
        # The provider may have new public keys.
        issuer = await issuers.find(issuer.asked_as, client, newer_than=issuer.read_at, public=issuer.public)
        token = _verified(id_token, issuer.keys)
    if token is None:
        raise IdentityRefusedError(reason="signature")
    problem = _problem(token, issuer.name, client_id, nonce, access_token)
    if problem is not None:
        raise IdentityRefusedError(reason=problem)
    return dict(token.claims)


def _verified(id_token: str, keys: Mapping[str, Any]) -> jwt.Token | None:
    try:
        registry = jws.JWSRegistry(algorithms=list(ALGORITHMS))
        return jwt.decode(id_token, KeySet(_usable(keys)), registry=registry)
    except _UNREADABLE:  # drop the error, because it may hold the token
        return None


def _usable(keys: Mapping[str, Any]) -> list[Any]:
    """Return the public keys for signatures; keys of unknown kinds are ignored (RFC 7517 section 5)."""
    found: list[Any] = []
    listed = keys.get("keys")
    for key in listed if isinstance(listed, list) else []:
        with suppress(*_UNREADABLE):
            if key.get("use", "sig") == "sig" and key.get("kty") != "oct":
                found += KeySet.import_key_set({"keys": [key]}).keys
    return found


def _problem(token: jwt.Token, issuer: str, client_id: str, nonce: str | None, access_token: Secret) -> str | None:
    """Return the name of the first check that fails, or None."""
    claims, now = token.claims, time.time()
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    azp = claims.get("azp")
    if _is_of_another_type(token.header.get("typ")):
        return "typ"
    if claims.get("iss") != _expected(issuer, claims):
        return "iss"
    if client_id not in audiences:
        return "aud"
    if azp != client_id and (azp is not None or len(audiences) > 1):
        return "azp"
    if not _number(claims.get("nbf", 0)) - _LEEWAY_SECONDS <= now < _number(claims.get("exp")) + _LEEWAY_SECONDS:
        return "exp"
    if nonce is not None and claims.get("nonce") != nonce:
        return "nonce"
    if "at_hash" in claims and not _fits(claims["at_hash"], access_token, token.header.get("alg")):
        return "at_hash"
    return None if isinstance(claims.get("sub"), str) and claims["sub"] else "sub"


def _is_of_another_type(kind: object) -> bool:
    """Return whether a header's ``typ`` says that a token is not an id_token, as ``at+jwt`` does (RFC 8725 3.11)."""
    return isinstance(kind, str) and kind.lower().endswith("+jwt")


def _expected(issuer: str, claims: Mapping[str, Any]) -> str:
    if _DIRECTORY not in issuer:
        return issuer
    directory = claims.get("tid")
    return issuer.replace(_DIRECTORY, directory) if isinstance(directory, str) and _UUID.match(directory) else ""


def _number(value: object) -> float:
    """Return a number; anything else as NaN, which no comparison accepts."""
    try:
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
    except OverflowError:  # an int that is too large for a float
        return math.nan


def _fits(at_hash: object, access_token: Secret, algorithm: Any) -> bool:
    expected = create_half_hash(access_token.reveal(), algorithm)
    # ``expected`` is None if the algorithm names no hash, as with EdDSA; then there is nothing to compare.
    return expected is None or at_hash == expected.decode()
