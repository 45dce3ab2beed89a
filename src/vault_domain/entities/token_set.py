"""`TokenSet`: the tokens in a token endpoint's answer, for storing in the vault."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from attrs import field, frozen

from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.extra import NO_EXTRA, Extra, as_extra, read_token_type, shown_token_type
from vault_domain.entities.lifetime import LONGEST_LIFETIME, limited_expiry, read_epoch, read_lifetime
from vault_domain.entities.scrub import scrubbed, scrubbed_class
from vault_domain.entities.secret import Secret, as_secret, as_value, is_storable, is_too_long
from vault_domain.entities.text import (
    LATEST,
    MAX_SCOPES,
    as_duration,
    as_error_code,
    as_scope,
    as_scopes,
    as_time,
    plain_text,
)

REFRESH_TOKEN_TOO_LONG = "refresh_token_too_long"
"""Code of an answer whose refresh token is longer than a `Secret` may be, so that it cannot be stored."""

REFRESH_TOKEN_MALFORMED = "refresh_token_malformed"
"""Code of an answer whose refresh token is no text, or a text with lone surrogates, so that it cannot be stored."""

_LARGEST_NUMBER = 10**100
_MOST_PARTS = 10 * MAX_SCOPES
"""Largest number of parts of an answer's scopes that are looked at, because an endpoint may send megabytes of them."""


def _as_credential(value: Secret | str) -> Secret:
    return as_value(value, "access_token")


def _as_optional_credential(value: Secret | str | None) -> Secret | None:
    # RFC 6749 section 6 lets a server omit the refresh token; some send null or an empty string instead.
    if value is None or plain_text(value) == "" or (isinstance(value, Secret) and not value.reveal()):
        return None
    return as_secret(value)


def _as_expires_at(value: datetime | None) -> datetime | None:
    return as_time(value, "expires_at")


def _as_refresh_expires_at(value: datetime | None) -> datetime | None:
    return as_time(value, "refresh_token_expires_at")


def _as_lifetime(value: timedelta | float | None, name: str = "expires_in") -> timedelta | None:
    if value is None:
        return None
    if isinstance(value, timedelta):
        return as_duration(min(value, LONGEST_LIFETIME), name)
    lifetime = read_lifetime(value) if isinstance(value, (int, float)) else None
    if lifetime is None:
        raise InvalidInputError(f"{name} must be a timedelta or a finite number of seconds that is not negative")
    return lifetime


def _as_refresh_lifetime(value: timedelta | float | None) -> timedelta | None:
    return _as_lifetime(value, "refresh_token_expires_in")


def _as_extra(value: Mapping[str, str]) -> Extra:
    # mypy does not accept a decorated function, such as `as_extra`, as a converter.
    return NO_EXTRA if value is NO_EXTRA else as_extra(value)


def _as_problem(value: object) -> str | None:
    return None if value is None else as_error_code(value)


def token_text(value: object) -> object:
    """Return a token that an answer holds as a whole number as its digits; return any other value unchanged.

    A number of over 100 digits stays a number.
    """
    return str(value) if type(value) is int and 0 < value < _LARGEST_NUMBER else value


def _refresh_token(value: object) -> tuple[Any, str | None]:
    """Return an answer's refresh token, or None and the code of its problem.

    This function raises nothing, because an error would lose the access token, and often the only copy of the new
    refresh token too.
    """
    if not value or value is True:  # servers also send "", false, 0 or [] if there is none
        return None, None
    value = token_text(value)
    if isinstance(value, Secret) or is_storable(value):
        return value, None
    return None, REFRESH_TOKEN_TOO_LONG if is_too_long(value) else REFRESH_TOKEN_MALFORMED


