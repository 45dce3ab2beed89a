"""The states of accounts: loaded whole, and changed by decisions."""

from attrs import evolve
from tests.examples.dict_store.accounts import account_record, rows_of
from tests.examples.dict_store.database import Port, atomic

from vault_domain.entities.account_state import AccountState
from vault_domain.entities.key_records import DataKeyState
from vault_domain.ports.change import Change, DataKeyInactiveError
from vault_domain.ports.refresh_ledger import DueAccount, Snapshot


class DictAccountStates(Port):
    """Implements `AccountStates`."""

    @atomic
    def change(self, transaction, account, decide):
        return change_state(transaction, account, decide)

    async def read(self, account):
        tables = self._tables
        rows = rows_of(tables, account)
        sealed = {kind: row.sealed for kind, row in rows.items()}
        return Snapshot(account_record(tables, account, rows), sealed, self._clock.now())

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


def change_state(transaction, account, decide):
    """Load an account, decide, and write what differs."""
    tables = transaction.tables
    before = AccountState(account, rows_of(tables, account), tables.accounts.get(account))
    decision = decide(before, transaction.now)
    if decision.state is not before:
        _put(transaction, before, decision.state, decision.events)
    return decision


def change_each(transaction, writes, decide):
    """Decide for each account of these writes about its own writes; return the results in the order of the writes."""
    accounts, results, events = {}, {}, []
    for write in writes:
        accounts.setdefault(write.key.account, []).append(write)
    for account, own in accounts.items():
        decision = change_state(transaction, account, lambda state, now, own=own: decide(state, now, own))
        results |= zip((write.key for write in own), decision.result, strict=True)
        events += decision.events
    return Change([results[write.key] for write in writes], tuple(events))


def require_active_data_keys(transaction, writes):
    for write in writes:
        record = transaction.tables.data_keys.get((write.key.tenant_id, write.sealed.data_key_id))
        if record is None or record.state is not DataKeyState.ACTIVE:
            raise DataKeyInactiveError


def _put(transaction, before, after, events):
    """Write what differs between two states of an account, and append the events."""
    tables = transaction.tables
    changed = [token for kind, token in after.tokens.items() if before.tokens.get(kind) is not token]
    require_active_data_keys(transaction, [each for each in changed if each.info.value_id not in before.value_ids])
    for kind in before.tokens.keys() - after.tokens.keys():
        del tables.tokens[after.account.key(kind)]
    if after.is_empty:
        tables.accounts.pop(after.account, None)
        tables.unread.pop(after.account, None)
    for token in changed:
        there = tables.tokens.get(token.key)
        if there is not None and there.info.id == token.info.id:  # uses are recorded apart from the states
            tables.tokens[token.key] = evolve(token, info=evolve(token.info, last_used_at=there.info.last_used_at))
        else:
            tables.tokens[token.key] = token
    if after.row is not None:
        tables.accounts[after.account] = after.row
    transaction.append(events)
