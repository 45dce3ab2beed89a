"""Writes the reference page of the packaged profiles: ``python -m tests.docs.providers_page``."""

from pathlib import Path

from vault_adapters.providers.profiles import packaged_profile, profiles

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "providers.md"

_HEAD = """# Providers

There is a profile for each of these providers. `refresher(name, client_id, client_secret, ...)` makes a refresher from
it, and `token-vault providers NAME` shows it. Profiles are TOML files; `docs/how-to/example-provider.toml` explains
each key.

† marks a fact that was not found on a page of the provider itself. Such a rotation is taken as strict, and such a
revocation as one that ends all grants of the user, since both do the least harm.

- rotation: what a used refresh token is worth. It works once (strict), for a while after its first use (a time), or
  always (stays).
- access token: its documented lifetime. ✗: a refresh ends the old access token at once.
- unused, at most: the time after which a refresh token lapses if nobody uses it, and the longest life of a grant.
- revocation: what ends with the revoked token: its grant, or all grants of the user for the client. –: the provider has
  no endpoint according to RFC 7009.
"""
_COLUMNS = ("name", "provider", "rotation", "access token", "unused", "at most", "revocation", "token requests")
_GRANTS = {
    "access_token": "the access token is exchanged",
    "api_key": "an API key is exchanged",
    "client_credentials": "an API key is exchanged",
    "none": "API keys that do not expire",
}
_UNITS = ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def written():
    """Return the whole page."""
    found = [packaged_profile(name) for name in profiles()]
    rows = [" | ".join(_COLUMNS), " | ".join("---" for _ in _COLUMNS), *(" | ".join(_row(each)) for each in found)]
    table = "\n".join(f"| {row} |" for row in rows)
    return f"{_HEAD}\n{table}\n\n" + "\n".join(_section(each) for each in found)


def _row(profile):
    facts, answer = profile.rotation, profile.answer
    dies = f" ✗{_mark(profile, 'rotation.old_token_dies')}" if facts.old_token_dies else ""
    return (
        f"[`{profile.name}`](#{_anchor(profile)})",
        profile.title,
        _rotation(profile),
        _told(profile, answer.default_lifetime, "answer.default_lifetime") + dies,
        _told(profile, facts.idle, "rotation.idle"),
        _told(profile, facts.absolute, "rotation.absolute"),
        _revocation(profile),
        _limits(profile),
    )


def _rotation(profile):
    if profile.request.grant != "refresh_token":
        return _GRANTS[profile.request.grant]
    facts = profile.rotation
    if facts.grace is not None:
        return _told(profile, facts.grace, "rotation.grace")
    return {"strict": "strict", "non_rotating": "stays"}[facts.kind] + _mark(profile, "rotation.kind")


def _revocation(profile):
    if profile.revocation_url is None:
        return "–"
    scope = {"grant": "grant", "user_and_client": "user and client"}[profile.revocation.scope]
    return scope + _mark(profile, "revocation.scope")


def _limits(profile):
    limits = profile.limits
    if limits.requests is None:
        return ""
    counted = {"client": "", "account": ", by account"}[limits.counted]
    return f"{limits.requests} in {span(limits.per)}{counted}{_mark(profile, 'limits.requests')}"


def _section(profile):
    lines = [f"## {profile.title}", ""]
    lines += [f"Name: `{profile.name}`. Compared with its sources on {profile.checked}.", ""]
    lines += [*(f"- {quirk}" for quirk in profile.quirks), ""] if profile.quirks else []
    if profile.variables:
        lines += ["Variables:", ""]
        lines += [f"- `{name}`: {each.about}{_default(each)}" for name, each in profile.variables.items()]
        lines.append("")
    if profile.answer.extra:
        lines += [f"Kept with the token: {_names(profile.answer.extra)}.", ""]
    if profile.api_hosts:
        lines += [f"Access tokens may be sent to {_names(profile.api_hosts)}.", ""]
    if profile.unverified:
        lines += [f"Not verified: {_names(profile.unverified)}.", ""]
    pages = dict.fromkeys([*profile.docs, *(page for pages in profile.sources.values() for page in pages)])
    lines += ["Sources:", "", *(f"- <{page}>" for page in pages), ""]
    return "\n".join(lines)


def _names(names):
    return ", ".join(f"`{name}`" for name in names)


def _default(variable):
    return "" if variable.default is None else f" (`{variable.default}` unless given)"


def _anchor(profile):
    kept = "".join(letter for letter in profile.title.lower() if letter.isalnum() or letter in " -")
    return kept.replace(" ", "-")


def _told(profile, value, fact):
    return "" if value is None else span(value) + _mark(profile, fact)


def _mark(profile, fact):
    return "" if profile.is_verified(fact) else "†"


def span(duration):
    """Return a time in the largest unit that fits."""
    seconds = int(duration.total_seconds())
    size, unit = next((size, unit) for size, unit in _UNITS if seconds % size == 0)
    number = seconds // size
    return f"{number} {unit}{'' if number == 1 else 's'}"


if __name__ == "__main__":
    PAGE.write_text(written())
