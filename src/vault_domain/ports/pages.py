"""Pages: lists and counts tokens and accounts, without their values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

from attrs import frozen

from vault_domain.entities.account import Account, AccountInfo, ConnectionState
from vault_domain.entities.measures import AccountCount
from vault_domain.entities.page import Cursor
from vault_domain.entities.refresh_state import AccountRecord
from vault_domain.entities.reports import HealthCount
from vault_domain.entities.suspicion import MOST_CONFIRMATION
from vault_domain.entities.token import RECONNECT_NOTICE, TokenInfo

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

MOST_COUNTED = 50_000
"""Approximate largest number of valid tokens that a health report on all tenants reads; see `count_health`."""


@frozen
class Owned:
    """Selects the tokens of a tenant, sorted by (provider, identifier, kind).

    Attributes:
        tenant_id: the tenant.
        provider: only tokens at this provider; None: at all providers.
    """

    tenant_id: str
    provider: str | None = None

    @staticmethod
    def place(info: TokenInfo) -> Cursor:
        """Return the position of a token in this order."""
        return (info.key.provider, info.key.identifier or "", info.key.kind.value)


@frozen
class Expiring:
    """Selects access tokens of status VALID that expire soon or have expired, sorted by (expires_at, tenant_id, id).

    Attributes:
        within: time before the expiry.
        provider: only tokens at this provider; None: at all providers.
    """

    within: timedelta
    provider: str | None = None

    @staticmethod
    def place(info: TokenInfo) -> Cursor:
        """Return the position of a token in this order; every row of this list has an expiry."""
        return (_micros(info.expires_at), info.key.tenant_id, info.id.hex)


@frozen
class Ending:
    """Selects refresh tokens that expire soon and of which no event has told this; sorted as `Expiring`.

    `transitions.values.is_ending` says when a token expires soon.

    Attributes:
        notice: time before the expiry.
    """

    notice: timedelta

    place = staticmethod(Expiring.place)


@frozen
class Condemned:
    """Selects credentials that a refresh has condemned: their status is INVALID, and they have a `rejected_at`.

    They are sorted by (rejected_at, tenant_id, identifier, kind). A credential that a host has marked invalid has no
    `rejected_at`.

    Attributes:
        provider: the provider's name.
        since: the earliest time of the condemnation, UTC.
        until: the latest time of the condemnation, UTC; None: the present time.
        tenant_id: the tenant; None: all tenants.
        client: only credentials of this client or of an unknown one. If the latest attempt of an account had an
            `Attempt.endpoint`, only this must be the client. None or empty: the credentials of all clients; with an
            empty client, only of accounts whose latest attempt had no endpoint.
        stored_since: only values that were stored at this time or later; None: all values.
    """

    provider: str
    since: datetime
    until: datetime | None = None
    tenant_id: str | None = None
    client: bytes | None = None
    stored_since: datetime | None = None

    @staticmethod
    def place(info: TokenInfo) -> Cursor:
        """Return the position of a credential in this order."""
        return (_micros(info.rejected_at), info.key.tenant_id, info.key.identifier or "", info.key.kind.value)


@frozen
class Refreshed:
    """Selects the access tokens of refreshes that were granted to a client.

    Sorted by (last_refreshed_at, tenant_id, identifier, kind). A value that a host stores, or an import replaces, has a
    `last_refreshed_at` too. So an account counts only if its latest attempt was granted, and began at ``since`` or
    later.

    Attributes:
        provider: the provider's name.
        since: the earliest `last_refreshed_at`, UTC.
        client: the client, as for `Condemned`, but not an unknown one; empty: every client.
    """

    provider: str
    since: datetime
    client: bytes

    @staticmethod
    def place(info: TokenInfo) -> Cursor:
        """Return the position of a token in this order."""
        return (_micros(info.last_refreshed_at), info.key.tenant_id, info.key.identifier or "", info.key.kind.value)


def _micros(time: datetime | None) -> int:
    """Return a time as a number that is exact."""
    return 0 if time is None else (time - _EPOCH) // timedelta(microseconds=1)


TokenQuery = Owned | Expiring | Ending | Condemned | Refreshed
"""Selects tokens, and says in which order they come."""


@frozen
class AccountQuery:
    """Selects accounts; an attribute that is None excludes none.

    Attributes:
        tenant_id: the tenant of the accounts.
        provider: their provider.
        state: return every account in this state. Accounts in other states may be returned too, because no index tells
            all states apart; the caller checks the state of each account. Not together with a tenant.
        text: a text that names them, alone: the beginning of an account's label or of its identifier, or its provider's
            whole name. The text has a to z in place of A to Z, and is in Unicode NFC. The letters A to Z count as a to
            z, and every other character as itself.
        sibling_of: an account, alone: the accounts of other tenants with its provider and identifier that have an
            access or refresh token. The results tell nothing else about the other tenants.
        with_damaged: return accounts with a damaged row too, without what is stored of them.
    """

    tenant_id: str | None = None
    provider: str | None = None
    state: ConnectionState | None = None
    text: str | None = None
    sibling_of: Account | None = None
    with_damaged: bool = False

    @staticmethod
    def place(item: AccountInfo | AccountRecord) -> Cursor:
        """Return the position of an account in the order by which accounts are listed."""
        return (item.account.tenant_id, item.account.provider, item.account.identifier or "")


AnswerPlace = tuple[datetime, UUID]
"""When an answer was kept, and the id of the attempt that got it: its position in the list of kept answers."""


class Pages(Protocol):
    """Lists and counts what is stored. Tokens and accounts with a damaged row are left out.

    A page has at most ``limit`` items. If it has fewer, no other item follows.
    """

    async def tokens(self, query: TokenQuery, *, limit: int, after: Cursor | None) -> list[TokenInfo]:
        """List tokens in the order of the query.

        Args:
            query: which tokens.
            limit: largest number of tokens.
            after: list the tokens after this position, which names what the query's order names, with times in
                microseconds since 1970 and ids in hexadecimal; None: from the first token.
        """

    async def accounts(
        self, query: AccountQuery, *, limit: int, after: Cursor | None
    ) -> tuple[list[AccountRecord], datetime]:
        """List accounts, sorted by (tenant_id, provider, identifier); return them with the store's time.

        An account exists while at least one of its tokens is stored.

        Args:
            query: which accounts.
            limit: largest number of accounts.
            after: list the accounts after this position; None: from the first account.
        """

    async def kept_answers(self, *, limit: int, after: AnswerPlace | None) -> list[tuple[Account, AnswerPlace]]:
        """List the accounts for which an answer is kept that could not be read, the oldest answer first.

        Args:
            limit: largest number of accounts.
            after: list the answers after this position; None: from the first answer.
        """

    async def tenants(self, *, limit: int, after: str | None) -> list[str]:
        """List the tenants that have a token, sorted by their ids, without reading every token.

        Args:
            limit: largest number of tenants.
            after: list the tenants whose ids come after this one; None: from the first tenant.
        """

    async def count_accounts(self) -> list[AccountCount]:
        """Count all tenants' accounts, and those that are due now, by provider.

        This reads all accounts and tokens, so call it seldom.
        """

    async def count_health(
        self,
        tenant_id: str | None,
        buffer: timedelta,
        suspicion: timedelta = MOST_CONFIRMATION,
        notice: timedelta = RECONNECT_NOTICE,
        most: int = MOST_COUNTED,
    ) -> list[HealthCount]:
        """Count tokens by provider and health, as `TokenInfo.health` judges them, without decrypting.

        If ``tenant_id`` is None and there are many more tokens than ``most``, a store may estimate the counts of tokens
        of status VALID from a sample of about ``most`` tokens. It counts all tokens of other statuses, because even a
        few of them matter.
        """
