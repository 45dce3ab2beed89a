"""`SigningKey`: signs the JWTs by which a client authenticates or asks for tokens (RFC 7523)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import importlib
import inspect
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from attrs import field, frozen

from vault_domain.entities.errors import ConfigurationError, InvalidInputError
from vault_domain.entities.scrub import scrubbed, scrubbed_class
from vault_domain.entities.secret import Secret
from vault_domain.entities.text import plain_text

if TYPE_CHECKING:
    from joserfc.jwk import ECKey, RSAKey

Signer: TypeAlias = Callable[[bytes], bytes | Awaitable[bytes]]

_FITTING = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "P-521": ("ES512",),
}
_ALGORITHMS = (*(name for names in _FITTING.values() for name in names), "EdDSA", "Ed25519")
_SMALLEST_RSA_BITS = 2048
_KEY_ID = re.compile(r"[\x21-\x7e]{1,256}\Z")


def _as_algorithm(value: str) -> str:
    text = plain_text(value)
    if text not in _ALGORITHMS:
        raise InvalidInputError(f"algorithm must be one of {', '.join(_ALGORITHMS)}")
    return str(text)


def _as_key_id(value: str | None) -> str | None:
    text = None if value is None else plain_text(value)
    if value is not None and (text is None or not _KEY_ID.match(text)):
        raise InvalidInputError("key_id must be a text of 1 to 256 visible ASCII characters")
    return text


@scrubbed_class
@frozen(eq=False)
class SigningKey:
    """A private key that signs JWTs; made by `from_pem`, `from_jwk` or `from_signer`.

    Algorithms with a shared secret, such as HS256, are refused, because whoever can check such a signature can also
    make one. The method ``client_secret_jwt`` has `ClientSecretKey` for them.

    Attributes:
        algorithm: the name of the signature algorithm (RFC 7518), such as ``RS256`` or ``ES256``.
        key_id: the ``kid`` in the header of the JWT, or None.
    """

    algorithm: str = field(converter=_as_algorithm)
    key_id: str | None = field(converter=_as_key_id)
    _make: Callable[[Mapping[str, Any], Mapping[str, Any]], Awaitable[str]] = field(repr=False)

    @classmethod
    @scrubbed
    def from_pem(
        cls, pem: Secret | str | bytes, *, algorithm: str | None = None, key_id: str | None = None
    ) -> SigningKey:
        """Return a signing key for an unencrypted private key in PEM.

        Args:
            pem: the text of the key, not the name of its file.
            algorithm: the signature algorithm; None: RS256, ES256, ES384 or ES512, whichever fits the key.
            key_id: the ``kid`` by which the provider knows the public key.

        Raises:
            InvalidInputError: the algorithm does not fit the key, ``key_id`` is not valid, or the key is neither a
                private EC key (P-256, P-384, P-521) nor a private RSA key of 2048 bits or more.
            ConfigurationError: joserfc is not installed.
        """
        return cls._of(_from_pem(pem), algorithm, key_id)

    @classmethod
    @scrubbed
    def from_jwk(cls, jwk: Secret | str | Mapping[str, Any], *, algorithm: str | None = None) -> SigningKey:
        """Return a signing key for a private key as a JWK (RFC 7517), given as a mapping or as JSON text.

        Args:
            jwk: the JWK; its ``kid`` becomes the `key_id`.
            algorithm: the signature algorithm; None: the JWK's ``alg``, or if it has none, as in `from_pem`.

        Raises:
            InvalidInputError, ConfigurationError: see `from_pem`.
        """
        members = _members(jwk)
        return cls._of(_from_members(members), algorithm or members.get("alg"), members.get("kid"))

    @classmethod
    @scrubbed
    def from_signer(cls, sign: Signer, *, algorithm: str, key_id: str | None = None) -> SigningKey:
        """Return a signing key for a private key that another system, such as AWS KMS, holds and uses.

        Args:
            sign: takes the bytes to sign, and returns the signature in the form of RFC 7518 (for ECDSA: r and s joined,
                not DER), or an awaitable of it. A plain function runs in a thread, because it may block.
            algorithm: the signature algorithm that ``sign`` uses.
            key_id: see `from_pem`.

        Raises:
            InvalidInputError: an argument is not valid.
        """
        if not callable(sign):
            raise InvalidInputError("sign must be a function that takes bytes and returns bytes")

        async def make(header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
            content = f"{_encoded(_json(header))}.{_encoded(_json(claims))}"
            if inspect.iscoroutinefunction(sign):
                signature = await sign(content.encode())
            else:
                signature = await asyncio.to_thread(sign, content.encode())
            if inspect.isawaitable(signature):  # a lambda or an object's ``__call__`` may be asynchronous
                signature = await signature
            if not isinstance(signature, bytes) or not signature:
                raise InvalidInputError("the signer must return the signature as bytes")
            return f"{content}.{_encoded(signature)}"

        return cls(algorithm, key_id, make)

    async def jwt(self, claims: Mapping[str, Any]) -> str:
        """Return a signed JWT with these claims.

        Raises:
            InvalidInputError: the host's signer returned no bytes.
            Exception: whatever the host's signer raises.
        """
        header = {"alg": self.algorithm, "typ": "JWT"} | ({} if self.key_id is None else {"kid": self.key_id})
        return await self._make(header, claims)

    @classmethod
    def _of(cls, key: RSAKey | ECKey | None, algorithm: str | None, key_id: str | None) -> SigningKey:
        kind = _kind(key)
        if key is None or kind is None:
            raise InvalidInputError(
                f"this is no private RSA key of {_SMALLEST_RSA_BITS} bits or more, "
                "and no private EC key (P-256, P-384, P-521)"
            )
        chosen = _FITTING[kind][0] if algorithm is None else _as_algorithm(algorithm)
        if chosen not in _FITTING[kind]:
            raise InvalidInputError(f"with this key, algorithm must be one of {', '.join(_FITTING[kind])}")

        async def make(header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
            jws = _joserfc("jws")
            return str(jws.serialize_compact(dict(header), _json(claims), key, algorithms=[chosen]))

        return cls(chosen, key_id, make)


class JwtKey(Protocol):
    """Signs JWTs: a `SigningKey` or a `ClientSecretKey`."""

    async def jwt(self, claims: Mapping[str, Any]) -> str:
        """Return a signed JWT with these claims."""


@frozen(eq=False)
class ClientSecretKey:
    """Signs the JWTs of ``client_secret_jwt`` (OpenID Connect Core section 9): HS256 under the client secret."""

    secret: Secret = field(repr=False)

    async def jwt(self, claims: Mapping[str, Any]) -> str:
        """Return a signed JWT with these claims."""
        content = f"{_encoded(_json({'alg': 'HS256', 'typ': 'JWT'}))}.{_encoded(_json(claims))}"
        signature = hmac.digest(self.secret.reveal().encode(), content.encode(), hashlib.sha256)
        return f"{content}.{_encoded(signature)}"


def _kind(key: Any) -> str | None:
    """Return the name of a private key's entry in `_FITTING`; None if the key has none or is no private key."""
    if key is None or not key.is_private:
        return None
    if key.key_type == "RSA":
        return "RSA" if key.raw_value.key_size >= _SMALLEST_RSA_BITS else None
    curve = str(key.curve_name)
    return curve if curve in _FITTING else None


