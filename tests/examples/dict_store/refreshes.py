"""Leases on accounts, and the schedule of sweeps."""

from datetime import timedelta

from attrs import evolve
from tests.examples.dict_store.accounts import account_record, rows_of
from tests.examples.dict_store.database import AccountRow
from tests.examples.dict_store.tokens import invalidate, put_tokens

from vault_adapters.stores.schedule import due_at_of
from vault_domain.entities.refresh_state import RefreshState
from vault_domain.entities.token import TokenRef, TokenStatus
from vault_domain.ports.change import Change
from vault_domain.ports.refresh_events import failing_event, recovered_event, refreshed_event, required_event
from vault_domain.ports.refresh_ledger import (
    Commit,
    CommitOutcome,
    DueAccount,
    Snapshot,
    mark_of,
    still_wanted,
    stored_access,
    suspect,
)


class DictRefreshLedger:
    """Implements `RefreshLedger`."""

    def __init__(self, database, clock):
        self._database, self._clock = database, clock

    async def read(self, account):
        tables = self._database.tables
        rows = rows_of(tables, account)
        sealed = {kind: row.sealed for kind, row in rows.items()}
        return Snapshot(account_record(tables, account, rows), sealed, self._clock.now())

    async def claim(self, attempt, seen):
        def work(transaction):
            tables, now = transaction.tables, transaction.now
            stored = tables.tokens.get(attempt.credential.key)
            row = tables.accounts.get(attempt.account, AccountRow())
            if stored is None or TokenRef.of(stored.info) != attempt.credential:
                return None
            if stored.info.status is TokenStatus.INVALID or row.refresh.attempt_id != seen:
                return None
            known = row.refresh if row.refresh.concerns(stored.info) else RefreshState()
            if known.leased_until(now) is not None:
                return None
            unknown_since = known.unknown_at(now)
            refresh = RefreshState(
                credential_value_id=attempt.credential.value_id,
                attempt_id=attempt.attempt_id,
                lease_until=now + attempt.lease,
                sent_at=now if unknown_since is None else known.sent_at,
                failures=known.failures,
                next_attempt_at=None,
                unknown_since=unknown_since,
                error_code=known.error_code,
                refused_since=known.refused_since,
                refused_for=known.refused_for,
            )
            tables.accounts[attempt.account] = evolve(
                row, refresh=refresh, due_at=refresh.lease_until, endpoint=attempt.endpoint
            )
            return now

        return await self._database.transact(work, self._clock)

    async def renew(self, attempt, lease):
        def work(transaction):
            own = _own(transaction, attempt)
            if own is None or own.lease_until is None:
                return False
            lease_until = transaction.now + lease
            due_at = transaction.tables.accounts[attempt.account].due_at
            due_at = lease_until if due_at == own.lease_until else due_at
            transaction.change_account(attempt.account, refresh=evolve(own, lease_until=lease_until), due_at=due_at)
            return True

        return await self._database.transact(work, self._clock)

    async def reserve_due(self, provider, *, hold, limit, since, until):
        def work(transaction):
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

        return await self._database.transact(work, self._clock)

    async def reschedule(self, account, judge):
        def work(transaction):
            due_at = judge(account_record(transaction.tables, account), transaction.now)
            transaction.change_account(account, due_at=due_at)

        await self._database.transact(work, self._clock)

    async def release(self, attempt):
        await self._database.transact(lambda transaction: _release(transaction, attempt), self._clock)

    async def fail(self, attempt, failure, *, actor=None):
        def work(transaction):
            own = _own(transaction, attempt)
            if own is None:
                return Change(None)
            next_attempt_at = transaction.now + failure.retry_in
            refresh = evolve(
                own,
                lease_until=None,
                failures=own.failures + 1,
                next_attempt_at=next_attempt_at,
                error_code=failure.code,
                unknown_since=transaction.now if failure.unknown else own.unknown_since,
                **_refused(own, failure, transaction.now),
            )
            stored_due_at = transaction.tables.accounts[attempt.account].due_at
            due_at = _due_after_failure(stored_due_at, own.lease_until, next_attempt_at)
            transaction.change_account(attempt.account, refresh=refresh, due_at=due_at)
            events = (failing_event(attempt, failure, transaction.now, actor),) if refresh.failures == 1 else ()
            transaction.append(events)
            return Change(None, events)

        return await self._database.transact(work, self._clock)

    async def reject(self, attempt, code, *, actor):
        return await self._database.transact(lambda transaction: reject(transaction, attempt, code, actor), self._clock)

    async def commit(self, attempt, writes, *, actor):
        def work(transaction):
            tables = transaction.tables
            row = tables.accounts.get(attempt.account, AccountRow())
            if row.committed_attempt_id == attempt.attempt_id:
                return Change(Commit(CommitOutcome.WRITTEN))
            stored = {kind: TokenRef.of(row.info) for kind, row in rows_of(tables, attempt.account).items()}
            outcome, wanted = still_wanted(attempt, stored, writes)
            if outcome is CommitOutcome.CREDENTIAL_MOVED:
                _release(transaction, attempt)
                return Change(Commit(outcome))
            mark = mark_of(tables.tokens[attempt.credential.key].info)
            written = put_tokens(transaction, wanted)
            events = [refreshed_event(attempt, written, transaction.now, actor)] if written else []
            if tables.accounts[attempt.account].refresh.failures:
                events.append(recovered_event(attempt, transaction.now, actor))
            transaction.append(events)
            new = suspect(attempt, mark, wanted)
            if new is not None:
                row = tables.tokens[new.key]
                info = evolve(row.info, status=TokenStatus.UNKNOWN, error_code=mark)
                tables.tokens[new.key] = evolve(row, info=info)
            transaction.change_account(
                attempt.account,
                refresh=_settled(tables.accounts[attempt.account].refresh, attempt),
                committed_attempt_id=attempt.attempt_id,
                due_at=_due_after(wanted, written, transaction.now),
            )
            return Change(Commit(outcome, stored_access(zip(wanted, written, strict=True))), tuple(events))

        return await self._database.transact(work, self._clock)


