"""Reads a token endpoint's answer by the rules of RFC 6749 section 5, and tolerates common deviations."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

from attrs import evolve

from vault_adapters.providers.body import without_guard
from vault_adapters.providers.expiry import retry_after
from vault_adapters.providers.http import Incoming
from vault_adapters.providers.oauth_errors import CONDEMNS_GRANT, error_code, refusal
from vault_domain.entities import causes
from vault_domain.entities.errors import (
    ConsentRequiredError,
    InvalidInputError,
    ProviderConfigurationError,
    ReauthorizationRequiredError,
    RefreshFailedError,
    VaultError,
)
from vault_domain.entities.jwt import jwt_expiry
from vault_domain.entities.lifetime import limited_expiry
from vault_domain.entities.secret import Secret, is_too_long
from vault_domain.entities.token_set import TokenSet, token_text
from vault_domain.entities.unread_answer import UnreadAnswer

Members: TypeAlias = Mapping[str, Any]
Dialect: TypeAlias = Callable[[int, Members | None], Members | None]
"""Turns a status and an answer's members (None: it has none) into the members that RFC 6749 names."""

_MOST_DIGITS = 100
_MOST_MEMBERS = 100

_CLAIMS = re.compile(r"\{[\x20-\x7e]{1,2046}\}\Z")

_FORM = re.compile(rb"[\w.%+-]+=[!#-%'-;=?-z|~]*(?:&[\w.%+-]+=[!#-%'-;=?-z|~]*)*")
"""A form-encoded body: names and values without spaces, quotes, braces and angle brackets, so no JSON and no page."""


def read_answer(
    answer: Incoming,
    *,
    dialect: Dialect | None = None,
    condemns: frozenset[str] = CONDEMNS_GRANT,
    default_lifetime: timedelta | None = None,
) -> TokenSet | VaultError:
    """Return the token set, or the error to raise.

    An error holds nothing of the answer except a registered OAuth error code, the time from Retry-After, and a new
    refresh token or an answer that cannot be read (as `Secret`).

    Args:
        answer: status, headers, body and time of receipt.
        dialect: converts the answer of a provider that does not follow RFC 6749.
        condemns: the error codes of a permanently invalid credential.
        default_lifetime: the documented lifetime, if neither the answer nor an access token in JWT form has an expiry.
    """
    status = answer.status
    if status in (429, 503):
        wait = retry_after(answer.headers, answer.received_at)
        return RefreshFailedError(reason="temporarily_unavailable", retry_after=wait)
    if 300 <= status < 400:
        return ProviderConfigurationError(
            "the provider redirects; a token endpoint must not redirect", reason=causes.REDIRECT, refused=False
        )
    # A gateway sends 408 if client or provider is too slow, so the provider may have got the request.
    if status == 408 or not 200 <= status < 500:
        wait = retry_after(answer.headers, answer.received_at)
        return RefreshFailedError(reason="server_error", retry_after=wait, outcome_unknown=True)
    members = answer_members(answer.body)
    if dialect is not None:
        members = dialect(status, members)
    if status < 300:
        return _read_success(answer, members, condemns, default_lifetime)
    return _refused(answer, members, condemns)


def _read_success(
    answer: Incoming, members: Members | None, condemns: frozenset[str], default_lifetime: timedelta | None
) -> TokenSet | VaultError:
    if members is None:
        return unreadable("the provider's answer cannot be read", answer)
    access_token, refresh_token = _secret(members.get("access_token")), _secret(members.get("refresh_token"))
    if access_token is not None:
        # A refresh token that cannot be stored is left out and reported by `from_response`.
        tokens = TokenSet.from_response({**members, "access_token": access_token})
        return _with_expiry(tokens, answer.received_at, default_lifetime)
    if is_too_long(token_text(members.get("access_token"))):
        message = "the provider's access token is longer than the vault can store"
        return RefreshFailedError(message, reason=causes.ACCESS_TOKEN_TOO_LONG, refresh_token=refresh_token)
    if refresh_token is not None:
        return RefreshFailedError(
            "the provider sent a refresh token without an access token",
            reason=error_code(members),
            refresh_token=refresh_token,
        )
    if members.get("error"):
        return _refused(answer, members, condemns)
    return unreadable("the provider's answer holds no access token", answer)


