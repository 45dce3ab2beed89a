"""Master keys and data keys."""

from collections import Counter

from attrs import evolve
from tests.examples.dict_store.accounts import require_active, state_of
from tests.examples.dict_store.database import Port, atomic, page

from vault_domain.entities.audit import AuditAction
from vault_domain.entities.key_decisions import MasterKeySet
from vault_domain.entities.key_records import DataKeyState
from vault_domain.ports.change import Change
from vault_domain.ports.keys import DataKeyQuery, KeyCounts, SealedRow
from vault_domain.rules.key_states import confirmed_data_key, confirmed_master_key, is_resurrected
from vault_domain.transitions.keys import created, unwrapped, wrapped


class DictKeys(Port):
    """Implements `Keys`."""

    async def master_keys(self):
        return _master_keys(self._tables)

    @atomic
    def change_master_keys(self, tables, decide):
        is_new = not (tables.master_keys or tables.data_keys or tables.accounts)
        in_use = {wrap.master_key_id for record in tables.data_keys.values() for wrap in record.wraps}
        before = MasterKeySet(tuple(_master_keys(tables)), frozenset(in_use), is_new)
        decision = decide(before, tables.now)
        tables.master_keys = {record.key_id: record for record in decision.state.records}
        tables.append(decision.events)
        return Change(_master_keys(tables), decision.events)

    async def data_key(self, tenant_id, key_id):
        return _data_key(self._tables, tenant_id, key_id)

    @atomic
    def create_data_key(self, tables, record):
        active = _data_key(tables, record.tenant_id, None)
        return active or _insert(tables, created(_master_keys(tables), record))

    @atomic
    def change_data_key(self, tables, tenant_id, key_id, decide):
        stored = tables.data_keys.get((tenant_id, key_id))
        if stored is None:
            return Change(None)
        decision = decide(stored, _master_keys(tables), tables.now)
        tables.data_keys[tenant_id, key_id] = decision.state
        tables.append(decision.events)
        new = decision.new and _insert(tables, decision.new)
        return Change(new or decision.state, decision.events)

    async def data_keys(self, query, after, limit):
        places = page(self._places(query), tuple, limit, after)
        return [_data_key(self._tables, *place) for place in places]

    @atomic
    def change_data_keys(self, tables, query, decide):
        events, count, used = [], 0, set(map(_place, tables.tokens))
        for place in self._places(query):
            before = tables.data_keys[place]
            decision = decide(before, tables.now, place in used)
            tables.data_keys[place] = decision.state
            count += decision.state is not before
            events += tables.append(decision.events)
        return Change(count, tuple(events))

    async def key_counts(self, tenant_id=None, min_age=None):
        tables, old = self._tables, DataKeyQuery(tenant_id, DataKeyState.ACTIVE, min_age)
        records = [_data_key(tables, *place) for place in tables.data_keys if tenant_id in (None, place[0])]
        states = Counter(record.state for record in records)
        return KeyCounts(
            wraps=Counter(wrap.master_key_id for record in records for wrap in record.wraps),
            active=states[DataKeyState.ACTIVE],
            decrypt_only=states[DataKeyState.DECRYPT_ONLY],
            destroyed=states[DataKeyState.DESTROYED],
            tokens_to_reseal=self._count_tokens(DataKeyQuery(tenant_id, DataKeyState.DECRYPT_ONLY, is_emptied=False)),
            resurrected=sum(map(is_resurrected, records)),
            to_rotate=0 if min_age is None else len(self._places(old)),
            tokens_to_rotate=0 if min_age is None else self._count_tokens(old),
        )

    async def rows_to_reseal(self, tenant_id, after, limit):
        old = set(self._places(DataKeyQuery(tenant_id, DataKeyState.DECRYPT_ONLY)))
        tokens = [each[1] for each in self._tables.tokens if _place(each) in old]
        found = page(tokens, lambda token: _order(token.key), limit, after and _order(after))
        return [SealedRow(token.key, token.sealed) for token in found]

    @atomic
    def reseal(self, tables, rows):
        written = 0
        for row in rows:
            require_active(tables, row.key.tenant_id, row.after)
            state = state_of(tables, row.key.account)
            stored = state.tokens.get(row.key.kind)
            if stored is not None and stored.sealed == row.before:
                tables.accounts[state.account] = state.with_tokens(evolve(stored, sealed=row.after))
                written += 1
        return written

    @atomic
    def change_wraps(self, tables, wraps, *, replaced=None):
        masters, before = _master_keys(tables), dict(tables.data_keys)
        for placed in wraps:
            place = (placed.tenant_id, placed.data_key_id)
            if place in before:
                given = () if replaced is None else (replaced,)
                change = wrapped if replaced is None else unwrapped
                tables.data_keys[place] = change(masters, tables.data_keys[place], *given, placed.wrap)
        return sum(record is not before[place] for place, record in tables.data_keys.items())

    def _places(self, query):
        """Return the places of the data keys that a query selects."""
        tables, now = self._tables, self._clock.now()

        def is_wanted(place, record):
            wrapped_by = {wrap.master_key_id for wrap in record.wraps}
            return (
                (record.state is query.state if query.state else record.state is not DataKeyState.DESTROYED)
                and query.tenant_id in (None, record.tenant_id)
                and query.key_id in (None, record.key_id)
                and (query.min_age is None or now - tables.data_key_times[place] >= query.min_age)
                and (query.min_empty is None or (record.emptied_at and now - record.emptied_at >= query.min_empty))
                and query.is_emptied in (None, record.emptied_at is not None)
                and (query.wrapped_by is None or query.wrapped_by in wrapped_by)
                and (query.not_wrapped_by is None or query.not_wrapped_by not in wrapped_by)
            )

        return [place for place, record in tables.data_keys.items() if is_wanted(place, record)]

    def _count_tokens(self, query):
        places = set(self._places(query))
        return sum(_place(each) in places for each in self._tables.tokens)


def _data_key(tables, tenant_id, key_id):
    """Return a data key, or with None the active one, with the state that the audit log confirms."""
    for record in tables.data_keys.values():
        is_wanted = record.key_id == key_id if key_id else record.state is DataKeyState.ACTIVE
        if record.tenant_id == tenant_id and is_wanted:
            about = (tenant_id, record.key_id.hex())
            actions = {event.action for event in tables.events.values() if (event.tenant_id, event.code) == about}
            confirming = sorted(actions & {AuditAction.DATA_KEY_DESTROYED, AuditAction.DATA_KEY_REPLACED})
            return evolve(record, confirmed=confirmed_data_key(next(iter(confirming), None)))
    return None


def _master_keys(tables):
    """Return all master keys, each with the state that the audit log confirms."""
    events = [event for event in tables.events.values() if event.action.startswith("master_key")]
    last = {event.code: event.action for event in events}
    activated = [None, *(event.code for event in events if event.action is AuditAction.MASTER_KEY_ACTIVATED)][-1]
    return [
        evolve(key, confirmed=confirmed_master_key(key.key_id, last.get(key.key_id.hex()), activated))
        for key in tables.master_keys.values()
    ]


def _insert(tables, new):
    place = (new.tenant_id, new.key_id)
    tables.data_keys[place], tables.data_key_times[place] = new, tables.now
    return new


def _place(of_account):
    state, token = of_account
    return (state.account.tenant_id, token.sealed.data_key_id)


def _order(key):
    return (key.tenant_id, key.provider, key.identifier or "", key.kind.value)
