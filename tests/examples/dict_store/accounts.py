"""Accounts: read, changed by decisions, imported and erased."""

from functools import partial
from uuid import uuid4

from attrs import evolve
from tests.examples.dict_store.database import Port, atomic

from vault_adapters.stores.import_ids import ImportIds
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
        return Reading(token_of(self._tables, key), self._clock.now())

    async def get_many(self, keys):
        return [token for key in keys if (token := token_of(self._tables, key))], self._clock.now()

    async def read(self, account, *, with_values=True):
        state = state_of(self._tables, account)
        sealed = {kind: token.sealed for kind, token in state.tokens.items()}
        return Snapshot(state.record, sealed, self._clock.now(), state.answer)

    @atomic
    def change(self, tables, account, decide):
        return _change(tables, account, decide)

    @atomic
    def store(self, tables, writes, *, actor):
        late = LateWrites.of(writes)
        named = [evolve(write, value_id=write.value_id or uuid4()) for write in late.take(range(len(late.keys)))]
        return _change_each(tables, named, lambda *given: stored(*given, actor))

    def begin_import(self, source, *, overwrite, actor):
        ids = ImportIds.of(source)

        def decide(state, now, own):
            return imported(state, now, [(write, ids.new()) for write in own], ids, actor, overwrite=overwrite)

        async def prepare(late):
            writes = late.take(range(len(late.keys)))
            return partial(self._database.transact, lambda tables: _change_each(tables, writes, decide), self._clock)

        return prepare

    @atomic
    def reserve_due(self, tables, provider, *, hold, limit, since, until):
        due = [
            state
            for account, state in tables.accounts.items()
            if account.provider == provider
            and state.row is not None
            and state.row.due_at is not None
            and (since is None or state.row.due_at >= since)
            and state.row.due_at <= (until or tables.now)
        ]
        taken = sorted(due, key=lambda state: state.row.due_at)[:limit]
        for state in taken:
            tables.accounts[state.account] = state.with_row(due_at=tables.now + hold)
        return [DueAccount(state.account, state.row.due_at) for state in taken], tables.now

    @atomic
    def record_uses(self, tables, uses):
        for ref, used_at in uses.items():
            state, token = state_of(tables, ref.key.account), token_of(tables, ref.key)
            if token is not None and token.info.id == ref.id:
                latest = max(used_at, token.info.last_used_at or used_at)
                tables.accounts[state.account] = state.with_token(token, last_used_at=latest)

    @atomic
    def erase(self, tables, tenant_id, *, actor):
        gone = [tables.accounts.pop(account) for account in list(tables.accounts) if account.tenant_id == tenant_id]
        keys = [record for (owner, _), record in tables.data_keys.items() if owner == tenant_id]
        alive = [record for record in keys if record.state is not DataKeyState.DESTROYED]
        for record in alive:
            destroyed = evolve(record, state=DataKeyState.DESTROYED, wraps=())
            tables.data_keys[tenant_id, record.key_id] = destroyed
        own = [(number, event) for number, event in tables.events.items() if event.tenant_id == tenant_id]
        named = [(number, event) for number, event in own if event.action not in _KEPT]
        for number, event in named:
            tables.events[number] = evolve(event, tenant_id=None, account=None)
        tokens, wraps = sum(len(state.tokens) for state in gone), sum(len(record.wraps) for record in keys)
        erased = Erased(tokens, len(gone), len(alive), wraps, len(named))
        if erased == Erased(0, 0, 0, 0, 0):
            return Change(erased)
        event = AuditEvent(AuditAction.TENANT_ERASED, tables.now, tenant_id=tenant_id, actor=actor)
        action = AuditAction.DATA_KEY_DESTROYED
        events = (*(evolve(event, action=action, code=record.key_id.hex()) for record in alive), event)
        return Change(erased, tables.append(events))


def state_of(tables, account):
    return tables.accounts.get(account) or AccountState(account)


def token_of(tables, key):
    return state_of(tables, key.account).tokens.get(key.kind)


def require_active(tables, tenant_id, sealed):
    record = tables.data_keys.get((tenant_id, sealed.data_key_id))
    if record is None or record.state is not DataKeyState.ACTIVE:
        raise DataKeyInactiveError


def _change(tables, account, decide):
    """Load an account, decide, and put the new state in the place of the old one."""
    before = state_of(tables, account)
    decision = decide(before, tables.now)
    for token in decision.state.tokens.values():
        if token.info.value_id not in before.value_ids:
            require_active(tables, account.tenant_id, token.sealed)
    if decision.state.answer not in (None, before.answer):
        require_active(tables, account.tenant_id, decision.state.answer.sealed)
    tables.accounts[account] = decision.state
    if decision.state.is_empty:
        del tables.accounts[account]
    tables.append(decision.events)
    return decision


def _change_each(tables, writes, decide):
    """Decide for each account of these writes about its own writes; return the results in the order of the writes."""
    accounts, results, events = {}, {}, []
    for write in writes:
        accounts.setdefault(write.key.account, []).append(write)
    for account, own in accounts.items():
        decision = _change(tables, account, lambda state, now, own=own: decide(state, now, own))
        results |= zip((write.key for write in own), decision.result, strict=True)
        events += decision.events
    return Change([results[write.key] for write in writes], tuple(events))
