"""The sample data of the demonstration: invented accounts with random values."""

from __future__ import annotations

import secrets
from datetime import timedelta

from attrs import frozen

from vault_domain import Account, Secret, TokenKey, TokenKind, TokenSet

TENANTS = ("acme", "globex", "initech")

ACME_GOOGLE = Account("acme", "google", "ana@acme.example")
GLOBEX_GOOGLE = Account("globex", "google", "ops@globex.example")
GLOBEX_CLERK = Account("globex", "clerk")
INITECH_GOOGLE = Account("initech", "google", "bob@initech.example")
INITECH_WHATSAPP = Account("initech", "whatsapp", "4915550177")

_MAIL = ("https://www.googleapis.com/auth/gmail.send",)


@frozen
class Connection:
    """An account and the answer of its provider's token endpoint."""

    account: Account
    token_set: TokenSet
    label: str | None = None


def connections() -> list[Connection]:
    """Return accounts that were connected through OAuth."""
    hour, two_months = timedelta(hours=1), timedelta(days=60)
    return [
        Connection(ACME_GOOGLE, _google(hour), "Ana"),
        Connection(Account("acme", "whatsapp", "4915550100"), TokenSet(_value("EAA"), expires_in=two_months)),
        Connection(GLOBEX_GOOGLE, _google(timedelta(minutes=4)), "Ops"),
        Connection(INITECH_GOOGLE, _google(timedelta(minutes=40)), "Bob"),
        Connection(INITECH_WHATSAPP, TokenSet(_value("EAA"), expires_in=two_months)),
    ]


def api_keys() -> list[tuple[TokenKey, Secret]]:
    """Return values that do not expire: two API keys, one of which consists of two fields, and a webhook secret."""
    pair = Secret.from_fields(id=_value("gi-"), secret=_value("gi-"))
    return [
        (Account("acme", "greeninvoice").key(TokenKind.API_KEY), pair),
        (GLOBEX_CLERK.key(TokenKind.API_KEY), Secret(_value("sk_test_"))),
        (GLOBEX_CLERK.key(TokenKind.WEBHOOK_SECRET), Secret(_value("whsec_"))),
    ]


def _google(lifetime: timedelta) -> TokenSet:
    return TokenSet(_value("ya29."), refresh_token=_value("1//"), expires_in=lifetime, scopes=_MAIL)


def _value(prefix: str) -> str:
    return prefix + secrets.token_urlsafe(18)
