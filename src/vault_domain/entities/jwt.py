"""Reads the times of an access token that is a JWT (RFC 7519), without verifying it.

That is safe, because the times decide only when the vault refreshes the token and when the token counts as expired.
"""

from __future__ import annotations

import base64
import json
from datetime import datetime, timedelta

from vault_domain.entities.lifetime import LONGEST_LIFETIME, read_epoch
from vault_domain.entities.secret import Secret

_MAX_CHARACTERS = 16 * 1024


def jwt_expiry(token: Secret) -> datetime | None:
    """Return the claim ``exp``, or None.

    None means that the token is no JWT, is longer than 16,384 characters, or has no ``exp`` within the years 2000 to
    9998.
    """
    return _moment(_claims(token), "exp")


def jwt_times(token: Secret) -> tuple[datetime | None, timedelta | None]:
    """Return the expiry and the lifetime (``exp`` minus ``iat``, at most 100 years); each is None if unknown."""
    claims = _claims(token)
    expires_at, issued_at = _moment(claims, "exp"), _moment(claims, "iat")
    if expires_at is None or issued_at is None or issued_at >= expires_at:
        return expires_at, None
    return expires_at, min(expires_at - issued_at, LONGEST_LIFETIME)


def _claims(token: Secret) -> dict[str, object]:
    text = token.reveal()
    if text.count(".") != 2 or len(text) > _MAX_CHARACTERS:
        return {}
    payload = text.split(".")[1]
    try:
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, RecursionError):
        # Raise nothing here. A new error would refer to the caught error, which may hold the payload.
        return {}
    return claims if isinstance(claims, dict) else {}


def _moment(claims: dict[str, object], name: str) -> datetime | None:
    value = claims.get(name)
    return read_epoch(value) if isinstance(value, int | float) else None
