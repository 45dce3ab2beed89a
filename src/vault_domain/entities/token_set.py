"""`TokenSet`: the tokens in a token endpoint's answer, for storing in the vault."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from attrs import field, frozen

from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.scrub import scrubbed, scrubbed_class
from vault_domain.entities.secret import Secret, as_secret
from vault_domain.entities.text import LATEST, as_duration, as_scopes, as_time, is_scope

_LONGEST_LIFETIME = timedelta(days=36_525)


def _as_credential(value: object) -> Secret:
    secret = as_secret(value)
    if not secret.reveal():
        raise InvalidInputError("access_token must not be empty")
    return secret


def _as_optional_credential(value: object) -> Secret | None:
    # RFC 6749 section 6 lets a server omit the refresh token; some send null or an empty string instead.
    if value is None or value == "":
        return None
    return as_secret(value)


def _as_expires_at(value: object) -> datetime | None:
    return as_time(value, "expires_at")


def _as_refresh_expires_at(value: object) -> datetime | None:
    return as_time(value, "refresh_token_expires_at")


def _as_lifetime(value: object) -> timedelta | None:
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        lifetime = _seconds(value)
        if lifetime is None:
            raise InvalidInputError("expires_in must be a number of seconds between 0 and 100 years")
        return lifetime
    return as_duration(value, "expires_in")


@scrubbed_class
@frozen
class TokenSet:
    """An access token, with the refresh token and the metadata of the same answer.

    Args:
        access_token: the token, as text or `Secret`.
        refresh_token: None (or ``""``) keeps the stored one.
        expires_at: expiry of the access token, zone-aware, or None.
        expires_in: lifetime of the access token, in seconds or as a timedelta, or None. Without ``expires_at``, the
            expiry is the time of storing plus this lifetime.
        scopes: the granted scopes; empty keeps the stored ones.
        token_type: "Bearer" in practice (RFC 6750); not stored.
        refresh_token_expires_at: expiry of the refresh token, zone-aware, or None.

    Raises:
        InvalidInputError: a field breaks its rule; the message repeats no value.
    """

    access_token: Secret = field(converter=_as_credential)
    refresh_token: Secret | None = field(default=None, converter=_as_optional_credential)
    expires_at: datetime | None = field(default=None, converter=_as_expires_at)
    expires_in: timedelta | None = field(default=None, converter=_as_lifetime)
    scopes: tuple[str, ...] = field(default=(), converter=as_scopes)
    token_type: str = "Bearer"
    refresh_token_expires_at: datetime | None = field(default=None, converter=_as_refresh_expires_at)

    @classmethod
    @scrubbed
    def from_response(cls, response: Mapping[str, Any], received_at: datetime | None = None) -> TokenSet:
        """Read a token endpoint's answer: RFC 6749 section 5.1, plus Authlib's ``expires_at`` (a Unix time).

        Other members, such as ``id_token``, are ignored. Malformed optional members are ignored too, because a new
        refresh token must not be lost because of them. Examples are a negative or absurd ``expires_in`` and a scope
        outside of the RFC's alphabet. An ``expires_in`` of 0 counts as missing.

        Args:
            response: the decoded JSON object.
            received_at: time of the answer, zone-aware; ``expires_in`` counts from it. None: ``expires_in`` counts from
                the time of storing.

        Raises:
            InvalidInputError: there is no usable ``access_token``. The message repeats nothing of the response.
        """
        if not isinstance(response, Mapping):
            raise InvalidInputError("the response must be a mapping")
        if response.get("access_token") is None:
            raise InvalidInputError("the response has no access_token")
        start = as_time(received_at, "received_at")
        lifetime = _seconds(response.get("expires_in")) or None
        expires_at = _epoch(response.get("expires_at"))
        if expires_at is None and start is not None and lifetime is not None and lifetime < LATEST - start:
            expires_at = start + lifetime
        token_type = response.get("token_type")
        return cls(
            access_token=response.get("access_token"),
            refresh_token=response.get("refresh_token"),
            expires_at=expires_at,
            expires_in=lifetime,
            scopes=_scopes(response.get("scope")),
            token_type=token_type if isinstance(token_type, str) and len(token_type) <= 64 else "Bearer",
        )


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    if isinstance(value, str) and len(value) > 32:
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _seconds(value: object) -> timedelta | None:
    """Read a lifetime; return None if it is missing, negative or longer than 100 years."""
    number = _number(value)
    if number is None or not 0 <= number <= _LONGEST_LIFETIME.total_seconds():
        return None
    return timedelta(seconds=number)


def _epoch(value: object) -> datetime | None:
    number = _number(value)
    # Accept the years 2000 to 9998 only, so that a lifetime in the wrong member is not read as a time.
    if number is None or not 946_684_800 <= number < 253_370_764_800:
        return None
    return datetime.fromtimestamp(number, UTC)


def _scopes(value: object) -> tuple[str, ...]:
    """Read scopes from a space-separated string (the RFC's form) or from a list (some servers' form)."""
    parts = value.split() if isinstance(value, str) else value if isinstance(value, list) else []
    return tuple(dict.fromkeys(scope for scope in parts if is_scope(scope)))[:1000]
