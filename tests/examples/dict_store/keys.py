"""Master keys and data keys."""

from collections import Counter

from attrs import evolve
from tests.examples.dict_store.accounts import require_active, state_of, token_of
from tests.examples.dict_store.database import Port, atomic, page

from vault_domain.entities.audit import AuditAction
from vault_domain.entities.key_decisions import MasterKeySet
from vault_domain.entities.key_records import DataKeyState
from vault_domain.ports.change import Change
from vault_domain.ports.keys import DataKeyQuery, KeyCounts, SealedRow
from vault_domain.rules.key_states import (
    confirmed_data_key,
    confirmed_master_key,
    is_resurrected,
)
from vault_domain.transitions import keys as transitions


class DictKeys(Port):
    """Implements `Keys`."""

    async def master_keys(self):
        return master_keys(self._tables)

    @atomic
    def change_master_keys(self, transaction, decide):
        tables = transaction.tables
        is_new = not (tables.master_keys or tables.data_keys or tables.accounts)
        in_use = {wrap.master_key_id for record in tables.data_keys.values() for wrap in record.wraps}
        before = MasterKeySet(tuple(master_keys(tables)), frozenset(in_use), is_new)
        decision = decide(before, transaction.now)
        tables.master_keys = {record.key_id: record for record in decision.state.records}
        transaction.append(decision.events)
        return Change(master_keys(tables), decision.events)

    async def data_key(self, tenant_id, key_id):
        if key_id is None:
            return active_data_key(self._tables, tenant_id)
        record = self._tables.data_keys.get((tenant_id, key_id))
        return record and confirmed(self._tables, record)

    @atomic
    def create_data_key(self, transaction, record):
        active = active_data_key(transaction.tables, record.tenant_id)
        return active or insert_data_key(transaction, transitions.created(master_keys(transaction.tables), record))

    @atomic
    def change_data_key(self, transaction, tenant_id, key_id, decide):
        tables = transaction.tables
        stored = tables.data_keys.get((tenant_id, key_id))
        if stored is None:
            return Change(None)
        decision = decide(stored, master_keys(tables), transaction.now)
        put(tables, decision.state)
        transaction.append(decision.events)
        new = decision.new and insert_data_key(transaction, decision.new)
        return Change(new or decision.state, decision.events)

    async def data_keys(self, query, after, limit):
        tables = self._tables
        places = [place for place in self._places(query) if after is None or place > after]
        return [confirmed(tables, tables.data_keys[place]) for place in places[:limit]]

    @atomic
    def change_data_keys(self, transaction, query, decide):
        tables, events, count = transaction.tables, [], 0
        used = set(map(_place, tables.tokens))
        for place in self._places(query):
            record = tables.data_keys[place]
            decision = decide(record, transaction.now, place in used)
            count += decision.state is not record
            put(tables, decision.state)
            events += decision.events
        transaction.append(events)
        return Change(count, tuple(events))

    async def key_counts(self, tenant_id=None, min_age=None):
        tables, old = self._tables, DataKeyQuery(tenant_id, DataKeyState.ACTIVE, min_age)
        records = [record for record in tables.data_keys.values() if tenant_id in (None, record.tenant_id)]
        states = Counter(record.state for record in records)
        return KeyCounts(
            wraps=dict(Counter(wrap.master_key_id for record in records for wrap in record.wraps)),
            active=states[DataKeyState.ACTIVE],
            decrypt_only=states[DataKeyState.DECRYPT_ONLY],
            destroyed=states[DataKeyState.DESTROYED],
            tokens_to_reseal=self._count_tokens(DataKeyQuery(tenant_id, DataKeyState.DECRYPT_ONLY, is_emptied=False)),
            resurrected=sum(is_resurrected(confirmed(tables, record)) for record in records),
            to_rotate=0 if min_age is None else len(self._places(old)),
            tokens_to_rotate=0 if min_age is None else self._count_tokens(old),
        )

    async def rows_to_reseal(self, tenant_id, after, limit):
        old = set(self._places(DataKeyQuery(tenant_id, DataKeyState.DECRYPT_ONLY)))
        rows = [SealedRow(each[1].key, each[1].sealed) for each in self._tables.tokens if _place(each) in old]
        return page(rows, lambda row: _order(row.key), limit, after and _order(after))

    @atomic
    def reseal(self, transaction, rows):
        tables, written = transaction.tables, 0
        for row in rows:
            require_active(transaction, row.key.tenant_id, row.after)
            state, stored = state_of(tables, row.key.account), token_of(tables, row.key)
            if stored is not None and stored.sealed == row.before:
                tables.accounts[state.account] = state.with_token(evolve(stored, sealed=row.after))
                written += 1
        return written

    @atomic
    def change_wraps(self, transaction, wraps, *, replaced=None):
        tables, changed = transaction.tables, 0
        masters = master_keys(tables)
        for placed in wraps:
            record = tables.data_keys.get((placed.tenant_id, placed.data_key_id))
            if record is None:
                continue
            if replaced is None:
                new = transitions.wrapped(masters, record, placed.wrap)
            else:
                new = transitions.unwrapped(masters, record, replaced, placed.wrap)
            changed += new is not record
            put(tables, new)
        return changed

    def _places(self, query):
        """Return the places of the data keys that a query selects, sorted."""
        tables, now = self._tables, self._clock.now()

        def is_wanted(record):
            wrapped_by = {wrap.master_key_id for wrap in record.wraps}
            age = now - tables.data_key_times[record.tenant_id, record.key_id]
            return (
                (record.state is query.state if query.state else record.state is not DataKeyState.DESTROYED)
                and query.tenant_id in (None, record.tenant_id)
                and (query.min_age is None or age >= query.min_age)
                and (query.min_empty is None or (record.emptied_at and now - record.emptied_at >= query.min_empty))
                and query.is_emptied in (None, record.emptied_at is not None)
                and (query.wrapped_by is None or query.wrapped_by in wrapped_by)
                and (query.not_wrapped_by is None or query.not_wrapped_by not in wrapped_by)
            )

        return sorted(place for place, record in tables.data_keys.items() if is_wanted(record))

    def _count_tokens(self, query):
        places = set(self._places(query))
        return sum(_place(each) in places for each in self._tables.tokens)


