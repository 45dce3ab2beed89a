"""Checks the host's configuration of a provider: endpoints, client ids, extra parameters."""

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

from vault_domain.entities.errors import InvalidInputError

_URL = re.compile(r"[\x21-\x7e]{1,2048}\Z")
_LONGEST_TEXT = 4096
_RESERVED = {"client_id", "client_secret", "grant_type", "refresh_token", "scope"}


def as_endpoint(value: object, name: str) -> str:
    """Check an endpoint's URL and return it: https, or http on loopback; without user, password and fragment.

    A query is allowed (RFC 6749 section 3.2); it must not hold a secret.

    Raises:
        InvalidInputError: the URL is not valid; the message does not repeat it.
    """
    parts = _split(value)
    if parts is None or not parts.hostname:
        raise InvalidInputError(f"{name} must be an absolute URL")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(parts.hostname)):
        raise InvalidInputError(f"{name} must use https (http is for loopback only)")
    if "@" in parts.netloc or parts.fragment:
        raise InvalidInputError(f"{name} must hold neither user nor password nor fragment")
    return str(value)


def as_token_url(value: object) -> str:
    """Check a token endpoint's URL and return it."""
    return as_endpoint(value, "token_url")


def as_revocation_url(value: object) -> str | None:
    """Check a revocation endpoint's URL and return it; None if the provider has no such endpoint."""
    return None if value is None else as_endpoint(value, "revocation_url")


def as_client_id(value: object) -> str:
    """Check a client id and return it: a printable text of 1 to 4096 characters, without lone surrogates."""
    if not isinstance(value, str) or not 1 <= len(value) <= _LONGEST_TEXT or not value.isprintable():
        raise InvalidInputError(f"client_id must be a printable text of 1 to {_LONGEST_TEXT} characters")
    return str(value)


def as_parameters(value: object) -> dict[str, str]:
    """Check extra form parameters and return them; they must not set parameters that refreshers set themselves."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(_is_encodable(part) for item in value.items() for part in item):
        raise InvalidInputError("extra must map texts to texts")
    if _RESERVED & set(value):
        raise InvalidInputError(f"extra must not set any of {', '.join(sorted(_RESERVED))}")
    return dict(value)


def shown(url: str | None) -> str:
    """Return a URL without its query, for a repr."""
    return repr(url.partition("?")[0]) if url else repr(url)


def _split(value: object) -> SplitResult | None:
    if not isinstance(value, str) or not _URL.match(value):
        return None
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018 - reading it checks it
    except ValueError:  # do not raise here, because the new error would keep this one, which holds the URL
        return None
    return parts


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_encodable(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
