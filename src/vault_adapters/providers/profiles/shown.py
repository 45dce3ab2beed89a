"""Shows a profile's facts as plain values and as texts, for the command line and the documentation."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

import attrs

from vault_adapters.providers.profiles.profile import Profile, fact_names

_UNITS = (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1))
# Facts that are shown even if they have their default values; other facts with their default values are left out.
_ALWAYS = ("client_auth", "rotation.kind", "rotation.old_token_dies", "revocation.scope", "authorization.pkce")


def plain(value: Any) -> Any:
    """Return a part of a profile as values that `json.dumps` takes; durations are in seconds."""
    if attrs.has(type(value)):
        return {item.name: plain(getattr(value, item.name)) for item in attrs.fields(type(value))}
    if isinstance(value, Mapping):
        return {key: plain(found) for key, found in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, re.Pattern):
        return value.pattern
    if isinstance(value, enum.Enum):
        return value.value
    return value.isoformat() if isinstance(value, date) else value


def facts(profile: Profile) -> list[tuple[str, str]]:
    """Return the names and values of the profile's facts, as texts; `errors` returns the provider's own errors.

    A fact with its default value is left out, unless it is one of `_ALWAYS`. The facts of `_ALWAYS` are left out only
    if they do not apply, such as the rotation policy of a provider whose API keys do not expire.
    """
    refreshes, authorizes = profile.request.grant != "none", profile.authorization_url is not None
    left_out = {
        "errors.rules",
        *(() if refreshes else _ALWAYS),
        *(() if profile.revocation_url else ("revocation.scope",)),
        *(() if authorizes else ("authorization.pkce",)),
    }
    return [
        (name, text(value))
        for name in sorted(fact_names() - left_out)
        if (value := _value(profile, name)) is not None and (name in _ALWAYS or value != _default(name))
    ]


def errors(profile: Profile) -> list[tuple[str, str]]:
    """Return the provider's own errors as texts, each with its meaning."""
    return [
        (
            ", ".join(
                part
                for part in (
                    rule.code or "",
                    f"status {rule.status}" if rule.status else "",
                    f"message: {rule.message.pattern}" if rule.message else "",
                )
                if part
            ),
            rule.means.replace("_", " "),
        )
        for rule in profile.errors.rules
    ]


def unverified(profile: Profile) -> str:
    """Return how many of the profile's facts are unverified, such as "5 of 21"."""
    names = [name for name, _ in facts(profile)] + ["errors.rules"] * bool(profile.errors.rules)
    return f"{sum(not profile.is_verified(name) for name in names)} of {len(names)}"


def _value(profile: Profile, name: str) -> Any:
    section, _, key = name.partition(".")
    value = getattr(profile, section)
    if key:
        return None if value is None else getattr(value, key)
    return None if attrs.has(type(value)) else value


def _default(name: str) -> Any:
    section, _, key = name.partition(".")
    default: Any = getattr(attrs.fields(Profile), section).default
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]  # attrs.Factory is a class
        default = default.factory()
    return getattr(default, key, None) if key else default


def text(value: Any) -> str:
    """Return a value as a short text."""
    if isinstance(value, timedelta):
        return duration(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {text(found)}" for key, found in value.items())
    if isinstance(value, (tuple, list)):
        return "; ".join(text(item) for item in value)
    if attrs.has(type(value)):
        parts = ((item.name, getattr(value, item.name)) for item in attrs.fields(type(value)))
        return ", ".join(f"{name} {text(found)}" for name, found in parts if found is not None)
    found = plain(value)
    return repr(found) if isinstance(found, str) and not found.strip() else str(found)


def duration(value: timedelta | None) -> str:
    """Return a duration in the largest unit that divides it, such as "90 minutes"; a dash for None."""
    if value is None:
        return "-"
    seconds = round(value.total_seconds())
    name, size = next((name, size) for name, size in _UNITS if seconds % size == 0)
    return f"{seconds // size} {name}{'' if seconds == size else 's'}"


def rotation(profile: Profile) -> str:
    """Return the effect of a refresh on the tokens, in a few words."""
    facts = profile.rotation
    if "none" in (profile.request.grant, facts.kind):
        return "nothing to refresh"
    if profile.request.grant == "access_token":
        return "the access token is exchanged before it expires"
    kind = f"grace, {duration(facts.grace)}" if facts.grace else facts.kind.replace("_", "-")
    return f"{kind}; the old access token ends" if facts.old_token_dies else kind


def connects(profile: Profile) -> str:
    """Return whether a `Connector` can connect accounts at the provider."""
    return "yes" if profile.authorization_url and profile.token_url and profile.identifier else "-"


def limits(profile: Profile) -> str:
    """Return how many token requests the provider accepts, in a few words."""
    found = profile.limits
    parts = []
    if found.requests is not None:
        parts.append(f"{found.requests} in {duration(found.per)} for each {found.counted}")
    if found.concurrency is not None:
        parts.append(f"{found.concurrency} at a time")
    return ", ".join(parts) or "-"


def revocation(profile: Profile) -> str:
    """Return what a revocation ends, in a few words."""
    if profile.revocation_url is None:
        return "-"
    return "all grants of the user" if profile.revocation.scope == "user_and_client" else "the grant"
