"""Checks the configuration of a provider: endpoints, client ids, extra parameters."""

import ipaddress
import re
from collections.abc import Mapping
from typing import TypeGuard
from urllib.parse import SplitResult, urlsplit

from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.text import plain_text

_URL = re.compile(r"[\x21-\x7e]{1,2048}\Z")
_LONGEST_TEXT = 4096
_RESERVED = {"client_id", "client_secret", "grant_type", "refresh_token", "scope"}


def as_endpoint(value: object, name: str) -> str:
    """Check an endpoint's URL and return it: https, or http on loopback; no user, password or fragment.

    A query is allowed (RFC 6749 section 3.2); it must not hold a secret.

    Raises:
        InvalidInputError: the URL is not valid; the message does not repeat it.
    """
    text = plain_text(value)
    parts = None if text is None else _split(text)
    if text is None or parts is None or not parts.hostname:
        raise InvalidInputError(f"{name} must be an absolute URL")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(parts.hostname)):
        raise InvalidInputError(f"{name} must use https (http is for loopback only)")
    if "@" in parts.netloc or parts.fragment:
        raise InvalidInputError(f"{name} must hold neither user nor password nor fragment")
    return text


def as_chosen_endpoint(value: object, name: str, *, private: bool) -> str:
    """Check a URL that somebody else has chosen, and return it; see `as_endpoint`.

    Args:
        value: the URL.
        name: its name, for the error.
        private: whether it may be on loopback by http.

    Raises:
        InvalidInputError: the URL is not valid; the message does not repeat it.
    """
    text = as_endpoint(value, name)
    if not private and urlsplit(text).scheme != "https":
        raise InvalidInputError(f"{name} must use https")
    return text


def as_token_url(value: str) -> str:
    """Check a token endpoint's URL and return it."""
    return as_endpoint(value, "token_url")


def as_revocation_url(value: str | None) -> str | None:
    """Check a revocation endpoint's URL and return it; None if the provider has no such endpoint."""
    return None if value is None else as_endpoint(value, "revocation_url")


def as_audience(value: str | None) -> str | None:
    """Check an audience and return it: a printable text of 1 to 4096 characters, or None."""
    text = None if value is None else plain_text(value)
    if value is not None and (text is None or not 1 <= len(text) <= _LONGEST_TEXT or not text.isprintable()):
        raise InvalidInputError(f"audience must be a printable text of 1 to {_LONGEST_TEXT} characters, or None")
    return text


def as_client_id(value: str) -> str:
    """Check a client id and return it: a printable text of 1 to 4096 characters, without lone surrogates."""
    text = plain_text(value)
    if text is None or not 1 <= len(text) <= _LONGEST_TEXT or not text.isprintable():
        raise InvalidInputError(f"client_id must be a printable text of 1 to {_LONGEST_TEXT} characters")
    return text


def as_parameters(value: Mapping[str, str] | None) -> dict[str, str]:
    """Check extra form parameters and return them; they must not set what refreshers set, such as ``client_id``."""
    if value is None:
        return {}
    items = value.items() if isinstance(value, Mapping) else [(None, None)]
    texts = [(plain_text(name), plain_text(text)) for name, text in items]
    parameters = {name: text for name, text in texts if _is_encodable(name) and _is_encodable(text)}
    if len(parameters) != len(texts):
        raise InvalidInputError("extra must map texts to texts")
    if _RESERVED & set(parameters):
        raise InvalidInputError(f"extra must not set any of {', '.join(sorted(_RESERVED))}")
    return parameters


def shown(url: str | None) -> str:
    """Return a URL without its query, for a repr."""
    return repr(url.partition("?")[0]) if url else repr(url)


def _split(value: str) -> SplitResult | None:
    if not _URL.match(value):
        return None
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018 - reading the port checks it
    except ValueError:  # raise nothing here: the new error would refer to the ValueError, which holds the URL
        return None
    return parts


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_encodable(value: str | None) -> TypeGuard[str]:
    if value is None:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
