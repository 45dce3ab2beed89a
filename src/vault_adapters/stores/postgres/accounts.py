"""Accounts on Postgres."""

from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from vault_adapters.stores.batching import Asked, ReadBatcher
from vault_adapters.stores.postgres import citus_tokens
from vault_adapters.stores.postgres.account_states import AccountStates
from vault_adapters.stores.postgres.cursors import Row
from vault_adapters.stores.postgres.database import PostgresDatabase
from vault_adapters.stores.postgres.erasure import erase_tenant
from vault_adapters.stores.postgres.importing import Importer
from vault_adapters.stores.postgres.limits import Pace
from vault_adapters.stores.postgres.rows import (
    account_parameters,
    account_record,
    key_columns,
    keys_parameters,
    stored_info,
    write_parameters,
)
from vault_adapters.stores.postgres.statements import briefly
from vault_adapters.stores.postgres.store_batcher import StoreBatcher
from vault_adapters.stores.postgres.token_reads import TokenReads
from vault_adapters.stores.postgres.writing import (
    ACTIONS,
    ROWS_PER_STATEMENT,
    in_batches,
    stored_event,
    write_apart,
    write_tokens,
)
from vault_adapters.stores.queries import Queries
from vault_domain.entities.account import Account, TokenKey
from vault_domain.entities.account_state import Decision
from vault_domain.entities.errors import StorageError
from vault_domain.entities.token import (
    DamagedToken,
    StoredToken,
    TokenInfo,
    TokenRef,
    TokenWrite,
)
from vault_domain.ports.accounts import Decide, DueAccount, Erased, PrepareBatch, Reading, Snapshot
from vault_domain.ports.change import Change, DataKeyInactiveError
from vault_domain.ports.late_writes import LateWrites

T = TypeVar("T")

_FOREIGN_KEY_VIOLATION = "23503"