def unreadable(message: str, answer: Incoming) -> RefreshFailedError:
    """Return the error for an answer that cannot be read; with the status 2xx, it holds the answer, to be kept."""
    is_success = 200 <= answer.status < 300
    kept = UnreadAnswer.of(answer.status, answer.body, answer.received_at) if is_success else None
    return RefreshFailedError(message, reason=causes.UNREADABLE_ANSWER, outcome_unknown=True, answer=kept)


def incoming(answer: UnreadAnswer) -> Incoming:
    """Return a kept answer as it came in, without its headers."""
    return Incoming(answer.status, {}, answer.content, answer.received_at)


def _refused(answer: Incoming, members: Members | None, condemns: frozenset[str]) -> VaultError:
    code = error_code(members)
    if code is None and answer.status == 404:
        return ProviderConfigurationError("the token endpoint does not exist (404)", reason=causes.HTTP_404)
    if members is None and answer.status >= 400:  # no OAuth server refuses without JSON; the URL may be wrong
        return ProviderConfigurationError("the provider's refusal cannot be read", reason=causes.UNREADABLE_ANSWER)
    error = refusal(code, retry_after(answer.headers, answer.received_at), condemns)
    claims = members.get("claims") if members is not None else None
    # Microsoft says what its user must prove. So the host can ask for just that.
    if isinstance(error, ReauthorizationRequiredError) and isinstance(claims, str) and _CLAIMS.match(claims):
        return ConsentRequiredError(parameters={"claims": claims}, reason=error.reason)
    return error


def _with_expiry(tokens: TokenSet, received_at: datetime, default_lifetime: timedelta | None) -> TokenSet:
    """Set the expiry by the answer's lifetime, else its expiry time, else a JWT's expiry, else the default lifetime."""
    if tokens.expires_in is not None:
        # Prefer the lifetime to an expiry time, because the provider's clock may differ. The vault counts the lifetime
        # from the moment at which it claimed the account.
        return tokens if tokens.expires_at is None else evolve(tokens, expires_at=None)
    expires_at = tokens.expires_at or jwt_expiry(tokens.access_token)
    if expires_at is not None and expires_at > received_at:
        expires_at = limited_expiry(expires_at, received_at)
        # Set the lifetime too, because it limits the refresh buffer. Without this limit, the vault would refresh a
        # short-lived token on every call.
        return evolve(tokens, expires_at=expires_at, expires_in=expires_at - received_at)
    return evolve(tokens, expires_at=None, expires_in=default_lifetime)


def _secret(value: object) -> Secret | None:
    """Return a token as `Secret`; None if it is no text or number, is empty or too long, or has a lone surrogate."""
    value = token_text(value)
    if not isinstance(value, str) or not value:
        return None
    try:
        return Secret(value)
    except InvalidInputError:
        return None


def _whole_number(digits: str) -> float:
    # Python refuses to read an integer of thousands of digits; such a number must not make the answer unreadable.
    return int(digits) if len(digits) <= _MOST_DIGITS else math.inf


_DECODER = json.JSONDecoder(parse_int=_whole_number)


def answer_members(body: bytes | None) -> Members | None:
    """Return the members of a token endpoint's answer: a JSON object, or a form; None if the body is neither.

    RFC 6749 wants JSON. Some providers send a form, also with the content type text/plain, so the body alone decides.
    """
    members = json_object(body)
    if members is not None or body is None or not _FORM.fullmatch(text := body.strip()):
        return members
    pairs = parse_qsl(text.decode("ascii"), keep_blank_values=True)
    return dict(pairs[:_MOST_MEMBERS])


def json_object(body: bytes | None) -> Members | None:
    """Return the JSON object of a body, which may begin with a guard; None if the body is no JSON object."""
    members = json_value(body)
    return members if isinstance(members, dict) else None


def json_value(body: bytes | None) -> Any:
    """Return the JSON value of a body, which may begin with a guard; None if the body is no JSON."""
    if body is None:
        return None
    body = without_guard(body)
    try:
        # This does what `json.loads` does, but `json.loads` would make a new decoder for each answer.
        return _DECODER.decode(body.decode(json.detect_encoding(body), "surrogatepass"))
    except (ValueError, RecursionError):  # the error holds the body
        # Raise no other error here, because Python would attach this error to it.
        return None
