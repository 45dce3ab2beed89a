"""Accounts: read, changed by decisions, imported and erased."""

from functools import lru_cache, partial
from uuid import uuid4

from attrs import evolve
from tests.examples.dict_store.database import Port, atomic

from vault_adapters.stores.import_ids import ImportIds
from vault_domain.entities.account import TokenKind
from vault_domain.entities.account_state import AccountState
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.key_records import DataKeyState
from vault_domain.ports.accounts import DueAccount, Erased, Reading, Snapshot
from vault_domain.ports.change import Change, DataKeyInactiveError
from vault_domain.ports.late_writes import LateWrites
from vault_domain.transitions.importing import imported
from vault_domain.transitions.values import stored

_KEPT = (AuditAction.TENANT_ERASED, AuditAction.DATA_KEY_DESTROYED)


class DictAccounts(Port):
    """Implements `Accounts`."""

    async def get(self, key):
        return Reading(self._tables.tokens.get(key), self._clock.now())

    async def get_many(self, keys):
        tokens = self._tables.tokens
        return [tokens[key] for key in keys if key in tokens], self._clock.now()

    async def read(self, account, *, with_values=True):
        state = _state(self._tables, account)
        return Snapshot(state.record, {kind: row.sealed for kind, row in state.tokens.items()}, self._clock.now())

    @atomic
    def change(self, transaction, account, decide):
        return _change(transaction, account, decide)

    @atomic
    def store(self, transaction, writes, *, actor):
        late = LateWrites.of(writes)
        named = [evolve(write, value_id=write.value_id or uuid4()) for write in late.take(range(len(late.keys)))]
        return _change_each(transaction, named, lambda *given: stored(*given, actor))

    def begin_import(self, source, *, overwrite, actor):
        ids = ImportIds.of(source)

        def decide(state, now, own):
            return imported(state, now, [(write, ids.new()) for write in own], ids, actor, overwrite=overwrite)

        async def prepare(late):
            writes = late.take(range(len(late.keys)))

            def work(transaction):
                require_active(transaction, writes)
                return _change_each(transaction, writes, decide)

            return partial(self._database.transact, work, self._clock)

        return prepare

    @atomic
    def reserve_due(self, transaction, provider, *, hold, limit, since, until):
        due = [
            DueAccount(account, row.due_at)
            for account, row in transaction.tables.accounts.items()
            if account.provider == provider
            and row.due_at is not None
            and (since is None or row.due_at >= since)
            and row.due_at <= (until or transaction.now)
        ]
        taken = sorted(due, key=lambda each: each.due_at)[:limit]
        for each in taken:
            transaction.change_account(each.account, due_at=transaction.now + hold)
        return taken, transaction.now

    @atomic
    def record_uses(self, transaction, uses):
        tokens = transaction.tables.tokens
        for ref, used_at in uses.items():
            there = tokens.get(ref.key)
            if there is not None and there.info.id == ref.id:
                latest = max(used_at, there.info.last_used_at or used_at)
                tokens[ref.key] = evolve(there, info=evolve(there.info, last_used_at=latest))

    @atomic
    def erase(self, transaction, tenant_id, *, actor):
        tables = transaction.tables
        accounts = len({key.account for key in tables.tokens if key.tenant_id == tenant_id})
        tokens, *_ = [_pop_all(table, tenant_id) for table in (tables.tokens, tables.accounts, tables.unread)]
        keys = [record for (owner, _), record in tables.data_keys.items() if owner == tenant_id]
        alive = [record for record in keys if record.state is not DataKeyState.DESTROYED]
        for record in alive:
            destroyed = evolve(record, state=DataKeyState.DESTROYED, wraps=())
            tables.data_keys[tenant_id, record.key_id] = destroyed
        wraps = sum(len(record.wraps) for record in keys)
        erased = Erased(tokens, accounts, len(alive), wraps, _forget(tables.events, tenant_id))
        if erased == Erased(0, 0, 0, 0, 0):
            return Change(erased)
        event = AuditEvent(AuditAction.TENANT_ERASED, transaction.now, tenant_id=tenant_id, actor=actor)
        action = AuditAction.DATA_KEY_DESTROYED
        events = (*(evolve(event, action=action, code=record.key_id.hex()) for record in alive), event)
        return Change(erased, transaction.append(events))


def require_active(transaction, values):
    for value in values:
        record = transaction.tables.data_keys.get((value.key.tenant_id, value.sealed.data_key_id))
        if record is None or record.state is not DataKeyState.ACTIVE:
            raise DataKeyInactiveError


def _change(transaction, account, decide):
    """Load an account, decide, and write what differs."""
    before = _state(transaction.tables, account)
    decision = decide(before, transaction.now)
    if decision.state is not before:
        _put(transaction, before, decision.state)
        transaction.append(decision.events)
    return decision


def _change_each(transaction, writes, decide):
    """Decide for each account of these writes about its own writes; return the results in the order of the writes."""
    accounts, results, events = {}, {}, []
    for write in writes:
        accounts.setdefault(write.key.account, []).append(write)
    for account, own in accounts.items():
        decision = _change(transaction, account, lambda state, now, own=own: decide(state, now, own))
        results |= zip((write.key for write in own), decision.result, strict=True)
        events += decision.events
    return Change([results[write.key] for write in writes], tuple(events))


def _state(tables, account):
    tokens = tables.tokens
    rows = {key.kind: tokens[key] for key in _all_keys(account) if key in tokens}
    return AccountState(account, rows, tables.accounts.get(account))


@lru_cache(maxsize=10_000)
def _all_keys(account):
    return tuple(map(account.key, TokenKind))


def _put(transaction, before, after):
    tables = transaction.tables
    changed = [token for kind, token in after.tokens.items() if before.tokens.get(kind) is not token]
    require_active(transaction, [each for each in changed if each.info.value_id not in before.value_ids])
    for kind in before.tokens.keys() - after.tokens.keys():
        del tables.tokens[after.account.key(kind)]
    if after.is_empty:
        tables.accounts.pop(after.account, None)
        tables.unread.pop(after.account, None)
    for token in changed:
        there = tables.tokens.get(token.key)
        if there is not None and there.info.id == token.info.id:  # uses are recorded apart from the states
            token = evolve(token, info=evolve(token.info, last_used_at=there.info.last_used_at))  # noqa: PLW2901
        tables.tokens[token.key] = token
    if after.row is not None:
        tables.accounts[after.account] = after.row


def _pop_all(table, tenant_id):
    doomed = [key for key in table if key.tenant_id == tenant_id]
    for key in doomed:
        del table[key]
    return len(doomed)


def _forget(events, tenant_id):
    """Remove tenant and account from the tenant's events, except those of erasures and destroyed keys."""
    emptied = 0
    for number, event in enumerate(events):
        if event is not None and event.tenant_id == tenant_id and event.action not in _KEPT:
            events[number] = evolve(event, tenant_id=None, account=None)
            emptied += 1
    return emptied
