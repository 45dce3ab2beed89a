"""Records the metadata of tokens in the chain of the audit log, and compares stored tokens with these records."""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from attrs import frozen

from vault_domain.entities.account import TokenKey, TokenKind
from vault_domain.entities.audit import READ_ACTIONS, AuditAction, AuditEvent
from vault_domain.entities.chain_records import ChainEnd
from vault_domain.entities.page import MAX_PAGE
from vault_domain.entities.token import DamagedToken, StoredToken
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
            stored = {row.key: row for row in rows if isinstance(row, StoredToken)}
            damaged = {row.key for row in rows if isinstance(row, DamagedToken)}
            for each in (each for each in batch if each not in damaged):
                made.setdefault(each.tenant_id, []).extend(key.records(each, stored.get(each), ends[each.tenant_id]))
        return made

    async def find(self, keys: Sequence[TokenKey]) -> list[tuple[StoredToken, ChainEnd | None]]:
        """Return what is stored under these keys and can be read, with the ends of the tenants' chains."""
        found: list[tuple[StoredToken, ChainEnd | None]] = []
        for start in range(0, len(keys), _AT_ONCE):
            batch = keys[start : start + _AT_ONCE]
            rows, _ = await self._accounts.get_many(batch)
            ends = await self._audit.chain_ends(sorted({key.tenant_id for key in batch}))
            found += [(row, ends.get(row.key.tenant_id)) for row in rows if isinstance(row, StoredToken)]
        return found

    async def stored(self) -> AsyncIterator[tuple[StoredToken, ChainEnd | None]]:
        """Yield all stored tokens that can be read, with the ends of their tenants' chains."""
        last: str | None = None
        while tenants := await self._pages.tenants(limit=MAX_PAGE, after=last):
            last = tenants[-1]
            for tenant_id in tenants:
                place = None
                while infos := await self._pages.tokens(Owned(tenant_id), limit=_AT_ONCE, after=place):
                    place = Owned.place(infos[-1])
                    for found in await self.find([info.key for info in infos]):
                        yield found


_AT_ONCE = 200
"""Number of tokens in one query; other callers of this process wait while their MACs are computed."""


@frozen
class _Known:
    """The newest record under one name, and where it is."""

    record: Record
    chain: bytes
    seal: int


class Recorded:
    """The newest record of each token, as far as seals have them."""

    def __init__(self) -> None:
        self._known: dict[bytes, _Known] = {}

    def learn(self, segment: Segment, seal: int) -> None:
        """Note the records of a segment of a seal."""
        self._known.update((record.token, _Known(record, segment.chain, seal)) for record in segment.records)

    def forget(self) -> None:
        """Forget all records."""
        self._known.clear()

    def agrees(self, records: tuple[Record, ...]) -> bool | None:
        """Return whether a token whose records would be these is stored as it was recorded; None: it was not recorded.

        A value under a data key of which no record tells was re-encrypted since. A value under a data key of which only
        an older record tells was put back, because a re-encryption never goes back to an older data key.
        """
        of_metadata, *of_value = records
        newest = self._known.get(of_metadata.token)
        if newest is None:
            return None
        known = [(each, self._known[each.token]) for each in of_value if each.token in self._known]
        return _is_same(of_metadata, newest) and all(
            _is_same(each, other) and other.seal >= newest.seal for each, other in known
        )

    def present(self, closed: AbstractSet[bytes]) -> set[bytes]:
        """Return the names of the tokens that are stored according to their records, but those of closed chains."""
        return {
            name
            for name, known in self._known.items()
            if any(known.record.state) and known.chain not in closed and not known.record.is_of_value
        }


def _is_same(record: Record, known: _Known) -> bool:
    return hmac.compare_digest(record.state, known.record.state)
