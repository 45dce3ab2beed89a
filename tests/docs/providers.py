"""Writes docs/reference/providers.md from the profiles: ``python -m tests.docs.providers``."""

from pathlib import Path

from vault_adapters.providers.profiles import Profile, packaged_profile, profiles
from vault_adapters.providers.profiles.shown import (
    connects,
    duration,
    errors,
    facts,
    limits,
    revocation,
    rotation,
    unverified,
)

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "providers.md"

_INTRODUCTION = """# Providers

`refresher(name, client_id, client_secret)` makes a refresher for each of these providers from the provider's profile, a
file of the package. API keys that do not expire need none. This page is written from the profiles. `token-vault
providers NAME` shows one of them.

Each section lists the provider's own pages from which the facts come, and the day on which they were checked. A fact
that these pages do not state is marked *unverified*: it comes from another source, or it is a careful value, which is
safe whatever the provider does. In the column *source*, *pages* stands for the section's pages. A [profile of your
own](../how-to/write-a-profile.md) can replace any profile.

- *connects* says whether a [`Connector`](../how-to/connect-accounts.md) can connect accounts.
- *refresh* says whether there is anything to refresh, and what a refresh does to the old tokens. With `strict`, a used
  refresh token does not work any more; with `grace`, it works for the stated time longer; with `non-rotating`, it
  stays. An access token works until it expires, unless the column says that a refresh ends the old one.
- *access token* is the lifetime of an access token if the provider's answer does not state it.
- *idle life* is the time after which a refresh token lapses if it is not used.
- *longest life* is the time after which a refresh token ends, however often it is used.
- *revocation ends* one grant, or all grants of the user for the client.
- *limits* are the request limits of the token endpoint. The vault keeps to them.
- *unverified* is the number of unverified facts, and the number of all facts.

A table with the columns *the provider says* and *it means* lists the provider's own errors. *Grant dead* condemns the
credential. *User needed* means that no refresh succeeds until the user acts at the provider; the credential is
condemned too. *Client refused* is an error of your client, *not now* is tried again later, and after *unknown* nobody
knows whether the credential was spent.

"""

_COLUMNS = (
    "name",
    "title",
    "connects",
    "refresh",
    "access token",
    "idle life",
    "longest life",
    "revocation ends",
    "limits",
    "unverified",
)


def page():
    """Return the page's text."""
    found = [packaged_profile(name) for name in profiles()]
    rows = [
        (
            f"[{each.name}](#{each.name})",
            each.title,
            connects(each),
            rotation(each),
            duration(each.answer.default_lifetime),
            duration(each.rotation.idle),
            duration(each.rotation.absolute),
            revocation(each),
            limits(each),
            unverified(each),
        )
        for each in found
    ]
    return _INTRODUCTION + table(_COLUMNS, rows) + "".join(map(section, found))


def section(profile: Profile):
    """Return the section of one provider."""
    lines = [
        f"\n({profile.name})=\n## {profile.title}\n\n`{profile.name}`, checked on {profile.checked.isoformat()}.\n\n"
    ]
    lines += [f"- {quirk}\n" for quirk in profile.quirks]
    lines += ["\n"] * bool(profile.quirks)
    rows = [(f"`{name}`", code(value), source(profile, name)) for name, value in facts(profile)]
    lines.append(table(("fact", "value", "source"), rows))
    if profile.errors.rules:
        rows = [(code(said), means, source(profile, "errors.rules")) for said, means in errors(profile)]
        lines.append("\n" + table(("the provider says", "it means", "source"), rows))
    if profile.variables:
        rows = [
            (f"`{name}`", escaped(each.about), code(each.default or "-")) for name, each in profile.variables.items()
        ]
        lines.append("\n" + table(("variable", "what it is", "default"), rows))
    lines.append("\nPages: " + ", ".join(f"<{page}>" for page in profile.docs) + "\n")
    return "".join(lines)


def source(profile, fact):
    """Return where a fact is from."""
    if not profile.is_verified(fact):
        return "*unverified*"
    own = profile.sources_of(fact)
    return "pages" if own == profile.docs else " ".join(f"<{page}>" for page in own)


def table(columns, rows):
    """Return a table in Markdown."""
    head = [columns, ["---"] * len(columns)]
    return "".join(f"| {' | '.join(row)} |\n" for row in [*head, *rows])


def code(text):
    """Return a text as code in a table."""
    return f"`{escaped(text)}`" if text.strip("'` ") else f"`{text}`"


def escaped(text):
    """Return a text without what would end a cell of a table."""
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page())