@scrubbed_class
@frozen
class TokenSet:
    """An access token, with the refresh token and the metadata of the same answer.

    Args:
        access_token: the token, as text or `Secret`.
        refresh_token: None (or ``""``) keeps the stored one.
        expires_at: expiry of the access token, zone-aware, or None; more than 100 years ahead counts as 100 years
            ahead.
        expires_in: lifetime of the access token, in seconds or as a timedelta, or None; more than 100 years count as
            100 years. Without ``expires_at``, the expiry is the time of storing plus this lifetime.
        scopes: the granted scopes; empty keeps the stored ones.
        token_type: "Bearer" in practice (RFC 6750). Another type is stored with the extra members.
        refresh_token_expires_at: expiry of the refresh token, zone-aware, or None.
        refresh_token_expires_in: lifetime of the refresh token, with the same types and limit as ``expires_in``, or
            None. Without ``refresh_token_expires_at``, the expiry is the time of storing plus this lifetime.
        refresh_token_problem: error code that says why the answer's refresh token cannot be stored, such as
            ``refresh_token_too_long``; None if there is no such problem.
        extra: the extra members to keep with the access token, a text for each name. A name has up to 255 characters;
            all members together have up to 16 KiB of JSON. They are sealed like the token. `store_token_set` replaces
            all stored members; a refresh replaces only the members that its answer has.

    Raises:
        InvalidInputError: a field breaks its rule; the message repeats no value.
    """

    access_token: Secret = field(converter=_as_credential)
    refresh_token: Secret | None = field(default=None, converter=_as_optional_credential)
    expires_at: datetime | None = field(default=None, converter=_as_expires_at)
    expires_in: timedelta | None = field(default=None, converter=_as_lifetime)
    scopes: tuple[str, ...] = field(default=(), converter=as_scopes)
    token_type: str = field(default="Bearer", repr=shown_token_type)
    refresh_token_expires_at: datetime | None = field(default=None, converter=_as_refresh_expires_at)
    refresh_token_problem: str | None = field(default=None, converter=_as_problem)
    refresh_token_expires_in: timedelta | None = field(default=None, converter=_as_refresh_lifetime)
    extra: Mapping[str, str] = field(default=NO_EXTRA, converter=_as_extra)

    @classmethod
    @scrubbed
    def from_response(cls, response: Mapping[str, Any], received_at: datetime | None = None) -> TokenSet:
        """Read a token endpoint's answer: RFC 6749 section 5.1, plus Authlib's ``expires_at`` (a Unix time).

        Other members, such as ``id_token``, are ignored. Malformed optional members, such as a negative ``expires_in``
        or a scope outside of the RFC's alphabet, are ignored too, because an error would lose a new refresh token. A
        token that is a whole number is read as its digits. An
        ``expires_in`` of 0 counts as missing. The RFC has no lifetime of the refresh token; it is read from
        ``refresh_token_expires_in``, ``refresh_expires_in`` (Keycloak, where 0 means no end) or
        ``x_refresh_token_expires_in`` (Intuit). A lifetime of more than 100 years counts as 100 years; the vault
        limits an ``expires_at`` in the same way when it stores the tokens. An ``expires_at`` outside of the years 2000
        to 9998 is ignored. A refresh token that cannot be stored, because it is longer than 64 KiB or is no valid
        text, is left out; `refresh_token_problem` then has the code.

        Args:
            response: the decoded JSON object.
            received_at: time of the answer, zone-aware; ``expires_in`` counts from it. None: ``expires_in`` counts from
                the time of storing.

        Raises:
            InvalidInputError: the response is no mapping or has no usable ``access_token``, or ``received_at`` is not
                valid. The message repeats nothing of the response.
        """
        if not isinstance(response, Mapping):
            raise InvalidInputError("the response must be a mapping")
        if response.get("access_token") is None:
            raise InvalidInputError("the response has no access_token")
        start = as_time(received_at, "received_at")
        lifetime = read_lifetime(response.get("expires_in")) or None
        expires_at = read_epoch(response.get("expires_at"))
        if expires_at is not None and start is not None:
            expires_at = limited_expiry(expires_at, start)
        elif start is not None and lifetime is not None and lifetime < LATEST - start:
            expires_at = start + lifetime
        refresh_lifetime = _refresh_lifetime(response)
        refresh_expires_at = None
        if start is not None and refresh_lifetime is not None and refresh_lifetime < LATEST - start:
            refresh_expires_at = start + refresh_lifetime
        refresh_token, problem = _refresh_token(response.get("refresh_token"))
        access_token: Any = token_text(response.get("access_token"))
        return cls(
            access_token=access_token,
            refresh_token=refresh_token,
            expires_at=expires_at,
            expires_in=lifetime,
            scopes=_scopes(response.get("scope")),
            token_type=read_token_type(response.get("token_type")),
            refresh_token_problem=problem,
            refresh_token_expires_at=refresh_expires_at,
            refresh_token_expires_in=refresh_lifetime,
        )


def _refresh_lifetime(response: Mapping[str, Any]) -> timedelta | None:
    names = ("refresh_token_expires_in", "refresh_expires_in", "x_refresh_token_expires_in")
    return next((lifetime for name in names if (lifetime := read_lifetime(response.get(name)))), None)


def _scopes(value: object) -> tuple[str, ...]:
    """Read scopes from a space-separated string (the RFC's form) or from a list (some servers' form)."""
    parts = value.split(maxsplit=_MOST_PARTS) if isinstance(value, str) else value if isinstance(value, list) else []
    scopes = dict.fromkeys(scope for part in parts[:_MOST_PARTS] if (scope := as_scope(part)) is not None)
    return tuple(islice(scopes, MAX_SCOPES))
