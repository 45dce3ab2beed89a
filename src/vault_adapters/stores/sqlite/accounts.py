"""Accounts on SQLite."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from attrs import evolve

from vault_adapters.stores.batching import ReadBatcher
from vault_adapters.stores.damage import (
    sound,
)
from vault_adapters.stores.sqlite.rows import (
    account_parameters,
    key_parameters,
    to_micros,
)
from vault_adapters.stores.sqlite.token_reads import TokenReads
from vault_domain.entities.account import stored_account
from vault_domain.entities.errors import StorageError
from vault_domain.ports.change import Change
from vault_domain.ports.readings import Snapshot

if TYPE_CHECKING:
    from vault_adapters.stores.batching import Asked
    from vault_adapters.stores.queries import Queries
    from vault_adapters.stores.sqlite.database import Row, SqliteDatabase, Transaction
    from vault_domain.entities.account import Account, TokenKey
    from vault_domain.entities.account_state import Decision
    from vault_domain.entities.token import (
        DamagedToken,
        StoredToken,
        TokenInfo,
        TokenRef,
        TokenWrite,
    )
    from vault_domain.ports.accounts import Decide, DueAccount, Erased, PrepareBatch, Reading
    from vault_domain.ports.late_writes import LateWrites

T = TypeVar("T")

_log = logging.getLogger(__name__)

_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SqliteAccounts:
    """Implements `Accounts`. A process that only reads tokens does not load what writes accounts."""

    def __init__(self, database: SqliteDatabase, queries: Queries) -> None:
        self._database = database
        self._queries = queries
        self._rows = TokenReads(database, queries)
        self._reads: ReadBatcher[Asked, Reading] = ReadBatcher(lambda: nullcontext(self._rows.read))

    async def close(self) -> None:
        """Wait until no read is running."""
        await self._reads.drain()

    def get(self, key: TokenKey, known: StoredToken | None = None) -> Awaitable[Reading]:
        """Read one token; concurrent reads may share one query."""
        return self._reads.get((key, known))

    async def get_many(self, keys: Sequence[TokenKey]) -> tuple[list[StoredToken | DamagedToken], datetime]:
        """Return the tokens stored under these keys, and the store's time."""
        return [token for token in await self._rows.get_many(keys) if token is not None], self._database.now()

    async def read(self, account: Account, *, with_values: bool = True) -> Snapshot:
        """Read an account, with its sealed values or without them."""
        from vault_adapters.stores.sqlite.account_rows import account_record
        from vault_adapters.stores.sqlite.account_states import state_of

        rows = await self._database.fetch(self._queries["load_account"], account_parameters(account))
        if not with_values:
            return Snapshot(account_record(rows, account), {}, self._database.now())
        state = state_of(rows, account).require_intact()
        sealed = {kind: token.sealed for kind, token in state.tokens.items()}
        return Snapshot(state.record, sealed, self._database.now(), state.answer)

    async def change(self, account: Account, decide: Decide[T]) -> Decision[T]:
        """Load an account, decide and write the new state in one transaction, so that nothing comes in between."""
        from vault_adapters.stores.sqlite.account_states import change_state

        return await self._database.transact(
            lambda transaction: change_state(transaction, self._queries, account, decide)
        )

    async def store(
        self, writes: Sequence[TokenWrite] | LateWrites[TokenWrite], *, actor: str | None
    ) -> Change[list[TokenInfo]]:
        """Insert or replace tokens, all or none."""
        from vault_adapters.stores.sqlite.writing import write_tokens
        from vault_adapters.stores.taking import taken

        sealed = await taken(writes)
        return await self._database.transact(
            lambda transaction: write_tokens(transaction, self._queries, sealed, actor)
        )

    async def record_uses(self, uses: Mapping[TokenRef, datetime]) -> None:
        """Store the time of each last use."""
        parameters = [
            key_parameters(ref.key) | {"id": ref.id.bytes, "used_at": to_micros(used_at)}
            for ref, used_at in uses.items()
        ]
        await self._database.transact(
            lambda transaction: transaction.execute_many(self._queries["record_use"], parameters)
        )

    async def reserve_due(
        self, provider: str, *, hold: timedelta, limit: int, since: datetime | None, until: datetime | None
    ) -> tuple[list[DueAccount], datetime]:
        """Take up to ``limit`` due accounts of a provider, earliest first."""

        async def work(transaction: Transaction) -> tuple[list[DueAccount], datetime]:
            window = {"since": to_micros(since or _EPOCH), "until": to_micros(until or transaction.now)}
            parameters = window | {"provider": provider, "limit": limit}
            due: list[DueAccount] = []
            # If all rows of one query are damaged, take the next rows, because damaged rows must not end the sweep.
            while not due and (rows := await transaction.fetch(self._queries["find_due_accounts"], parameters)):
                held = [
                    {"tenant_id": tenant_id, "provider": provider, "identifier": identifier}
                    | {"due_at": to_micros(transaction.now + hold)}
                    for tenant_id, identifier, _ in rows
                ]
                await transaction.execute_many(self._queries["schedule_account"], held)
                due = sound(rows, lambda row: _due_account(row, provider))
            return due, transaction.now

        return await self._database.transact(work)

    def begin_import(self, source: str | None, *, overwrite: bool, actor: str | None) -> PrepareBatch:
        """Begin an import of tokens of another system."""
        from vault_adapters.stores.sqlite.importing import Importer

        return Importer(self._database, self._queries, source, overwrite=overwrite, actor=actor).prepare

    async def erase(self, tenant_id: str, *, actor: str | None) -> Change[Erased]:
        """Delete a tenant's rows and wraps and destroy its data keys, in one transaction; then clean the files."""
        from vault_adapters.stores.sqlite.erasure import erase_tenant

        change = await self._database.transact(
            lambda transaction: erase_tenant(transaction, self._queries, tenant_id, actor)
        )
        return evolve(change, result=evolve(change.result, is_purged=await self._purge()))

    async def _purge(self) -> bool:
        """Move the write-ahead log into the database file, and empty the log.

        The log holds earlier versions of the deleted rows. It also holds the zeros with which ``secure_delete`` has
        overwritten these rows; this call brings the zeros into the database file.
        """
        try:
            return await self._database.checkpoint()
        except StorageError as error:
            # The erasure is committed, so a failed cleaning must not look like a failed erasure.
            _log.warning("the database's files could not be cleaned (%s)", error.code)
            return False


def _due_account(row: Row, provider: str) -> DueAccount:
    tenant_id, identifier, due_at = row
    if type(tenant_id) is not str or type(identifier) is not str or not tenant_id:
        raise ValueError
    from vault_domain.ports.accounts import DueAccount

    return DueAccount(stored_account(tenant_id, provider, identifier), _EPOCH + due_at * _MICROSECOND)


def _by_identifier(row: Row) -> tuple[str, str]:
    kind, identifier, _ = row
    return str(identifier), str(kind)  # a damaged row may hold anything