def reject(transaction, attempt, code, actor):
    """End the attempt and mark its credential invalid."""
    _release(transaction, attempt)
    stored = transaction.tables.tokens.get(attempt.credential.key)
    if stored is None or TokenRef.of(stored.info) != attempt.credential:
        return Change(result=False)
    if stored.info.status is TokenStatus.INVALID:
        return Change(result=True)
    stored = evolve(stored, info=evolve(stored.info, rejected_at=transaction.now))
    required = required_event(attempt, code, transaction.now, actor)
    events = (*invalidate(transaction, stored, code, actor), required)
    transaction.append([required])
    return Change(result=True, events=events)


def _own(transaction, attempt):
    """Return the account's refresh state if this attempt is the latest, or None."""
    row = transaction.tables.accounts.get(attempt.account)
    return row.refresh if row is not None and row.refresh.attempt_id == attempt.attempt_id else None


def _release(transaction, attempt):
    own = _own(transaction, attempt)
    if own is not None:
        transaction.change_account(attempt.account, refresh=evolve(own, lease_until=None), due_at=transaction.now)


def _refused(own, failure, now):
    if not failure.refused:
        return {}
    if own.refused_since is None:
        return {"refused_since": now}
    if failure.refused_for is None:
        return {}
    return {"refused_since": now - failure.refused_for, "refused_for": failure.refused_for}


def _due_after_failure(due_at, lease_until, next_attempt_at):
    # A claim sets `due_at` to the end of its lease. Any other time comes from a value stored during the attempt.
    if due_at is None or due_at == lease_until:
        return next_attempt_at
    return min(due_at, next_attempt_at)


def _settled(refresh, attempt):
    lease_until = None if refresh.attempt_id == attempt.attempt_id else refresh.lease_until
    return evolve(
        refresh,
        failures=0,
        next_attempt_at=None,
        unknown_since=None,
        error_code=None,
        refused_since=None,
        refused_for=timedelta(0),
        lease_until=lease_until,
    )


def _due_after(writes, infos, now):
    for write, info in zip(writes, infos, strict=True):
        if write.lead is not None:
            return due_at_of(write, info.expires_at, now)
    return now
