"""Records the metadata of tokens in the chain of the audit log, and compares stored tokens with these records."""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator, Iterable, Mapping
from collections.abc import Set as AbstractSet

from vault_domain.entities.account import Account, TokenKey, TokenKind
from vault_domain.entities.audit import READ_ACTIONS, AuditEvent
from vault_domain.entities.chain_records import ChainEnd
from vault_domain.entities.page import MAX_PAGE
from vault_domain.entities.token import TokenInfo
from vault_domain.ports.audit_log import AuditLog
from vault_domain.ports.pages import Owned, Pages
from vault_domain.rules.audit_chain import ChainKey, Record, Segment, chain_of


class TokenRecorder:
    """Makes the records of tokens, and lists what is stored to be compared with them."""

    def __init__(self, audit: AuditLog, pages: Pages) -> None:
        self._audit = audit
        self._pages = pages

    async def records(
        self, key: ChainKey, events: Iterable[AuditEvent], ends: Mapping[str, ChainEnd]
    ) -> dict[str, list[Record]]:
        """Return, by tenant, the records of the tokens that events are about, as these tokens are stored now.

        An event may be about several tokens, as that of a refresh, so all tokens of its account are recorded. The
        tokens of tenants without an end of a chain are left out.
        """
        told: dict[Account, set[TokenKind]] = {}
        for event in events:
            if event.account is not None and event.action not in READ_ACTIONS and chain_of(event) in ends:
                told.setdefault(event.account, set()).update({event.kind} if event.kind else ())
        made: dict[str, list[Record]] = {}
        for account, kinds in told.items():
            end = ends[account.tenant_id]
            stored = {info.key.kind: info for info in await self._tokens_of(account)}
            for kind in sorted(kinds | stored.keys()):
                made.setdefault(account.tenant_id, []).append(key.record(account.key(kind), stored.get(kind), end))
        return made

    async def find(self, key: TokenKey) -> TokenInfo | None:
        """Return the metadata of a stored token, or None."""
        return next((info for info in await self._tokens_of(key.account) if info.key.kind is key.kind), None)

    async def _tokens_of(self, account: Account) -> list[TokenInfo]:
        query, start = Owned(account.tenant_id, account.provider), (account.provider, account.identifier or "", "")
        found = await self._pages.tokens(query, limit=len(TokenKind), after=start)
        return [info for info in found if info.key.identifier == account.identifier]

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

    def agrees(self, chain_key: ChainKey, key: TokenKey, info: TokenInfo | None, end: ChainEnd | None) -> bool | None:
        """Return whether a token is stored as it was recorded; None: it was not recorded."""
        record = None if end is None else chain_key.record(key, info, end)
        known = None if record is None else self._states.get(record.token)
        return None if record is None or known is None else hmac.compare_digest(record.state, known[0])

    def present(self, closed: AbstractSet[bytes]) -> set[bytes]:
        """Return the names of the tokens that are stored according to their records, but those of closed chains."""
        return {token for token, (state, chain) in self._states.items() if any(state) and chain not in closed}
