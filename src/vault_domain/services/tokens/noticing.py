"""Wraps `Accounts`, so that `RememberedRows` is told which rows this process reads and writes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar, cast

from vault_domain.entities.account import TokenKind, access_key
from vault_domain.entities.token import StoredToken
from vault_domain.ports.change import Change
from vault_domain.ports.late_writes import LateWrites

if TYPE_CHECKING:
    from vault_domain.entities.account import Account, TokenKey
    from vault_domain.entities.account_state import AccountState, Decision
    from vault_domain.entities.token import TokenInfo, TokenWrite
    from vault_domain.memory.rows import RememberedRows, Ticket
    from vault_domain.ports.accounts import Accounts, Decide, Erased, PrepareBatch, Snapshot, StoreBatch

T = TypeVar("T")


def noticing(rows: RememberedRows, accounts: Accounts) -> Accounts:
    """Wrap the accounts; when a write returns to its caller, ``rows`` has forgotten the old rows."""
    return cast("Accounts", _Noticing(accounts, rows))


class _Noticing:
    """Passes calls on, and reports the rows that they read and write."""

    def __init__(self, right: Accounts, rows: RememberedRows) -> None:
        self._right = right
        self._rows = rows
        self.get = right.get  # each read calls it, and `__getattr__` costs more

    def __getattr__(self, name: str) -> Any:
        return getattr(self._right, name)

    async def get_many(self, keys: Sequence[TokenKey]) -> Any:
        ticket = self._rows.begin()
        found, now = await self._right.get_many(keys)
        answers = {row.key: row for row in found if isinstance(row, StoredToken)}
        for key in keys:
            self._rows.saw(key, answers.get(key), now, ticket)
        return found, now

    async def read(self, account: Account, *, with_values: bool = True) -> Snapshot:
        if not with_values:
            snapshot = await self._right.read(account, with_values=False)
            self._rows.learn(access_key(account), None if snapshot.record is None else snapshot.record.tokens)
            return snapshot
        ticket = self._rows.begin()
        snapshot = await self._right.read(account)
        self._rows.saw(access_key(account), snapshot.token(TokenKind.ACCESS_TOKEN), snapshot.now, ticket)
        return snapshot

    async def change(self, account: Account, decide: Decide[T]) -> Decision[T]:
        writing = _Writing(self._rows, decide)

        async def work() -> Change[Decision[T]]:
            return Change(await self._right.change(account, writing.decide))

        try:
            return (await self._rows.write(work(), **writing.noted)).result
        finally:
            writing.has_ended = True

    async def store(
        self, writes: Sequence[TokenWrite] | LateWrites[TokenWrite], *, actor: str | None
    ) -> Change[list[TokenInfo]]:
        work = self._right.store(writes, actor=actor)
        if isinstance(writes, LateWrites):
            return await self._rows.write(work, keys=writes.keys)
        sealed = writes

        def stored(infos: list[TokenInfo]) -> list[StoredToken]:
            return [StoredToken(info, write.sealed) for write, info in zip(sealed, infos, strict=True)]

        return await self._rows.write(work, keys=[write.key for write in sealed], stored=stored)

    async def erase(self, tenant_id: str, *, actor: str | None) -> Change[Erased]:
        return await self._rows.write(self._right.erase(tenant_id, actor=actor), scopes=[(tenant_id,)])

    def begin_import(self, source: str | None, *, overwrite: bool, actor: str | None) -> PrepareBatch:
        prepare = self._right.begin_import(source, overwrite=overwrite, actor=actor)

        async def prepare_batch(writes: LateWrites[Any]) -> StoreBatch:
            batch = await prepare(writes)
            return lambda: self._rows.write(batch(), keys=writes.keys)

        return prepare_batch


class _Writing:
    """Finds out which rows a change of an account writes.

    Attributes:
        noted: arguments for `RememberedRows.write`; its keys are filled by the decisions, before the store writes.
        has_ended: whether the caller has gone; a write that is not ended then goes on without it.
    """

    def __init__(self, rows: RememberedRows, decide: Decide[Any]) -> None:
        self._rows = rows
        self._decide = decide
        self._keys: list[TokenKey] = []
        self._new: list[StoredToken] = []
        self._ticket: Ticket | None = None
        self.noted: dict[str, Any] = {
            "keys": self._keys,
            "stored": lambda _: self._new,
            "begun": lambda: self._ticket,
        }
        self.has_ended = False

    def decide(self, state: AccountState, now: datetime) -> Decision[Any]:
        decision = self._decide(state, now)
        before, after = state.tokens, decision.state.tokens
        every = dict.fromkeys((*before, *after, *filter(None, state.damaged)))
        kinds = [kind for kind in every if before.get(kind) is not after.get(kind) or kind in state.damaged]
        known = state.value_ids
        new = [after[kind] for kind in kinds if kind in after and after[kind].info.value_id not in known]
        self._new = [StoredToken(token.info, token.sealed) for token in new]
        # Only added, never removed: after a lost connection, nobody knows which of the decisions was written.
        self._keys += [key for kind in kinds if (key := state.account.key(kind)) not in self._keys]
        self._rows.forget_keys(self._keys)
        if self.has_ended:
            self._rows.doubt(self._keys)
        self._ticket = self._rows.begin()
        return decision