def _from_pem(pem: Secret | str | bytes) -> Any:
    """Return the private key in a PEM, or None. The libraries' errors are dropped, because they may hold the key."""
    text = pem.reveal() if isinstance(pem, Secret) else pem
    raw = text.encode(errors="replace") if isinstance(text, str) else text
    jwk = _joserfc("jwk")
    for kind in (jwk.RSAKey, jwk.ECKey):
        with suppress(Exception):
            key = kind.import_key(raw)
            if _kind(key) is not None:
                return key
    return None


def _from_members(members: Mapping[str, Any]) -> Any:
    jwk = _joserfc("jwk")
    kind = {"RSA": jwk.RSAKey, "EC": jwk.ECKey}.get(str(members.get("kty")))
    with suppress(Exception):
        return None if kind is None else kind.import_key(dict(members))
    return None


def _members(jwk: Secret | str | Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(jwk, Mapping):
        return jwk
    text = jwk.reveal() if isinstance(jwk, Secret) else jwk
    with suppress(ValueError, TypeError, RecursionError):
        members = json.loads(text)
        if isinstance(members, dict):
            return members
    return {}


def _joserfc(module: str) -> Any:
    with suppress(ImportError):
        return importlib.import_module(f"joserfc.{module}")
    raise ConfigurationError("signing JWTs needs joserfc: install token-vault[jwt]")


def _json(members: Mapping[str, Any]) -> bytes:
    return json.dumps(members, separators=(",", ":")).encode()


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
