"""Records the metadata of tokens in the chain of the audit log, and compares stored tokens with these records."""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from vault_domain.entities.account import TokenKey, TokenKind
from vault_domain.entities.audit import READ_ACTIONS, AuditAction, AuditEvent
from vault_domain.entities.chain_records import ChainEnd
from vault_domain.entities.page import MAX_PAGE
from vault_domain.entities.token import DamagedToken, StoredToken, TokenInfo
from vault_domain.ports.accounts import Accounts
from vault_domain.ports.audit_log import AuditLog
from vault_domain.ports.pages import Owned, Pages
from vault_domain.rules.audit_chain import ChainKey, Record, Segment

_OF_A_REFRESH = (TokenKind.ACCESS_TOKEN, TokenKind.REFRESH_TOKEN)
"""The kinds of tokens that the event of a refresh may be about."""


class TokenRecorder:
    """Makes the records of tokens, and lists what is stored to be compared with them.

    Args:
        audit, pages: where the ends of chains and the tokens are.
        accounts: the accounts; no row that is read from them for a record is remembered.
    """

    def __init__(self, audit: AuditLog, pages: Pages, accounts: Accounts) -> None:
        self._audit = audit
        self._pages = pages
        self._accounts = accounts

    async def records(
        self, key: ChainKey, events: Iterable[AuditEvent], ends: Mapping[str, ChainEnd]
    ) -> dict[str, list[Record]]:
        """Return, by tenant, the records of the tokens that events are about, as these tokens are stored now.

        A damaged row gets no record, so that it differs from the one before. The tokens of tenants without an end of a
        chain are left out.
        """
        told: dict[TokenKey, None] = {}
        for event in events:
            account, kind = event.account, event.kind
            if account is None or kind is None or event.action in READ_ACTIONS or account.tenant_id not in ends:
                continue
            kinds = _OF_A_REFRESH if event.action is AuditAction.TOKEN_REFRESHED else (kind,)
            told.update((account.key(each), None) for each in kinds)
        keys, made = list(told), dict[str, list[Record]]()
        for start in range(0, len(keys), _AT_ONCE):
            batch = keys[start : start + _AT_ONCE]
            rows, _ = await self._accounts.get_many(batch)
            stored = {row.key: row.info for row in rows if isinstance(row, StoredToken)}
            damaged = {row.key for row in rows if isinstance(row, DamagedToken)}
            for each in (each for each in batch if each not in damaged):
                record = key.record(each, stored.get(each), ends[each.tenant_id])
                made.setdefault(each.tenant_id, []).append(record)
        return made

    async def find(self, keys: Sequence[TokenKey]) -> list[tuple[TokenKey, TokenInfo, ChainEnd]]:
        """Return what is stored under these keys and can be read, with the ends of the tenants' chains."""
        found = []
        for start in range(0, len(keys), _AT_ONCE):
            batch = keys[start : start + _AT_ONCE]
            rows, _ = await self._accounts.get_many(batch)
            ends = await self._audit.chain_ends(sorted({key.tenant_id for key in batch}))
            infos = [row.info for row in rows if isinstance(row, StoredToken) and row.key.tenant_id in ends]
            found += [(info.key, info, ends[info.key.tenant_id]) for info in infos]
        return found

    async def stored(self) -> AsyncIterator[tuple[TokenInfo, ChainEnd | None]]:
        """Yield all stored tokens with the ends of their tenants' chains."""
        last: str | None = None
        while tenants := await self._pages.tenants(limit=MAX_PAGE, after=last):
            last = tenants[-1]
            for tenant_id in tenants:
                end = (await self._audit.chain_ends([tenant_id])).get(tenant_id)
                async for info in self._tokens(tenant_id):
                    yield info, end

    async def _tokens(self, tenant_id: str) -> AsyncIterator[TokenInfo]:
        place = None
        while found := await self._pages.tokens(Owned(tenant_id), limit=_AT_ONCE, after=place):
            place = Owned.place(found[-1])
            for info in found:
                yield info


_AT_ONCE = 1000


class Recorded:
    """The newest record of each token, as far as seals have them."""

    def __init__(self) -> None:
        self._states: dict[bytes, tuple[bytes, bytes]] = {}

    def learn(self, segment: Segment) -> None:
        """Note the records of a segment."""
        for record in segment.records:
            self._states[record.token] = record.state, segment.chain

    def forget(self) -> None:
        """Forget all records."""
        self._states.clear()

    def agrees(self, chain_key: ChainKey, key: TokenKey, info: TokenInfo | None, end: ChainEnd | None) -> bool | None:
        """Return whether a token is stored as it was recorded; None: it was not recorded."""
        record = None if end is None else chain_key.record(key, info, end)
        known = None if record is None else self._states.get(record.token)
        return None if record is None or known is None else hmac.compare_digest(record.state, known[0])

    def has(self, record: Record) -> bool:
        """Return whether this is the newest record of its token."""
        known = self._states.get(record.token)
        return known is not None and hmac.compare_digest(record.state, known[0])

    def present(self, closed: AbstractSet[bytes]) -> set[bytes]:
        """Return the names of the tokens that are stored according to their records, but those of closed chains."""
        return {token for token, (state, chain) in self._states.items() if any(state) and chain not in closed}