def active_data_key(tables, tenant_id):
    for (owner, _), record in tables.data_keys.items():
        if owner == tenant_id and record.state is DataKeyState.ACTIVE:
            return confirmed(tables, record)
    return None


def confirmed(tables, record):
    """Return a data key with the state that the audit log confirms."""
    about = (record.tenant_id, record.key_id.hex())
    actions = {event.action for event in tables.events if event is not None and (event.tenant_id, event.code) == about}
    confirming = sorted(actions & {AuditAction.DATA_KEY_DESTROYED, AuditAction.DATA_KEY_REPLACED})
    return evolve(record, confirmed=confirmed_data_key(confirming[0] if confirming else None))


def master_keys(tables):
    """Return all master keys, each with the state that the audit log confirms."""
    events = [event for event in tables.events if event is not None and event.action.startswith("master_key")]
    last = {event.code: event.action for event in events}
    activated = [event.code for event in events if event.action is AuditAction.MASTER_KEY_ACTIVATED]
    return [
        evolve(
            key, confirmed=confirmed_master_key(key.key_id, last.get(key.key_id.hex()), next(reversed(activated), None))
        )
        for key in tables.master_keys.values()
    ]


def insert_data_key(transaction, new):
    put(transaction.tables, new)
    transaction.tables.data_key_times[new.tenant_id, new.key_id] = transaction.now
    return new


def put(tables, record):
    tables.data_keys[record.tenant_id, record.key_id] = record


def _place(of_account):
    state, token = of_account
    return (state.account.tenant_id, token.sealed.data_key_id)


def _order(key):
    return (key.tenant_id, key.provider, key.identifier or "", key.kind.value)
