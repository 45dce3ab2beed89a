"""Changes the states of keys, and moves values and wraps between keys."""

from collections import Counter

from attrs import evolve
from tests.examples.dict_store.keys import active_data_key, confirmed, insert_data_key, is_active
from tests.examples.dict_store.tokens import by_key

from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.key_records import DataKeyState, MasterKeyState
from vault_domain.ports.change import Change, DataKeyInactiveError
from vault_domain.ports.key_rotation import KeyCounts, SealedRow
from vault_domain.rules.key_states import is_resurrected


class DictKeyRotation:
    """Implements `KeyRotationRepository`."""

    def __init__(self, database, clock):
        self._database, self._clock = database, clock

    async def key_counts(self, tenant_id=None):
        tables = self._database.tables
        records = [record for record in tables.data_keys.values() if tenant_id in (None, record.tenant_id)]
        states = Counter(record.state for record in records)
        to_empty = {
            (record.tenant_id, record.key_id)
            for record in records
            if record.state is DataKeyState.DECRYPT_ONLY and record.emptied_at is None
        }
        return KeyCounts(
            wraps=dict(Counter(wrap.master_key_id for record in records for wrap in record.wraps)),
            active=states[DataKeyState.ACTIVE],
            decrypt_only=states[DataKeyState.DECRYPT_ONLY],
            destroyed=states[DataKeyState.DESTROYED],
            tokens_to_reseal=sum(_place(stored) in to_empty for stored in tables.tokens.values()),
            resurrected=sum(is_resurrected(confirmed(tables, record)) for record in records),
        )

    async def count_data_keys_to_rotate(self, age):
        return len(self._to_rotate(age))

    async def count_tokens_to_rotate(self, age, tenant_id=None):
        places = {place for place in self._to_rotate(age) if tenant_id in (None, place[0])}
        return sum(_place(stored) in places for stored in self._database.tables.tokens.values())

    async def data_keys_to_rotate(self, age, after, limit):
        return [place for place in self._to_rotate(age) if place[0] > after][:limit]

    async def replace_active_data_key(self, replaced, record, *, actor):
        def work(transaction):
            tables, events = transaction.tables, ()
            active = active_data_key(tables, record.tenant_id)
            if active is not None and active.key_id == replaced:
                tables.data_keys[record.tenant_id, replaced] = evolve(active, state=DataKeyState.DECRYPT_ONLY)
                insert_data_key(transaction, record)
                events = (
                    _event(AuditAction.DATA_KEY_REPLACED, transaction, actor, replaced, record.tenant_id),
                    _event(AuditAction.DATA_KEY_ROTATED, transaction, actor, record.key_id, record.tenant_id),
                )
                transaction.append(events)
            return Change(active_data_key(tables, record.tenant_id), events)

        return await self._database.transact(work, self._clock)

    async def rows_to_reseal(self, tenant_id, after, limit):
        tables = self._database.tables
        old = {place for place, record in tables.data_keys.items() if record.state is DataKeyState.DECRYPT_ONLY}
        rows = [
            SealedRow(key, stored.sealed)
            for key, stored in tables.tokens.items()
            if _place(stored) in old
            and tenant_id in (None, key.tenant_id)
            and (after is None or _order(key) > _order(after))
        ]
        return sorted(rows, key=lambda row: _order(row.key))[:limit]

    async def reseal(self, rows):
        def work(transaction):
            tables, written = transaction.tables, 0
            for row in rows:
                record = tables.data_keys.get((row.key.tenant_id, row.after.data_key_id))
                if record is None or record.state is not DataKeyState.ACTIVE:
                    raise DataKeyInactiveError
                stored = tables.tokens.get(row.key)
                if stored is not None and stored.sealed == row.before:
                    tables.tokens[row.key] = evolve(stored, sealed=row.after)
                    written += 1
            return written

        return await self._database.transact(work, self._clock)

    async def mark_emptied(self, tenant_id):
        def work(transaction):
            tables = transaction.tables
            used = set(map(_place, tables.tokens.values()))
            emptied = [
                place
                for place, record in tables.data_keys.items()
                if record.state is DataKeyState.DECRYPT_ONLY
                and record.emptied_at is None
                and tenant_id in (None, record.tenant_id)
                and place not in used
            ]
            for place in emptied:
                tables.data_keys[place] = evolve(tables.data_keys[place], emptied_at=transaction.now)
            return len(emptied)

        return await self._database.transact(work, self._clock)

    async def destroy_emptied(self, tenant_id, age, *, actor):
        def work(transaction):
            tables, events = transaction.tables, []
            used = set(map(_place, tables.tokens.values()))
            for place, record in sorted(tables.data_keys.items()):
                if record.state is not DataKeyState.DECRYPT_ONLY or tenant_id not in (None, record.tenant_id):
                    continue
                if record.emptied_at is None or record.emptied_at > transaction.now - age:
                    continue
                if place in used:
                    tables.data_keys[place] = evolve(record, emptied_at=None)
                    continue
                tables.data_keys[place] = evolve(record, state=DataKeyState.DESTROYED, wraps=())
                events.append(
                    _event(AuditAction.DATA_KEY_DESTROYED, transaction, actor, record.key_id, record.tenant_id)
                )
            transaction.append(events)
            return Change(len(events), tuple(events))

        return await self._database.transact(work, self._clock)

    async def data_keys_without_wrap(self, master_key_id, after, limit):
        return self._page(
            lambda record: record.state is not DataKeyState.DESTROYED and not _wrap_of(record, master_key_id),
            after,
            limit,
        )

    async def data_keys_with_wrap(self, master_key_id, after, limit):
        return self._page(lambda record: _wrap_of(record, master_key_id), after, limit)

    async def add_wraps(self, wraps):
        def work(transaction):
            tables, added = transaction.tables, 0
            for placed in wraps:
                record = tables.data_keys.get((placed.tenant_id, placed.data_key_id))
                if record is None or record.state is DataKeyState.DESTROYED:
                    continue
                master_key_id = placed.wrap.master_key_id
                if _wrap_of(record, master_key_id) or not is_active(tables, master_key_id):
                    continue
                _put_wraps(tables, record, (*record.wraps, placed.wrap))
                added += 1
            return added

        return await self._database.transact(work, self._clock)

    async def delete_wraps(self, master_key_id, kept):
        def work(transaction):
            tables, deleted = transaction.tables, 0
            for placed in kept:
                record = tables.data_keys.get((placed.tenant_id, placed.data_key_id))
                doomed = None if record is None else _wrap_of(record, master_key_id)
                active = tables.master_keys.get(placed.wrap.master_key_id)
                if doomed is None or doomed == placed.wrap or placed.wrap not in record.wraps:
                    continue
                if _is(active, MasterKeyState.ACTIVE):
                    _put_wraps(tables, record, tuple(wrap for wrap in record.wraps if wrap != doomed))
                    deleted += 1
            return deleted

        return await self._database.transact(work, self._clock)

    def _to_rotate(self, age):
        tables, until = self._database.tables, self._clock.now() - age
        return sorted(
            place
            for place, record in tables.data_keys.items()
            if record.state is DataKeyState.ACTIVE and tables.data_key_times[place] <= until
        )

    def _page(self, wanted, after, limit):
        tables = self._database.tables
        records = sorted(tables.data_keys.items())
        found = [record for place, record in records if wanted(record) and (after is None or place > after)]
        return [confirmed(tables, record) for record in found[:limit]]


def _place(stored):
    return (stored.info.key.tenant_id, stored.sealed.data_key_id)


def _order(key):
    return (key.tenant_id, *by_key(key))


def _is(record, state):
    return record is not None and record.state is state


def _wrap_of(record, master_key_id):
    return next((wrap for wrap in record.wraps if wrap.master_key_id == master_key_id), None)


def _put_wraps(tables, record, wraps):
    tables.data_keys[record.tenant_id, record.key_id] = evolve(record, wraps=wraps)


def _event(action, transaction, actor, key_id, tenant_id=None):
    return AuditEvent(action, transaction.now, tenant_id=tenant_id, actor=actor, code=key_id.hex())