class PostgresAccounts:
    """Implements `Accounts`.

    Args:
        database: runs the statements.
        queries: the statements. A statement that stores a value sets its account's due time to the earliest of three:
            the value's expiry minus its lead, the time of storing plus its ``due_in``, and the stored due time.
        waking: the same statements for a value from which no due time follows. A statement that stores such a value
            makes its account due now.
        states: reads and changes whole accounts.
    """

    def __init__(self, database: PostgresDatabase, queries: Queries, waking: Queries, states: AccountStates) -> None:
        self._database = database
        self._queries = queries
        self._waking = waking
        self._states = states
        self._last_uses = citus_tokens.LastUses()
        self._token_reads = TokenReads(database, queries, self._last_uses)
        self._reads: ReadBatcher[Asked, Reading] = ReadBatcher(
            partial(database.reading, self._token_reads.read),
            most_batches=database.most_connections,
            patience=database.answer_seconds,
        )
        self._stores: StoreBatcher[Row | None] = StoreBatcher(
            self._store_any,
            partial(write_apart, database, briefly(queries["store_tokens"])),
            most_batches=database.most_connections,
            patience=database.answer_seconds,
        )

    async def close(self) -> None:
        """Wait until the running reads and writes of single tokens have ended."""
        await self._reads.drain()
        await self._stores.drain()

    def get(self, key: TokenKey, known: StoredToken | None = None) -> Awaitable[Reading]:
        """Read one token; concurrent reads may share one query."""
        return self._reads.get((key, known))

    async def get_many(self, keys: Sequence[TokenKey]) -> tuple[list[StoredToken | DamagedToken], datetime]:
        """Return the tokens stored under these keys, and the store's time."""
        if not keys:
            [(now,)] = await self._database.fetch(self._queries["get_time"], {"now": self._database.now()})
            return [], now
        now = self._database.now()
        found, now = await self._database.read(lambda reader: self._token_reads.read_many(reader, keys, now))
        return [token for token in found if token is not None], now

    async def read(self, account: Account, *, with_values: bool = True) -> Snapshot:
        """Read an account, with its sealed values or without them."""
        if not with_values:
            parameters = account_parameters(account) | {"now": self._database.now()}
            record, now = account_record(await self._database.fetch(self._queries["get_account"], parameters), account)
            return Snapshot(record, {}, now)
        return await self._states.read(account)

    async def change(self, account: Account, decide: Decide[T]) -> Decision[T]:
        """Load an account, decide, and write the new state if the account is still the one that was loaded."""
        return await self._states.change(account, decide)

    async def reserve_due(
        self, provider: str, *, hold: timedelta, limit: int, since: datetime | None, until: datetime | None
    ) -> tuple[list[DueAccount], datetime]:
        """Take up to ``limit`` due accounts of a provider, earliest first."""
        return await self._states.reserve_due(provider, hold=hold, limit=limit, since=since, until=until)

    async def store(
        self, writes: Sequence[TokenWrite] | LateWrites[TokenWrite], *, actor: str | None
    ) -> Change[list[TokenInfo]]:
        """Insert or replace tokens, all or none."""
        if not isinstance(writes, LateWrites):
            self._states.forget(write.key for write in writes)
        if not isinstance(writes, LateWrites) and len(writes) == 1:
            return await self._store_one(writes[0], actor)
        late = LateWrites.of(writes)
        pace = Pace.QUICK if len(late.keys) <= ROWS_PER_STATEMENT else Pace.BULK
        refreshed = not isinstance(writes, LateWrites) and any(write.refreshed for write in writes)
        return await self._database.transact(
            lambda transaction: write_tokens(transaction, self._queries, late, actor, refreshed=refreshed), pace=pace
        )

    async def record_uses(self, uses: Mapping[TokenRef, datetime]) -> None:
        """Store the time of each last use."""
        self._states.forget(ref.key for ref in uses)
        # Keep the latest use of each key, because a statement may name each key only once. A key whose token was
        # deleted and stored again may occur with two ids.
        latest = {ref.key: (ref.id, used_at) for ref, used_at in sorted(uses.items(), key=lambda use: use[1])}
        for keys in in_batches(sorted(latest, key=key_columns)):
            await self._record({key: latest[key] for key in keys})

    def begin_import(self, source: str | None, *, overwrite: bool, actor: str | None) -> PrepareBatch:
        """Begin an import of tokens of another system."""
        return Importer(self._database, self._queries, source, overwrite=overwrite, actor=actor).prepare

    async def erase(self, tenant_id: str, *, actor: str | None) -> Change[Erased]:
        """Delete a tenant's rows and wraps and destroy its data keys, in one transaction."""
        erased = await self._database.transact(
            lambda transaction: erase_tenant(transaction, self._queries, tenant_id, actor), pace=Pace.BULK
        )
        self._states.forget_all()
        return erased

    async def _store_one(self, write: TokenWrite, actor: str | None) -> Change[list[TokenInfo]]:
        if self._database.is_distributed:
            row = await self._store_any(write, actor)
        else:
            row = await self._stores.store(write, actor)
        if row is None:
            raise DataKeyInactiveError
        info = stored_info(row, write.key)
        return Change([info], (stored_event(write.refreshed, info, actor),))

    async def _store_any(self, write: TokenWrite, actor: str | None) -> Row | None:
        """Store one value; return its row, or None if its data key is not active."""
        queries, parameters = self._storing(write), self._parameters(write, actor)
        if self._database.is_distributed:
            rows = await citus_tokens.store_token(self._database, queries, self._last_uses, parameters)
        else:
            rows = await self._database.write(queries["store_token"], parameters)
        return rows[0] if rows else None

    def _parameters(self, write: TokenWrite, actor: str | None) -> dict[str, Any]:
        common = {"action": ACTIONS[write.refreshed].value, "actor": actor, "now": self._database.now()}
        return write_parameters(write) | common

    def _storing(self, write: TokenWrite) -> Queries:
        """Return `queries` if a due time follows from the value, else `waking`; see the class."""
        is_scheduled = write.lead is not None and (write.expires_at is not None or write.lifetime is not None)
        return self._queries if is_scheduled or write.due_in is not None else self._waking

    async def _record(self, uses: Mapping[TokenKey, tuple[UUID, datetime]]) -> None:
        parameters = keys_parameters(uses) | {
            "ids": [id_ for id_, _ in uses.values()],
            "used_at": [used_at for _, used_at in uses.values()],
        }
        try:
            await self._database.write(self._queries["record_uses"], parameters)
        except StorageError as error:
            if error.reason != _FOREIGN_KEY_VIOLATION:
                raise
            # A token was deleted while the statement ran. The repeated statement skips it.
            await self._database.write(self._queries["record_uses"], parameters)
        self._last_uses.forget(map(key_columns, uses))
