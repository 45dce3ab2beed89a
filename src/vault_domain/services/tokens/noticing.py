"""Wraps repositories, so that `RememberedRows` is told which rows this process reads and writes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, cast

from attrs import frozen

from vault_domain.entities.account import Account, TokenKey, TokenKind, access_key
from vault_domain.entities.attempt import Attempt, Commit
from vault_domain.entities.refresh_state import AccountRecord
from vault_domain.entities.suspicion import ConfirmationWindow
from vault_domain.entities.token import MarkOutcome, StoredToken, TokenInfo, TokenRef, TokenWrite
from vault_domain.memory.change_log import scope_of_account
from vault_domain.memory.rows import RememberedRows
from vault_domain.ports.account_repository import AccountRepository
from vault_domain.ports.change import Change
from vault_domain.ports.importing import ImportRepository, ImportRun, StoreBatch
from vault_domain.ports.late_writes import LateWrites
from vault_domain.ports.refresh_ledger import RefreshLedger, Snapshot
from vault_domain.ports.tenant_eraser import Erased, TenantEraser
from vault_domain.ports.token_repository import TokenRepository
from vault_domain.services.tokens.account_changes import AccountChanges


@frozen
class NoticedPorts:
    """The repositories whose methods read or write rows of tokens."""

    tokens: TokenRepository
    accounts: AccountRepository
    changes: AccountChanges
    refreshes: RefreshLedger
    eraser: TenantEraser
    imports: ImportRepository


def noticing(
    rows: RememberedRows,
    *,
    tokens: TokenRepository,
    accounts: AccountRepository,
    changes: AccountChanges,
    refreshes: RefreshLedger,
    eraser: TenantEraser,
    imports: ImportRepository,
) -> NoticedPorts:
    """Wrap the repositories; when a write returns to its caller, ``rows`` has forgotten the old rows."""
    return NoticedPorts(
        cast("TokenRepository", _Tokens(tokens, rows)),
        cast("AccountRepository", _Accounts(accounts, rows)),
        cast("AccountChanges", _Changes(changes, rows)),
        cast("RefreshLedger", _Refreshes(refreshes, rows)),
        cast("TenantEraser", _Eraser(eraser, rows)),
        cast("ImportRepository", _Imports(imports, rows)),
    )


class _Noticing:
    """Passes calls on to the wrapped repository, except calls of methods that the subclass defines."""

    def __init__(self, right: Any, rows: RememberedRows) -> None:
        self._right = right
        self._rows = rows

    def __getattr__(self, name: str) -> Any:
        return getattr(self._right, name)


class _Tokens(_Noticing):
    _right: TokenRepository

    def __init__(self, right: TokenRepository, rows: RememberedRows) -> None:
        super().__init__(right, rows)
        self.get = right.get  # each read calls it, and `__getattr__` costs more

    async def get_many(self, keys: Sequence[TokenKey]) -> Any:
        ticket = self._rows.begin()
        found, now = await self._right.get_many(keys)
        answers = {row.key: row for row in found if isinstance(row, StoredToken)}
        for key in keys:
            self._rows.saw(key, answers.get(key), now, ticket)
        return found, now

    async def store(self, writes: Sequence[TokenWrite], *, actor: str | None) -> Change[list[TokenInfo]]:
        return await self._rows.write(
            self._right.store(writes, actor=actor),
            keys=[write.key for write in writes],
            stored=lambda infos: _rows_of(zip(writes, infos, strict=True)),
        )

    async def store_many(self, writes: LateWrites[TokenWrite], *, actor: str | None) -> Change[list[TokenInfo]]:
        return await self._rows.write(self._right.store_many(writes, actor=actor), keys=writes.keys)

    async def delete_provider(self, tenant_id: str, provider: str, *, actor: str | None) -> Change[int]:
        work = self._right.delete_provider(tenant_id, provider, actor=actor)
        return await self._rows.write(work, scopes=[(tenant_id, provider)])


class _Accounts(_Noticing):
    _right: AccountRepository

    async def get(self, account: Account) -> tuple[AccountRecord | None, datetime]:
        found, now = await self._right.get(account)
        self._rows.learn(access_key(account), None if found is None else found.tokens)
        return found, now


class _Changes(_Noticing):
    _right: AccountChanges

    async def store_expecting(
        self, write: TokenWrite, expected_generation: int, *, actor: str | None
    ) -> Change[list[TokenInfo]]:
        return await self._rows.write(
            self._right.store_expecting(write, expected_generation, actor=actor),
            keys=[write.key],
            stored=lambda infos: _rows_of((write, info) for info in infos),
        )

    async def store_set(
        self, account: Account, writes: Sequence[TokenWrite], *, label: str | None, actor: str | None
    ) -> Change[Any]:
        def stored(result: tuple[AccountRecord, Any]) -> Iterable[StoredToken]:
            record, _ = result
            return _rows_of((write, record.tokens.get(write.key.kind)) for write in writes)

        return await self._rows.write(
            self._right.store_set(account, writes, label=label, actor=actor),
            keys=[write.key for write in writes],
            stored=stored,
        )

    async def mark_invalid(self, ref: TokenRef, error_code: str, *, actor: str | None) -> Change[MarkOutcome]:
        return await self._rows.write(self._right.mark_invalid(ref, error_code, actor=actor), keys=[ref.key])

    async def report_rejected(
        self, ref: TokenRef, error_code: str, *, window: ConfirmationWindow, actor: str | None
    ) -> Change[MarkOutcome]:
        work = self._right.report_rejected(ref, error_code, window=window, actor=actor)
        return await self._rows.write(work, keys=[ref.key])

    async def revive(self, ref: TokenRef, due_in: timedelta, *, anew: bool = True, actor: str | None) -> Change[bool]:
        return await self._rows.write(self._right.revive(ref, due_in, anew=anew, actor=actor), keys=[ref.key])

    async def delete_token(self, key: TokenKey, *, actor: str | None) -> Change[bool]:
        return await self._rows.write(self._right.delete_token(key, actor=actor), keys=[key])

    async def delete_account(self, account: Account, *, actor: str | None) -> Change[int]:
        work = self._right.delete_account(account, actor=actor)
        return await self._rows.write(work, scopes=[scope_of_account(account)])


class _Refreshes(_Noticing):
    _right: RefreshLedger

    async def read(self, account: Account) -> Snapshot:
        ticket = self._rows.begin()
        snapshot = await self._right.read(account)
        self._rows.saw(access_key(account), snapshot.token(TokenKind.ACCESS_TOKEN), snapshot.now, ticket)
        return snapshot

    async def commit(self, attempt: Attempt, writes: Sequence[TokenWrite], *, actor: str | None) -> Change[Commit]:
        return await self._rows.write(
            self._right.commit(attempt, writes, actor=actor),
            keys=[attempt.account.key(write.key.kind) for write in writes],
            stored=lambda commit: [] if commit.access is None else [commit.access],
        )

    async def reject(self, attempt: Attempt, code: str, *, actor: str | None) -> Change[bool]:
        return await self._rows.write(self._right.reject(attempt, code, actor=actor), keys=[attempt.credential.key])


class _Eraser(_Noticing):
    _right: TenantEraser

    async def erase(self, tenant_id: str, *, actor: str | None) -> Change[Erased]:
        return await self._rows.write(self._right.erase(tenant_id, actor=actor), scopes=[(tenant_id,)])


class _Imports(_Noticing):
    _right: ImportRepository

    def begin(self, source: str | None) -> ImportRun:
        return cast("ImportRun", _Import(self._right.begin(source), self._rows))


class _Import(_Noticing):
    _right: ImportRun

    async def prepare(self, writes: LateWrites[Any], *, overwrite: bool, actor: str | None) -> StoreBatch:
        batch = await self._right.prepare(writes, overwrite=overwrite, actor=actor)
        return lambda: self._rows.write(batch(), keys=writes.keys)


def _rows_of(stored: Iterable[tuple[TokenWrite, TokenInfo | None]]) -> list[StoredToken]:
    return [StoredToken(info, write.sealed) for write, info in stored if info is not None]
