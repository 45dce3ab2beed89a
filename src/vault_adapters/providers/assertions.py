"""Makes the JWTs of RFC 7523: a client's authentication (section 2.2), and an assertion as a grant (section 2.1)."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, TypeVar

from attrs import field, frozen

from vault_adapters.providers.expiry import clock_skew
from vault_adapters.providers.http import Incoming
from vault_adapters.providers.signing_key import JwtKey
from vault_domain.entities.causes import CLOCK_SKEW
from vault_domain.entities.errors import (
    ProviderConfigurationError,
    ReauthorizationRequiredError,
    RefreshFailedError,
)

T = TypeVar("T")

_log = logging.getLogger(__name__)

_MOST_SKEW = timedelta(seconds=30)
"""Difference between the clocks of this machine and of the provider from which on a refusal of a JWT proves nothing."""

_OF_JWTS = frozenset({"invalid_grant", "invalid_client", "invalid_request", "unauthorized_client"})
"""The codes with which providers refuse a JWT whose times are wrong."""

CLIENT_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"

DEFAULT_LIFETIME = timedelta(minutes=5)
"""Lifetime of an assertion. Providers refuse long lifetimes; this one tolerates a clock that is some minutes wrong."""


def new_claims(issuer: str, subject: str | None, audience: str, lifetime: timedelta) -> dict[str, Any]:
    """Return the claims of a new assertion (RFC 7523 section 3).

    Args:
        issuer: the ``iss``: who makes and signs the assertion, often the client id.
        subject: the ``sub``: the user or client for whom a token is requested; None leaves the claim out.
        audience: the ``aud``: the provider, named by the URL of its token endpoint or of its issuer.
        lifetime: the time until the assertion expires.
    """
    now = int(time.time())
    claims = {
        "iss": issuer,
        "aud": audience,
        "iat": now,
        "exp": now + int(lifetime.total_seconds()),
        "jti": secrets.token_urlsafe(24),
    }
    return claims if subject is None else {**claims, "sub": subject}


def by_the_clock(outcome: T, answer: Incoming, provider: str) -> T | ProviderConfigurationError:
    """Return the outcome of a request with a JWT; if the provider refused it, and the clocks differ, blame the clock.

    The times in a JWT come from this machine's clock, so a wrong clock makes every JWT invalid.
    """
    is_refusal = isinstance(outcome, (ReauthorizationRequiredError, ProviderConfigurationError))
    skew = clock_skew(answer.headers, answer.received_at)
    if not is_refusal or getattr(outcome, "reason", None) not in _OF_JWTS or skew is None or abs(skew) < _MOST_SKEW:
        return outcome
    _log.error("the clock of this machine differs from that of %s by %.0f seconds", provider, skew.total_seconds())
    message = f"the clocks of this machine and of the provider differ by {skew.total_seconds():.0f} seconds"
    return ProviderConfigurationError(message, reason=CLOCK_SKEW, refused=False)


@frozen
class Signed:
    """A signed JWT, and the time that is left for the request that carries it."""

    jwt: str = field(repr=False)
    deadline: timedelta
    send_deadline: timedelta


async def timely(
    key: JwtKey, claims: Mapping[str, Any], deadline: timedelta, send_deadline: timedelta | None = None
) -> Signed | RefreshFailedError:
    """Return a signed JWT, or the error to raise if signing fails or takes longer than the request may wait.

    With an error, nothing was sent, so the attempt may be repeated. The error holds no text of the signer's error.
    """
    clock = asyncio.get_running_loop().time
    sending = min(send_deadline or deadline, deadline)
    began = clock()
    try:
        async with asyncio.timeout(sending.total_seconds()):
            jwt = await key.jwt(claims)
        passed = timedelta(seconds=clock() - began)
        if passed < sending:
            return Signed(jwt, deadline - passed, sending - passed)
        what = "the signer did not answer in time"
    except TimeoutError:
        what = "the signer did not answer in time"
    except Exception as error:  # a key service's client raises errors of its own
        what = type(error).__name__
    return RefreshFailedError(f"the request could not be signed ({what})")


@frozen
class Proof:
    """The proof that authenticates a client in one request.

    Attributes:
        members: members to add to the request; empty for a client that sends its secret and for a public client.
        deadline, send_deadline: the request's deadlines, less the time for signing.
    """

    members: dict[str, str] = field(repr=False)
    deadline: timedelta
    send_deadline: timedelta | None


async def proof_of(
    key: JwtKey | None,
    client_id: str,
    audience: str,
    deadline: timedelta,
    send_deadline: timedelta | None = None,
) -> Proof | RefreshFailedError:
    """Return the proof of a client that authenticates with a JWT; without a key, the proof adds nothing to the request.

    Every request has a JWT of its own, because a provider accepts each JWT only once.
    """
    if key is None:
        return Proof({}, deadline, send_deadline)
    claims = new_claims(client_id, client_id, audience, DEFAULT_LIFETIME)
    signed = await timely(key, claims, deadline, send_deadline)
    if isinstance(signed, RefreshFailedError):
        return signed
    members = {"client_assertion_type": CLIENT_ASSERTION, "client_assertion": signed.jwt}
    return Proof(members, signed.deadline, signed.send_deadline)
