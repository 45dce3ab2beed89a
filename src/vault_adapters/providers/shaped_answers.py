"""Reads a provider's answers by its profile, which says where an answer's parts are and what an error means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias

from attrs import evolve

from vault_adapters.providers.answers import Members, read_answer
from vault_adapters.providers.expiry import retry_after
from vault_adapters.providers.http import Incoming, body_matters
from vault_adapters.providers.members import member_at, text_of
from vault_adapters.providers.oauth_errors import CONDEMNS_GRANT, refusal
from vault_adapters.providers.profiles.facts import ErrorMap
from vault_adapters.providers.profiles.profile import Profile
from vault_adapters.providers.profiles.shapes import UNITS, AnswerShape
from vault_domain.entities.causes import LOGIN_RESTRICTED
from vault_domain.entities.errors import VaultError
from vault_domain.entities.extra import fitting
from vault_domain.entities.token_set import TokenSet

Prepared: TypeAlias = Callable[[Members], Members]

_CODES = {
    "grant_dead": "invalid_grant",
    "client_refused": "invalid_client",
    "user_needed": "interaction_required",
    "not_now": "temporarily_unavailable",
    "restricted": LOGIN_RESTRICTED,
    "unknown": "server_error",
}
"""The registered OAuth error code, or the cause, for each `ErrorRule.means`. Errors never name a provider's text."""

_LONGEST_MESSAGE = 4096
_MILLISECONDS_FROM = 100_000_000_000  # as seconds, this would be the year 5138


def read_shaped(
    answer: Incoming,
    profile: Profile,
    condemns: frozenset[str] = CONDEMNS_GRANT,
    prepared: Prepared | None = None,
) -> TokenSet | VaultError:
    """Return the token set, or the error to raise; see `read_answer`.

    Args:
        answer: status, headers, body and time of receipt.
        profile: says where the parts of an answer are, and what errors mean.
        condemns: the error codes of a permanently invalid credential.
        prepared: changes the members of an answer before the profile's rules are applied to them.
    """
    if not body_matters(answer.status):
        code = _meaning(profile.errors, answer.status, None)
        if code is not None:
            return refusal(code, retry_after(answer.headers, answer.received_at), condemns)
    kept: dict[str, str] = {}

    def dialect(status: int, members: Members | None) -> Members | None:
        members = prepared(members) if prepared is not None and members is not None else members
        shaped = as_rfc(profile.answer, members) if members is not None else {}
        if status < 300 and shaped.get("access_token"):
            kept.update(extras_of(profile.answer, members or {}))
            return shaped
        code = _meaning(profile.errors, status, members)
        shaped |= {"claims": members["claims"]} if members is not None and "claims" in members else {}
        if code is not None:
            return {**shaped, "error": code}
        if members is None:
            return None
        # Errors may have the RFC's form even if the provider has its own form, for example if a gateway answers.
        own = member_at(members, profile.errors.code)
        return {**shaped, "error": members.get("error") if own is None else own}

    result = read_answer(answer, dialect=dialect, condemns=condemns, default_lifetime=profile.answer.default_lifetime)
    return evolve(result, extra=kept) if isinstance(result, TokenSet) and kept else result


def read_token_set(profile: Profile, answer: Mapping[str, Any], received_at: datetime | None = None) -> TokenSet:
    """Read the tokens of an answer to a request that is no refresh, such as the exchange of an authorization code.

    Args:
        profile: the provider's profile.
        answer: the decoded JSON object.
        received_at: time of the answer, zone-aware; see `TokenSet.from_response`.

    Raises:
        InvalidInputError: there is no usable access token. The message repeats nothing of the answer.
    """
    members = as_rfc(profile.answer, answer)
    tokens = TokenSet.from_response(members, received_at)
    if tokens.refresh_token is None:
        # Many providers give tokens that never expire, without a refresh token, if the app is configured so.
        return evolve(tokens, extra=extras_of(profile.answer, answer))
    if tokens.expires_in is None and tokens.expires_at is None:
        tokens = evolve(tokens, expires_in=profile.answer.default_lifetime)
    # A stored lapse is final: nobody asks the provider again. So an assumption is not stored.
    if tokens.refresh_token_expires_in is None and profile.is_verified("rotation.absolute"):
        tokens = evolve(tokens, refresh_token_expires_in=profile.rotation.absolute)
    return evolve(tokens, extra=extras_of(profile.answer, answer))


def as_rfc(shape: AnswerShape, answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return an answer's parts under the names that RFC 6749 section 5.1 gives them."""
    place = _place(shape, answer)
    usual = ("refresh_token_expires_in", "refresh_expires_in", "x_refresh_token_expires_in", "expires_at")
    members = {name: place[name] for name in usual if name in place}
    members |= {
        "access_token": member_at(place, shape.access_token),
        "refresh_token": member_at(place, shape.refresh_token),
        "scope": _scope(member_at(place, shape.scope), shape.scope_separator),
        "token_type": member_at(place, shape.token_type),
        "expires_in": _seconds(member_at(place, shape.lifetime), UNITS[shape.lifetime_unit]),
    }
    if shape.expires_at is not None:
        members["expires_at"] = _epoch(member_at(place, shape.expires_at))
    if shape.refresh_lifetime is not None:
        members["refresh_token_expires_in"] = member_at(place, shape.refresh_lifetime)
    return {name: value for name, value in members.items() if value is not None}


def is_in_place(shape: AnswerShape, answer: Mapping[str, Any]) -> bool:
    """Return whether an answer to a code may hold tokens of this profile.

    If it may hold those of other profiles too (`AnswerShape.also`), they must be within one of the profile's objects.
    """
    return not shape.within or not shape.also or _place(shape, answer) is not answer


def extras_of(shape: AnswerShape, answer: Mapping[str, Any]) -> dict[str, str]:
    """Return the members that are kept with the token, as far as they are texts; see `text_of`."""
    found = {name: member_at(answer, path) for name, path in shape.extra.items()}
    texts = {name: text_of(value) for name, value in found.items()}
    return fitting({name: text for name, text in texts.items() if text})


def _meaning(errors: ErrorMap, status: int, members: Members | None) -> str | None:
    """Return the code of the first rule that fits, or None. The answer's error message goes to the rules only."""
    code = None if members is None else member_at(members, errors.code)
    message = None if members is None else member_at(members, errors.message)
    shown = text_of(code)
    text = message[:_LONGEST_MESSAGE] if isinstance(message, str) else None
    for rule in errors.rules:
        if rule.fits(shown, status, text):
            return _CODES[rule.means]
    return None


def _place(shape: AnswerShape, answer: Mapping[str, Any]) -> Mapping[str, Any]:
    for path in shape.within:
        place = member_at(answer, path)
        if isinstance(place, Mapping) and member_at(place, shape.access_token):
            return place
    return answer


def _scope(value: Any, separator: str) -> Any:
    return value.replace(separator, " ") if isinstance(value, str) else value


def _seconds(value: Any, unit: float) -> Any:
    if unit == 1.0 or isinstance(value, bool):
        return value
    try:
        return float(value) * unit
    except (TypeError, ValueError, OverflowError):
        return None


def _epoch(value: Any) -> Any:
    """Convert a time to Unix seconds; ``value`` is in seconds, in milliseconds, or a text as in RFC 3339."""
    if isinstance(value, str) and not value.isdecimal():
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    number = float(value) if isinstance(value, str) else value
    return number / 1000 if isinstance(number, (int, float)) and number >= _MILLISECONDS_FROM else number
