"""Authenticates an OAuth client at the token endpoint (RFC 6749 section 2.3.1)."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Literal, TypeAlias, get_args
from urllib.parse import quote_plus, urlencode

from vault_adapters.providers.http import Outgoing
from vault_adapters.providers.signing_key import ClientSecretKey, JwtKey, SigningKey
from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.secret import Secret, as_secret

AuthMethod: TypeAlias = Literal[
    "client_secret_basic",
    "client_secret_post",
    "client_secret_jwt",
    "private_key_jwt",
    "none",
    "secret_as_user",
    "tls_client_auth",
    "self_signed_tls_client_auth",
]
"""The authentication methods, as RFC 7591 section 2, OpenID Connect Core section 9 and RFC 8705 name them.

``secret_as_user`` has no name there: Basic authentication (RFC 7617) with the secret as user and an empty password, and
no client id (Stripe).
"""

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_METHODS: tuple[AuthMethod, ...] = get_args(AuthMethod)

BY_CERTIFICATE = frozenset({"tls_client_auth", "self_signed_tls_client_auth"})
"""The methods of RFC 8705: the host's HTTP client has a certificate, and only the client id is sent."""


def as_auth_method(value: str) -> AuthMethod:
    """Check an authentication method and return it.

    Raises:
        InvalidInputError: the value is not an authentication method.
    """
    for method in _METHODS:
        if value == method:
            return method
    raise InvalidInputError(f"auth_method must be one of {', '.join(_METHODS)}")


def as_secret_method(value: str) -> AuthMethod:
    """Check that a value is an authentication method that uses a secret; return the method.

    Raises:
        InvalidInputError: the value is not a method that uses a secret.
    """
    method = as_auth_method(value)
    if method not in ("client_secret_basic", "client_secret_post"):
        raise InvalidInputError("auth_method must be client_secret_basic or client_secret_post")
    return method


def as_client_secret(value: Secret | str | None) -> Secret | None:
    """Return a client secret as `Secret`, or None.

    Raises:
        InvalidInputError: the value is no text, is empty, is too long or has a lone surrogate.
    """
    if value is None:
        return None
    secret: Secret | None = None
    with suppress(InvalidInputError):
        secret = as_secret(value)
    if secret is None or not secret.reveal():
        raise InvalidInputError("client_secret must be a text of 1 character to 64 KiB")
    return secret


def as_signing_key(value: SigningKey | None) -> SigningKey | None:
    """Check a client's signing key and return it, or None.

    Raises:
        InvalidInputError: the value is neither a `SigningKey` nor None.
    """
    if value is not None and not isinstance(value, SigningKey):
        raise InvalidInputError("signing_key must be a SigningKey, made by from_pem, from_jwk or from_signer")
    return value


def check_client(
    auth_method: str, client_secret: Secret | None, signing_key: SigningKey | None = None, client: object = None
) -> None:
    """Check that a client has exactly what its method needs: a secret, a signing key, or neither for ``none``.

    A method by certificate needs an HTTP client, because the one of the vault has no certificate.

    Raises:
        InvalidInputError: a secret or key that the method needs is missing, or one that it does not take was given.
    """
    if auth_method in BY_CERTIFICATE:
        if client_secret is not None or signing_key is not None:
            raise InvalidInputError(f"auth_method {auth_method!r} takes no client_secret and no signing_key")
        if client is None:
            raise InvalidInputError(f"auth_method {auth_method!r} needs client, an HTTP client with the certificate")
        return
    if (auth_method == "private_key_jwt") != (signing_key is not None):
        raise InvalidInputError("auth_method 'private_key_jwt' needs a signing_key, and no other method takes one")
    if auth_method == "private_key_jwt":
        if client_secret is not None:
            raise InvalidInputError("auth_method 'private_key_jwt' takes no client_secret")
        return
    if auth_method == "none" and client_secret is not None:
        raise InvalidInputError("auth_method 'none' is for public clients, which have no client_secret")
    if auth_method != "none" and client_secret is None:
        raise InvalidInputError("client_secret is missing; for a public client, pass auth_method='none'")


def jwt_key(auth_method: str, client_secret: Secret | None, signing_key: SigningKey | None) -> JwtKey | None:
    """Return the key that signs a client's assertions, or None if its method has no assertions."""
    if auth_method == "client_secret_jwt" and client_secret is not None:
        return ClientSecretKey(client_secret)
    return signing_key


def plain_form(url: str, form: Mapping[str, str], headers: Mapping[str, str] = _NO_HEADERS) -> Outgoing:
    """Return a POST of a form, without adding the client's authentication."""
    content_type = {"Content-Type": "application/x-www-form-urlencoded"}
    return Outgoing(url, urlencode(form).encode(), {**headers, **content_type})


def plain_json(url: str, members: Mapping[str, str], headers: Mapping[str, str] = _NO_HEADERS) -> Outgoing:
    """Return a POST of a JSON object; see `plain_form`."""
    return Outgoing(url, json.dumps(members).encode(), {**headers, "Content-Type": "application/json"})


def signed_form(
    url: str, form: Mapping[str, str], *, client_id: str, client_secret: Secret | None, auth_method: AuthMethod
) -> Outgoing:
    """Return an authenticated POST of a form.

    With ``client_secret_basic``, id and secret are form-urlencoded before they are joined, as RFC 6749 requires. For a
    provider that does not decode them, use ``client_secret_post``. With ``client_secret_jwt`` and ``private_key_jwt``,
    the caller has already put the client assertion into the form.
    """
    return plain_form(url, *_authenticated(form, client_id, client_secret, auth_method))


def signed_json(
    url: str, members: Mapping[str, str], *, client_id: str, client_secret: Secret | None, auth_method: AuthMethod
) -> Outgoing:
    """Return an authenticated POST of a JSON object; see `signed_form`."""
    return plain_json(url, *_authenticated(members, client_id, client_secret, auth_method))


def _authenticated(
    members: Mapping[str, str], client_id: str, client_secret: Secret | None, auth_method: AuthMethod
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the members and headers of an authenticated request."""
    fields, headers = dict(members), {}
    if client_secret is not None and auth_method in ("client_secret_basic", "secret_as_user"):
        secret = quote_plus(client_secret.reveal())
        pair = f"{secret}:" if auth_method == "secret_as_user" else f"{quote_plus(client_id)}:{secret}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    else:
        fields["client_id"] = client_id
        if client_secret is not None and auth_method != "client_secret_jwt":  # then it signs, and is not sent
            fields["client_secret"] = client_secret.reveal()
    return fields, headers
