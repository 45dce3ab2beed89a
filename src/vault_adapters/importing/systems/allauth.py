"""Reads django-allauth's `SocialToken` (releases 0.20 to 65)."""

from collections.abc import Iterator

from vault_adapters.importing.records import Record
from vault_adapters.importing.systems.columns import as_moment
from vault_adapters.importing.systems.tables import Tables
from vault_domain.entities.imported import ImportFailure

_ROWS = """
SELECT t.id, t.token, t.token_secret, t.expires_at, a.user_id, a.provider, a.uid
FROM socialaccount_socialtoken t JOIN socialaccount_socialaccount a ON a.id = t.account_id
ORDER BY t.id
"""
_COUNT = "SELECT count(*) AS rows FROM socialaccount_socialtoken"

OAUTH1 = frozenset(
    {"discogs", "evernote", "fivehundredpx", "flickr", "openstreetmap", "trello", "tumblr", "twitter", "vimeo", "xing"}
)
"""The providers whose `token_secret` is a secret of OAuth 1 and no refresh token."""


def count(tables: Tables) -> int:
    """Return the number of rows that `read` reads."""
    return int(next(tables.select(_COUNT))["rows"])


def read(tables: Tables, only: str | None) -> Iterator[Record | ImportFailure]:
    """Yield a row for each token: the tenant is the user, and the identifier the user's id at the provider."""
    for row in tables.select(_ROWS):
        if row["provider"] in OAUTH1:
            yield ImportFailure(row["id"], "oauth1_token")
            continue
        place = {"tenant_id": row["user_id"], "provider": row["provider"], "identifier": row["uid"]}
        if row["token"]:
            values = {"kind": "access_token", "value": row["token"], "expires_at": as_moment(row["expires_at"])}
            yield Record(row["id"], place | values)
        if row["token_secret"]:
            yield Record(row["id"], place | {"kind": "refresh_token", "value": row["token_secret"]})
