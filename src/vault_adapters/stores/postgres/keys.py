"""Implements `Keys` on Postgres."""

from collections.abc import Sequence
from contextlib import nullcontext
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from vault_adapters.stores.batching import ReadBatcher
from vault_adapters.stores.damage import sound, sound_page
from vault_adapters.stores.key_reads import (
    count_keys,
    master_key_changes,
    master_key_set,
    query_parameters,
    rows_to_reseal,
)
from vault_adapters.stores.postgres.appending import append_events
from vault_adapters.stores.postgres.citus_keys import DataKeyReads
from vault_adapters.stores.postgres.cursors import Row, int8
from vault_adapters.stores.postgres.database import PostgresDatabase, Transaction
from vault_adapters.stores.postgres.key_rows import (
    DataKeyChange,
    changes_parameters,
    data_key_position,
    data_key_record,
    data_key_use,
    data_keys_parameters,
    master_key_record,
    own_wraps,
    reseal_parameters,
    wraps_parameters,
)
from vault_adapters.stores.postgres.limits import Pace
from vault_adapters.stores.postgres.readers import Reader
from vault_adapters.stores.queries import Queries
from vault_domain.entities.account import TokenKey
from vault_domain.entities.audit import AuditEvent
from vault_domain.entities.errors import KeyUnavailableError, StorageError
from vault_domain.entities.key_decisions import KeyDecision, MasterKeySet
from vault_domain.entities.key_records import DataKeyRecord, DataKeyState, MasterKeyRecord
from vault_domain.ports.change import Change, DataKeyInactiveError
from vault_domain.ports.keys import (
    DataKeyPosition,
    DataKeyQuery,
    DecideDataKey,
    DecideMasterKeys,
    DecideWrapped,
    KeyCounts,
    PlacedWrap,
    Resealed,
    SealedRow,
)
from vault_domain.rules.key_states import may_wrap, no_active_master_key
from vault_domain.transitions.keys import created

CHANGED_AT_ONCE = 1000
"""Largest number of data keys to change in one transaction."""

_Place = tuple[str, bytes | None]
"""A tenant, and the id of one of its data keys; None: the active data key."""

# A data key is created or replaced in a further round only if another transaction has changed the tenant's data keys.
_ROUNDS = 8


