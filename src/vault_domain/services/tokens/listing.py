"""Lists tokens, accounts, tenants and audit events page by page, without decrypting."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from attrs import evolve

from vault_domain.entities.account import AccountInfo, ConnectionState, TokenKind
from vault_domain.entities.audit import AuditEvent
from vault_domain.entities.page import Cursor, Page, decode_cursor, make_page
from vault_domain.entities.refresh_state import AccountRecord
from vault_domain.entities.text import MCP_CLIENTS
from vault_domain.entities.token import TokenInfo
from vault_domain.ports.audit_log import AuditLog, Sought
from vault_domain.ports.cipher import Cipher
from vault_domain.ports.keys import Keys
from vault_domain.ports.pages import AccountQuery, Expiring, Owned, Pages
from vault_domain.rules.connection import describe_account
from vault_domain.services.tokens.vault_seal import VaultSeal

_MOST_JUDGED = 1000
"""Number of a tenant's accounts after which `accounts` lists the accounts of all tenants instead.

`accounts` does so only if it is asked for a state other than ``connected``. For such a state, that
list leaves out most connected accounts, but it reads the remaining accounts of all tenants. Most tenants have fewer
accounts than `_MOST_JUDGED`. For them, it would read more than the tenant's own list.
"""


class ListingService:
    """Returns pages of tokens, accounts, tenants and audit events."""

    def __init__(
        self,
        pages: Pages,
        audit: AuditLog,
        spends: Mapping[str, TokenKind],
        keys: Keys,
        cipher: Cipher,
    ) -> None:
        self._pages = pages
        self._audit = audit
        self._spends = spends
        self._cipher = cipher
        self._seal = VaultSeal(keys)

    async def expiring(
        self, within: timedelta, *, provider: str | None, limit: int, after: str | None
    ) -> Page[TokenInfo]:
        """Return access tokens of status VALID that expire within the given time or have already expired."""
        position = decode_cursor(after, int, str, str)
        rows = await self._pages.tokens(Expiring(within, provider), limit=limit + 1, after=position)
        return make_page(rows, limit, Expiring.place)

    async def tokens(self, tenant_id: str, *, provider: str | None, limit: int, after: str | None) -> Page[TokenInfo]:
        """Return a tenant's tokens, sorted by provider, identifier and kind."""
        position = decode_cursor(after, str, str, str)
        rows = await self._pages.tokens(Owned(tenant_id, provider), limit=limit + 1, after=position)
        return make_page(rows, limit, Owned.place)

    async def tenants(self, *, limit: int, after: str | None) -> Page[str]:
        """Return the tenants that have tokens, sorted by their ids."""
        position = decode_cursor(after, str)
        last = None if position is None else str(position[0])
        return make_page(await self._pages.tenants(limit=limit + 1, after=last), limit, _by_itself)

    async def all_accounts(
        self, *, provider: str | None, state: ConnectionState | None, limit: int, after: str | None
    ) -> Page[AccountInfo]:
        """Return all tenants' accounts, sorted by tenant, provider and identifier; see `accounts`.

        For a state other than ``connected``, the store leaves out most connected accounts, also those that are retrying
        only because their tenant's own master key cannot be used.
        """
        return await self._all(AccountQuery(provider=provider, state=state), state, limit, after)

    async def find(self, text: str, *, limit: int, after: str | None) -> Page[AccountInfo]:
        """Return the accounts of all tenants that a text names; see `AccountQuery`."""
        return await self._all(AccountQuery(text=text), None, limit, after)

    async def _all(
        self, query: AccountQuery, state: ConnectionState | None, limit: int, after: str | None
    ) -> Page[AccountInfo]:
        position, found = decode_cursor(after, str, str, str), list[AccountInfo]()
        while len(found) <= limit:
            records, now = await self._pages.accounts(query, limit=limit + 1, after=position)
            found += await self._all_described(records, now, state)
            if len(records) <= limit:
                break
            position = AccountQuery.place(records[-1])
        return make_page(found, limit, AccountQuery.place)

    async def accounts(
        self,
        tenant_id: str,
        *,
        provider: str | None,
        state: ConnectionState | None,
        limit: int,
        after: str | None,
    ) -> Page[AccountInfo]:
        """Return a tenant's accounts, sorted by provider and identifier.

        The connection state is not stored. So this method reads accounts of all states and filters them. If ``state``
        is given and is not ``connected``, it goes on with the list of all tenants after `_MOST_JUDGED`
        accounts, because the indexes for such a state leave out most connected accounts.
        """
        position = decode_cursor(after, str, str)
        found: list[AccountInfo] = []
        judged, problems = 0, await self._cipher.key_problems([tenant_id])
        while len(found) <= limit:
            is_narrowed = state not in (None, ConnectionState.CONNECTED) and judged >= _MOST_JUDGED and not problems
            query = AccountQuery(provider=provider, state=state) if is_narrowed else AccountQuery(tenant_id, provider)
            records, now = await self._pages.accounts(query, limit=limit + 1, after=position and (tenant_id, *position))
            own = [record for record in records if record.account.tenant_id == tenant_id]
            found += self._described(own, now, state, problems)
            if len(own) <= limit:
                break
            position, judged = _by_account(own[-1]), judged + len(own)
        return make_page(found, limit, _by_account)

    async def _all_described(
        self, records: Sequence[AccountRecord], now: datetime, state: ConnectionState | None
    ) -> list[AccountInfo]:
        problems = await self._cipher.key_problems({record.account.tenant_id for record in records})
        return self._described(records, now, state, problems)

    def _described(
        self,
        records: Sequence[AccountRecord],
        now: datetime,
        state: ConnectionState | None,
        problems: Mapping[str, str],
    ) -> list[AccountInfo]:
        infos = (
            describe_account(record, now, self._spends.get(account.provider), problems.get(account.tenant_id))
            for record in records
            for account in (record.account,)
            if account.provider != MCP_CLIENTS  # registrations of OAuth clients, and nobody's accounts
        )
        return [info for info in infos if state is None or info.state is state]

    async def latest_events(self, tenant_id: str | None, sought: Sought, *, limit: int) -> Page[AuditEvent]:
        """Return the latest events that match ``sought``; the page's ``next`` is the end of the log at this moment."""
        seal = await self._seal.get()
        end = await self._audit.latest(tenant_id, Sought(), limit=1)
        last = (0, 0) if not end else _of_event(end[0])
        found = await self._audit.latest(tenant_id, sought, limit=limit)
        places = [(event, _of_event(event)) for event in found]
        events = [evolve(event, cursor=seal.seal(place, tenant_id)) for event, place in places if place <= last]
        return Page(events, seal.seal(last, tenant_id))

    async def events(self, tenant_id: str | None, *, limit: int, after: str | None) -> Page[AuditEvent]:
        """Return audit events; the events of each key come in the order of its generations."""
        seal = await self._seal.get()
        found = await self._audit.page(tenant_id, limit=limit + 1, after=seal.open(after, tenant_id))
        events = [evolve(event, cursor=seal.seal(_of_event(event), tenant_id)) for event in found[:limit]]
        return Page(events, events[-1].cursor if len(found) > limit else None)


def _of_event(event: AuditEvent) -> tuple[int, int]:
    position = decode_cursor(event.cursor, int, int)
    assert position is not None  # noqa: S101 - the port promises a cursor for each event
    first, second = position
    return int(first), int(second)


def _by_account(item: AccountInfo | AccountRecord) -> Cursor:
    return (item.account.provider, item.account.identifier or "")


def _by_itself(tenant_id: str) -> Cursor:
    return (tenant_id,)
