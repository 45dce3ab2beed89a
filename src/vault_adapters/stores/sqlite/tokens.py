"""The token table on SQLite."""

import json
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any

from vault_adapters.stores.batching import Asked, ReadBatcher
from vault_adapters.stores.columns import place_by_expiry, place_by_key, place_by_rejection, place_of_rejected
from vault_adapters.stores.counting import health_counts, sampled_rows
from vault_adapters.stores.damage import refused_account, sound_page
from vault_adapters.stores.migrations import load_migrations
from vault_adapters.stores.queries import Queries
from vault_adapters.stores.sqlite.audit import append_events
from vault_adapters.stores.sqlite.database import Row, SqliteDatabase, Transaction
from vault_adapters.stores.sqlite.rows import (
    account_parameters,
    key_parameters,
    keys_parameter,
    listed_info,
    stored_info,
    to_micros,
    write_parameters,
)
from vault_adapters.stores.sqlite.token_reads import TokenReads
from vault_adapters.stores.taking import taken
from vault_domain.entities.account import TokenKey, stored_key
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.errors import SchemaOutdatedError, StorageError
from vault_domain.entities.imported import ImportedWrite
from vault_domain.entities.page import Cursor
from vault_domain.entities.reports import HealthCount
from vault_domain.entities.suspicion import MOST_CONFIRMATION
from vault_domain.entities.token import (
    RECONNECT_NOTICE,
    DamagedToken,
    StoredToken,
    TokenInfo,
    TokenRef,
    TokenWrite,
)
from vault_domain.ports.change import Change, DataKeyInactiveError
from vault_domain.ports.late_writes import LateWrites
from vault_domain.ports.token_repository import MOST_COUNTED, Condemned, Reading
from vault_domain.rules.schedule import accounts_due
from vault_domain.transitions.events import key_event, token_event

_KNOWN = len(load_migrations("vault_adapters.stores.sqlite"))
_NO_TABLE = "sqlite_error"
"""The reason of the error if a table is missing; some other errors have this reason too."""
_MICROSECOND = timedelta(microseconds=1)