class PostgresKeys:
    """Implements `Keys`."""

    def __init__(self, database: PostgresDatabase, queries: Queries) -> None:
        self._database = database
        self._queries = queries
        self._distributed = DataKeyReads(queries)
        # Reads and creations go in batches, because a bulk write or a sweep asks for many tenants' data keys at once.
        most = database.most_connections
        self._reads = ReadBatcher(partial(database.reading, self._read_keys), most_batches=most)
        self._creations = ReadBatcher(lambda: nullcontext(self._create), most_batches=most)

    async def master_keys(self) -> list[MasterKeyRecord]:
        """Return all master key records."""
        return sound(await self._database.fetch(self._queries["list_master_keys"]), master_key_record)

    async def change_master_keys(self, decide: DecideMasterKeys) -> Change[list[MasterKeyRecord]]:
        """Load all master keys, decide, and write those that differ with the events; return all records."""

        async def work(transaction: Transaction) -> Change[list[MasterKeyRecord]]:
            await transaction.execute(self._queries["lock_master_keys"])
            # Only these statements see what was committed while the one above waited.
            before, now = await self._load_master_keys(transaction)
            decision = decide(before, now)
            if decision.state is before:
                return Change(list(before.records))
            for changed in master_key_changes(before, decision.state):
                await transaction.execute(self._queries["put_master_key"], changed)
            await append_events(transaction, self._queries, decision.events)
            rows = await transaction.fetch(self._queries["list_master_keys"])
            return Change(sound(rows, master_key_record), decision.events)

        return await self._database.transact(work, pace=Pace.BULK)

    async def data_key(self, tenant_id: str, key_id: bytes | None) -> DataKeyRecord | None:
        """Return one data key of this tenant, or None."""
        return await self._reads.get((tenant_id, key_id))

    async def create_data_key(self, record: DataKeyRecord) -> DataKeyRecord:
        """Store an active data key, unless the tenant has one; return the tenant's active data key."""
        for _ in range(_ROUNDS):
            new, is_stored = await self._creations.get(record)
            if new is not None and is_stored:
                return new
            # The insert has waited for other transactions that create a data key of this tenant. So the data key of one
            # of them is committed, unless an erasure has destroyed it since.
            active = await self.data_key(record.tenant_id, None)
            if active is not None:
                return active
            if new is None:
                raise no_active_master_key()
        raise _busy()

    async def change_data_key(
        self, tenant_id: str, key_id: bytes, decide: DecideWrapped
    ) -> Change[DataKeyRecord | None]:
        """Load a data key, decide, and write it with its wraps, a new data key and the events."""
        place = {"tenant_id": tenant_id, "data_key_id": key_id}

        async def work(transaction: Transaction) -> Change[DataKeyRecord | None]:
            masters = await self._held_master_keys(transaction)
            await transaction.fetch(self._queries["hold_data_key"], place)
            # Only this statement sees what was committed while the one above waited.
            of_key = query_parameters(DataKeyQuery(tenant_id, key_id=key_id), None, 1) | {"state": None}
            rows = await self._fetch("list_data_keys", of_key, transaction)
            for stored, now, _ in sound(rows, data_key_use):
                decision = decide(stored, masters, now)
                if decision.state is stored:
                    return Change(stored)
                await self._write([(stored, decision)], transaction)
                if decision.state.wraps != stored.wraps:
                    await transaction.execute(self._queries["put_wraps"], place | own_wraps(decision.state))
                if decision.new is not None:
                    new = data_keys_parameters([decision.new]) | {"now": transaction.now}
                    await transaction.fetch(self._queries["create_data_keys"], new)
                return Change(decision.new or decision.state, decision.events)
            return Change(None)

        return await self._database.transact(work, pace=Pace.BULK)

    async def data_keys(self, query: DataKeyQuery, after: DataKeyPosition | None, limit: int) -> list[DataKeyRecord]:
        """Return a page of data keys, sorted by tenant and id."""

        async def fetch(position: DataKeyPosition | None, wanted: int) -> list[Row]:
            return await self._fetch("list_data_keys", query_parameters(query, position, wanted))

        return await sound_page(fetch, data_key_record, data_key_position, after, limit)

    async def change_data_keys(self, query: DataKeyQuery, decide: DecideDataKey) -> Change[int]:
        """Decide about each data key of a query, page by page, and write those that differ."""
        events: list[AuditEvent] = []
        after: DataKeyPosition | None = None
        count, is_end = 0, False
        while not is_end:
            parameters = query_parameters(query, after, CHANGED_AT_ONCE, with_use=True)
            rows = await self._fetch("list_data_keys", parameters)
            decisions = [(record, decide(record, now, is_used)) for record, now, is_used in sound(rows, data_key_use)]
            changes = [each for each in decisions if each[0] is not each[1].state]
            write = partial(self._write, changes)
            for decision in await self._database.transact(write, pace=Pace.BULK) if changes else ():
                count += 1
                events += decision.events
            is_end = len(rows) < CHANGED_AT_ONCE
            after = after if is_end else data_key_position(rows[-1])
        return Change(count, tuple(events))

    async def key_counts(self, tenant_id: str | None = None, min_age: timedelta | None = None) -> KeyCounts:
        """Count the keys of all tenants or of one, and those that are to be rotated."""
        return await count_keys(self._fetch, tenant_id, min_age)

    async def rows_to_reseal(self, tenant_id: str | None, after: TokenKey | None, limit: int) -> list[SealedRow]:
        """Return tokens under decrypt_only data keys, sorted by token key."""
        return await rows_to_reseal(self._fetch, tenant_id, after, limit)

    async def reseal(self, rows: Sequence[Resealed]) -> int:
        """For each of ``rows``: if the stored value is still exactly ``before``, replace it with ``after``."""
        parameters = reseal_parameters(rows)
        [(guarded, resealed)] = await self._database.write(self._queries["reseal_tokens"], parameters, pace=Pace.BULK)
        if guarded < len(rows):
            raise DataKeyInactiveError
        return int(resealed)

    async def change_wraps(self, wraps: Sequence[PlacedWrap], *, replaced: bytes | None = None) -> int:
        """Store missing wraps under the active master key, or delete those that they replace."""

        async def work(transaction: Transaction) -> int:
            changed = 0
            for master in await self._held_master_keys(transaction):
                own = [placed for placed in wraps if placed.wrap.master_key_id == master.key_id != replaced]
                parameters = wraps_parameters(own) | {"master_key_id": master.key_id, "replaced": replaced}
                [(count,)] = await transaction.fetch(self._queries["change_wraps"], parameters)
                changed += int(count)
            return changed

        return await self._database.transact(work, pace=Pace.BULK)

    async def close(self) -> None:
        """Wait until no read and no creation is running."""
        for batcher in (self._creations, self._reads):
            await batcher.drain()

    async def _read_keys(self, reader: Reader, places: Sequence[_Place]) -> list[DataKeyRecord | None]:
        wanted = list(set(places))
        if self._database.is_distributed:
            rows = await self._distributed.rows(reader, wanted)
        else:
            parameters = {"tenant_ids": [place[0] for place in wanted], "data_key_ids": [place[1] for place in wanted]}
            rows = await reader.fetch(self._queries["get_data_keys"], parameters)
        found: dict[_Place, DataKeyRecord] = {}
        for record in sound(rows, data_key_record):
            found[record.tenant_id, record.key_id] = record
            if record.state is DataKeyState.ACTIVE:
                found[record.tenant_id, None] = record
        return [found.get(place) for place in places]

    async def _create(self, records: Sequence[DataKeyRecord]) -> list[tuple[DataKeyRecord | None, bool]]:
        """Store new data keys in one transaction; return each as it is stored, and whether it is stored.

        Instead of a data key that the active master key does not wrap, return None.
        """

        async def work(transaction: Transaction) -> list[tuple[DataKeyRecord | None, bool]]:
            masters = await self._held_master_keys(transaction)
            usable = [_usable(masters, record) for record in records]
            stored = data_keys_parameters([record for record in usable if record is not None])
            rows = await transaction.fetch(self._queries["create_data_keys"], stored | {"now": transaction.now})
            places = set(rows)
            return [(each, each is not None and (each.tenant_id, each.key_id) in places) for each in usable]

        return await self._database.transact(work)

    async def _fetch(self, name: str, parameters: dict[str, Any], within: Transaction | None = None) -> list[Row]:
        own = {each: int8(value) if type(value) is int else value for each, value in parameters.items()}
        own["now"] = self._database.now() if within is None else within.now
        sql = self._queries.narrowed(name, own)
        if within is not None:
            return await within.fetch(sql, own)
        pace = Pace.BULK if parameters.get("data_key_id") is None else Pace.QUICK
        return await self._database.fetch(sql, own, pace=pace)

    async def _write(
        self, changes: Sequence[DataKeyChange], transaction: Transaction
    ) -> list[KeyDecision[DataKeyRecord]]:
        """Write data keys that nobody has changed meanwhile, with their events; return the decisions about these."""
        places = set(await transaction.fetch(self._queries["put_data_keys"], changes_parameters(changes)))
        stored = [decision for record, decision in changes if (record.tenant_id, record.key_id) in places]
        await append_events(transaction, self._queries, [event for decision in stored for event in decision.events])
        return stored

    async def _held_master_keys(self, transaction: Transaction) -> list[MasterKeyRecord]:
        """Keep the active master key active until the commit; return it, unless it may not wrap."""
        rows = await transaction.fetch(self._queries["share_active_master_key"])
        return [master for master in sound(rows, master_key_record) if may_wrap(master)]

    async def _load_master_keys(self, transaction: Transaction) -> tuple[MasterKeySet, datetime]:
        rows = await transaction.fetch(self._queries["list_master_keys"])
        [(has_data, now)] = await transaction.fetch(self._queries["has_data"], {"now": transaction.now})
        wraps = await transaction.fetch(self._queries["count_wraps"], {"tenant_id": None}) if rows else []
        return master_key_set(rows, master_key_record, wraps, has_data=has_data), now


def _busy() -> StorageError:
    return StorageError("the tenant's data key kept changing; nothing was written", retryable=True)


def _usable(masters: Sequence[MasterKeyRecord], record: DataKeyRecord) -> DataKeyRecord | None:
    try:
        return created(masters, record)
    except KeyUnavailableError:
        return None