class SqliteTokenRepository:
    """Implements `TokenRepository`."""

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

    async def store(self, writes: Sequence[TokenWrite], *, actor: str | None) -> Change[list[TokenInfo]]:
        """Insert or replace tokens, all or none."""
        return await self._database.transact(
            lambda transaction: write_tokens(transaction, self._queries, writes, actor)
        )

    async def store_many(self, writes: LateWrites[TokenWrite], *, actor: str | None) -> Change[list[TokenInfo]]:
        """Insert or replace many tokens, all or none."""
        return await self.store(await taken(writes), actor=actor)

    async def delete_provider(self, tenant_id: str, provider: str, *, actor: str | None) -> Change[int]:
        """Delete all tokens, labels and refresh states of a tenant at a provider."""

        async def work(transaction: Transaction) -> Change[int]:
            parameters = {"tenant_id": tenant_id, "provider": provider}
            rows = await transaction.fetch(self._queries["list_provider_generations"], parameters)
            await transaction.execute(self._queries["delete_provider_tokens"], parameters)
            await transaction.execute(self._queries["delete_provider_accounts"], parameters)
            events = deletion_events(rows, tenant_id, provider, transaction, actor)
            await append_events(transaction, self._queries, events)
            return Change(len(rows), tuple(events))

        return await self._database.transact(work)

    async def find_expiring(
        self, within: timedelta, *, provider: str | None, limit: int, after: Cursor | None
    ) -> list[TokenInfo]:
        """Find access tokens of status VALID that expire within ``within`` or have expired."""
        parameters = {"until": to_micros(self._database.now() + within), "provider": provider}
        return await self._by_expiry("find_expiring_tokens", parameters, limit, after)

    async def find_ending(self, notice: timedelta, *, limit: int, after: Cursor | None) -> list[TokenInfo]:
        """Find refresh tokens that expire soon and of which no event has told this."""
        parameters = {"now": to_micros(self._database.now()), "notice": notice // _MICROSECOND, "provider": None}
        return await self._by_expiry("find_ending_tokens", parameters, limit, after)

    async def find_condemned(self, condemned: Condemned, *, limit: int, after: TokenInfo | None) -> list[TokenInfo]:
        """Find condemned credentials."""
        provider = condemned.provider
        parameters = {
            "provider": provider,
            "tenant_id": condemned.tenant_id,
            "until": to_micros(condemned.until),
            "client": condemned.client,
            "stored_since": to_micros(condemned.stored_since) or 0,
        }

        async def fetch(position: tuple[Any, ...], wanted: int) -> list[Row]:
            page = dict(zip(("since", "after_tenant_id", "after_identifier", "after_kind"), position, strict=True))
            query = self._queries["find_condemned_tokens"]
            return await self._database.fetch(query, parameters | page | {"limit": wanted})

        def decode(row: Row) -> TokenInfo:
            return listed_info(row, condemned.tenant_id, provider)

        moment, *rest = (condemned.since, "", "", "") if after is None else place_of_rejected(after)
        start = (to_micros(moment), *rest)
        return await sound_page(fetch, decode, place_by_rejection, start, limit)

    async def list_tenant(
        self, tenant_id: str, *, provider: str | None, limit: int, after: Cursor | None
    ) -> list[TokenInfo]:
        """List a tenant's tokens, sorted by (provider, identifier, kind)."""
        parameters = {"tenant_id": tenant_id, "provider": provider}

        async def fetch(position: tuple[Any, ...], wanted: int) -> list[Row]:
            page = dict(zip(("after_provider", "after_identifier", "after_kind"), position, strict=True))
            return await self._database.fetch(self._queries["list_tokens"], parameters | page | {"limit": wanted})

        start = after or ("", "", "")
        return await sound_page(fetch, lambda row: listed_info(row, tenant_id, provider), place_by_key, start, limit)

    async def record_uses(self, uses: Mapping[TokenRef, datetime]) -> None:
        """Store the time of each last use."""
        parameters = [
            key_parameters(ref.key) | {"id": ref.id.bytes, "used_at": to_micros(used_at)}
            for ref, used_at in uses.items()
        ]
        await self._database.transact(
            lambda transaction: transaction.execute_many(self._queries["record_use"], parameters)
        )

    async def count_health(
        self,
        tenant_id: str | None,
        buffer: timedelta,
        suspicion: timedelta = MOST_CONFIRMATION,
        notice: timedelta = RECONNECT_NOTICE,
        most: int = MOST_COUNTED,
    ) -> list[HealthCount]:
        """Count tokens by provider and health."""
        parameters = {"tenant_id": tenant_id, "now": to_micros(self._database.now())}
        parameters |= {"buffer": buffer // _MICROSECOND, "suspicion": suspicion // _MICROSECOND}
        parameters |= {"notice": notice // _MICROSECOND}
        step, places = 1, 0
        if tenant_id is None:
            [(highest,)] = await self._database.fetch(self._queries["measure_tokens"], {})
            step, places = sampled_rows(highest, most)
        rows = await self._database.fetch(self._queries["count_health"], parameters | {"step": step, "places": places})
        return health_counts(rows)

    async def ping(self) -> None:
        """Return normally if the database answers and has the schema.

        It does not test whether the database takes writes, because such a test would wait for other writers.
        """
        try:
            [(applied,)] = await self._database.fetch(self._queries["count_migrations"], {"known": _KNOWN})
        except StorageError as error:
            if error.reason != _NO_TABLE:
                raise
            applied = 0
        if applied < _KNOWN:
            raise SchemaOutdatedError

    async def _by_expiry(
        self, name: str, parameters: dict[str, Any], limit: int, after: Cursor | None
    ) -> list[TokenInfo]:
        """Return a page of the tokens that a query finds, sorted by (expires_at, tenant_id, id)."""
        expires_at, tenant_id, id_hex = after or (-1, "", "")

        async def fetch(position: tuple[Any, ...], wanted: int) -> list[Row]:
            page = dict(zip(("after_expires_at", "after_tenant_id", "after_id"), position, strict=True))
            return await self._database.fetch(self._queries[name], parameters | page | {"limit": wanted})

        start, provider = (expires_at, tenant_id, _bytes(str(id_hex))), parameters["provider"]
        return await sound_page(fetch, lambda row: listed_info(row, None, provider), place_by_expiry, start, limit)


def deletion_events(
    rows: Sequence[Row], tenant_id: str, provider: str, transaction: Transaction, actor: str | None
) -> list[AuditEvent]:
    """Return the events of deleted tokens; each row is (kind, identifier, generation)."""
    keys = [(stored_key(tenant_id, provider, kind, identifier), generation) for kind, identifier, generation in rows]
    return [key_event(AuditAction.TOKEN_DELETED, key, generation, transaction.now, actor) for key, generation in keys]


async def write_tokens(
    transaction: Transaction, queries: Queries, writes: Sequence[TokenWrite], actor: str | None
) -> Change[list[TokenInfo]]:
    """Write values and their events in the given transaction; see `put_tokens`."""
    infos = await put_tokens(transaction, queries, writes)
    events = [
        token_event(_ACTIONS[write.refreshed], info, transaction.now, actor)
        for info, write in zip(infos, writes, strict=True)
    ]
    await append_events(transaction, queries, events)
    return Change(infos, tuple(events))


async def put_tokens(transaction: Transaction, queries: Queries, writes: Sequence[TokenWrite]) -> list[TokenInfo]:
    """Write values without their events in the given transaction; all data keys of the values must be active.

    Raises:
        DataKeyInactiveError: a data key is not active; the caller must roll back the transaction.
    """
    await require_active_data_keys(transaction, queries, writes)
    parameters = [write_parameters(write, transaction.now) for write in writes]
    await transaction.execute_many(queries["upsert_token"], parameters)
    keys = [write.key for write in writes]
    rows = await transaction.fetch(queries["get_tokens"], {"keys": keys_parameter(keys)})
    infos = _written_infos(rows, keys)
    ends = [info.expires_at for info in infos]
    await schedule_accounts(transaction, queries, list(zip(writes, ends, strict=True)))
    return infos


def _written_infos(rows: Sequence[Row], keys: Sequence[TokenKey]) -> list[TokenInfo]:
    """Return the metadata of values that were just written.

    Raises:
        DecryptionError: a row is damaged, for example in a column that the write kept. Nothing is stored, because the
            caller rolls back the transaction.
    """
    infos, refusal = [], None
    for key, (_, found) in zip(keys, groupby(rows, key=itemgetter(-1)), strict=True):
        try:
            [row] = found
            infos.append(stored_info(row, key))
        except Exception as error:
            refusal = refused_account(key.account, error)
            break
    if refusal is not None:
        raise refusal
    return infos


_ACTIONS = {True: AuditAction.TOKEN_REFRESHED, False: AuditAction.TOKEN_STORED}
"""The action of a write's event, by whether the write is a refresh."""


async def schedule_accounts(
    transaction: Transaction, queries: Queries, stored: Sequence[tuple[TokenWrite | ImportedWrite, datetime | None]]
) -> None:
    """Make accounts due at the times that their stored values set (`accounts_due`); an earlier due time stays.

    An account whose values set no time becomes due now, provided that its row exists.

    Args:
        transaction: the transaction that stored the values.
        queries: the store's queries.
        stored: each stored value with its expiry.
    """
    due = accounts_due(stored, transaction.now)
    scheduled = [account_parameters(account) | {"due_at": to_micros(at)} for account, at in due.items() if at]
    await transaction.execute_many(queries["schedule_value"], scheduled)
    woken = [account_parameters(account) | {"now": to_micros(transaction.now)} for account, at in due.items() if not at]
    await transaction.execute_many(queries["wake_account"], woken)


async def require_active_data_keys(
    transaction: Transaction, queries: Queries, writes: Sequence[TokenWrite | ImportedWrite | StoredToken]
) -> None:
    """Check that all of these values are sealed under active data keys; see `require_active`."""
    await require_active(transaction, queries, [(write.key.tenant_id, write.sealed.data_key_id) for write in writes])


async def require_active(transaction: Transaction, queries: Queries, data_keys: Iterable[tuple[str, bytes]]) -> None:
    """Check that data keys, each named by its tenant and its id, are active.

    Raises:
        DataKeyInactiveError: a data key is not active; the caller must roll back the transaction.
    """
    named = {(tenant_id, key_id.hex().upper()) for tenant_id, key_id in data_keys}
    guard = {"data_keys": json.dumps(sorted(named))}
    [(inactive,)] = await transaction.fetch(queries["count_inactive_data_keys"], guard)
    if inactive:
        raise DataKeyInactiveError


def _bytes(id_hex: str) -> bytes:
    try:
        return bytes.fromhex(id_hex)
    except ValueError:
        return b""  # a forged cursor; it changes only the position within the caller's own listing
