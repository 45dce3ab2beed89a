"""Implements `RefreshLedger` on SQLite: leases accounts for refreshing and records how each attempt ended."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from vault_adapters.stores.damage import sound
from vault_adapters.stores.queries import Queries
from vault_adapters.stores.schedule import committed_schedule
from vault_adapters.stores.sqlite.audit import append_events, token_event
from vault_adapters.stores.sqlite.database import Row, SqliteDatabase, Transaction
from vault_adapters.stores.sqlite.marks import invalidate_value
from vault_adapters.stores.sqlite.rows import (
    account_parameters,
    account_record,
    account_snapshot,
    key_parameters,
    to_micros,
)
from vault_adapters.stores.sqlite.tokens import put_tokens
from vault_domain.entities.account import Account, TokenKind, stored_account
from vault_domain.entities.audit import AuditAction
from vault_domain.entities.refresh_state import AccountRecord
from vault_domain.entities.token import TokenInfo, TokenRef, TokenStatus, TokenWrite
from vault_domain.ports.change import Change
from vault_domain.ports.refresh_events import failing_event, recovered_event, refreshed_event, required_event
from vault_domain.ports.refresh_ledger import (
    Attempt,
    Commit,
    CommitOutcome,
    DueAccount,
    Failure,
    Judge,
    Snapshot,
    mark_of,
    still_wanted,
    stored_access,
    suspect,
)

_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SqliteRefreshLedger:
    """Implements `RefreshLedger`."""

    def __init__(self, database: SqliteDatabase, queries: Queries) -> None:
        self._database = database
        self._queries = queries

    async def read(self, account: Account) -> Snapshot:
        """Read an account with its sealed values."""
        rows = await self._database.fetch(self._queries["get_account_values"], account_parameters(account))
        return account_snapshot(rows, account, self._database.now())

    async def claim(self, attempt: Attempt, seen: UUID | None) -> datetime | None:
        """Take the lease and return the store's time; return None if another process was faster."""

        async def work(transaction: Transaction) -> datetime | None:
            return transaction.now if await self._claim(transaction, attempt, seen) else None

        return await self._database.transact(work)

    async def renew(self, attempt: Attempt, lease: timedelta) -> bool:
        """Extend the attempt's own lease to now plus ``lease``."""

        async def work(transaction: Transaction) -> bool:
            parameters = _parameters(attempt, transaction) | {"lease": lease // _MICROSECOND}
            return await transaction.execute(self._queries["renew_account"], parameters) == 1

        return await self._database.transact(work)

    async def reserve_due(
        self, provider: str, *, hold: timedelta, limit: int, since: datetime | None, until: datetime | None
    ) -> tuple[list[DueAccount], datetime]:
        """Take up to ``limit`` due accounts of a provider, earliest first."""

        async def work(transaction: Transaction) -> tuple[list[DueAccount], datetime]:
            window = {"since": to_micros(since or _EPOCH), "until": to_micros(until or transaction.now)}
            parameters = window | {"provider": provider, "limit": limit}
            due: list[DueAccount] = []
            # If all rows of one query are damaged, take the next rows, because damaged rows must not end the sweep.
            while not due and (rows := await transaction.fetch(self._queries["find_due_accounts"], parameters)):
                held = [
                    {"tenant_id": tenant_id, "provider": provider, "identifier": identifier}
                    | {"due_at": to_micros(transaction.now + hold)}
                    for tenant_id, identifier, _ in rows
                ]
                await transaction.execute_many(self._queries["schedule_account"], held)
                due = sound(rows, lambda row: _due_account(row, provider))
            return due, transaction.now

        return await self._database.transact(work)

    async def reschedule(self, account: Account, judge: Judge) -> None:
        """Ask ``judge`` when an account is due next, and store its answer, both in one transaction."""

        async def work(transaction: Transaction) -> None:
            due_at = judge(await self._record(transaction, account), transaction.now)
            parameters = account_parameters(account) | {"due_at": to_micros(due_at)}
            await transaction.execute(self._queries["schedule_account"], parameters)

        await self._database.transact(work)

    async def release(self, attempt: Attempt) -> None:
        """End the attempt's own lease."""
        await self._database.transact(
            lambda transaction: transaction.execute(self._queries["release_account"], _parameters(attempt, transaction))
        )

    async def fail(self, attempt: Attempt, failure: Failure, *, actor: str | None = None) -> Change[None]:
        """Record that the attempt failed."""

        async def work(transaction: Transaction) -> Change[None]:
            parameters = _parameters(attempt, transaction)
            parameters |= {"retry_in": failure.retry_in // _MICROSECOND, "error_code": failure.code}
            run = None if failure.refused_for is None else failure.refused_for // _MICROSECOND
            how = {"unknown": failure.unknown, "refused": failure.refused, "refused_for": run}
            changed = await transaction.execute(self._queries["fail_account"], parameters | how)
            if not changed or await self._failures(transaction, parameters) != 1:
                return Change(None)
            event = failing_event(attempt, failure, transaction.now, actor)
            await append_events(transaction, self._queries, [event])
            return Change(None, (event,))

        return await self._database.transact(work)

    async def reject(self, attempt: Attempt, code: str, *, actor: str | None) -> Change[bool]:
        """Mark the credential invalid and end the attempt."""

        return await self._database.transact(
            lambda transaction: reject_attempt(transaction, self._queries, attempt, code, actor)
        )

    async def commit(self, attempt: Attempt, writes: Sequence[TokenWrite], *, actor: str | None) -> Change[Commit]:
        """Store the provider's answer by compare-and-set on credential and access token."""

        async def work(transaction: Transaction) -> Change[Commit]:
            parameters = _parameters(attempt, transaction)
            committed = await transaction.fetch(self._queries["get_commit"], parameters)
            if committed == [(attempt.attempt_id.bytes,)]:
                return Change(Commit(CommitOutcome.WRITTEN))
            record = await self._record(transaction, attempt.account)
            tokens = {} if record is None else record.tokens
            stored = {kind: TokenRef.of(info) for kind, info in tokens.items()}
            outcome, wanted = still_wanted(attempt, stored, writes)
            if outcome is CommitOutcome.CREDENTIAL_MOVED:
                await transaction.execute(self._queries["release_account"], parameters)
                return Change(Commit(outcome))
            written = await put_tokens(transaction, self._queries, wanted) if wanted else []
            stored_now = list(zip(wanted, written, strict=True))
            await self._keep_mark(transaction, attempt, tokens, wanted)
            schedule = committed_schedule(stored_now)
            settled = {"due_at": to_micros(schedule.due_at), "wake": schedule.wake}
            events = [refreshed_event(attempt, written, transaction.now, actor)] if written else []
            if await self._failures(transaction, parameters):
                events.append(recovered_event(attempt, transaction.now, actor))
            await append_events(transaction, self._queries, events)
            await transaction.execute(self._queries["settle_account"], parameters | settled)
            return Change(Commit(outcome, stored_access(stored_now)), tuple(events))

        return await self._database.transact(work)

    async def _failures(self, transaction: Transaction, parameters: Mapping[str, Any]) -> int:
        rows = await transaction.fetch(self._queries["count_failures"], parameters)
        return sum(failures for (failures,) in rows)

    async def _keep_mark(
        self,
        transaction: Transaction,
        attempt: Attempt,
        before: Mapping[TokenKind, TokenInfo],
        writes: Sequence[TokenWrite],
    ) -> None:
        mark = mark_of(before[attempt.credential.key.kind])
        new = suspect(attempt, mark, writes)
        if new is not None:
            await transaction.execute(self._queries["suspect_token"], key_parameters(new.key) | {"error_code": mark})

    async def _claim(self, transaction: Transaction, attempt: Attempt, seen: UUID | None) -> bool:
        parameters = _parameters(attempt, transaction) | {
            "kind": attempt.credential.key.kind.value,
            "credential_value_id": attempt.credential.value_id.bytes,
            "seen": None if seen is None else seen.bytes,
            "endpoint": attempt.endpoint,
            "lease": attempt.lease // _MICROSECOND,
        }
        return await transaction.execute(self._queries["claim_account"], parameters) == 1

    async def _record(self, transaction: Transaction, account: Account) -> AccountRecord | None:
        return await _read_record(transaction, self._queries, account)


async def reject_attempt(
    transaction: Transaction, queries: Queries, attempt: Attempt, code: str, actor: str | None
) -> Change[bool]:
    """End an attempt and mark its credential invalid; see `RefreshLedger.reject`."""
    parameters = _parameters(attempt, transaction)
    await transaction.execute(queries["release_account"], parameters)
    record = await _read_record(transaction, queries, attempt.account)
    credential = None if record is None else record.tokens.get(attempt.credential.key.kind)
    if credential is None or TokenRef.of(credential) != attempt.credential:
        return Change(result=False)
    if credential.status is TokenStatus.INVALID:
        return Change(result=True)  # another process marked it first; its error code and event stay
    parameters |= key_parameters(credential.key) | {"value_id": credential.value_id.bytes}
    await invalidate_value(transaction, queries, attempt.credential, code)
    await transaction.execute(queries["note_rejection"], parameters)
    event = token_event(AuditAction.TOKEN_INVALIDATED, credential.key, credential.generation, transaction, actor, code)
    events = (event, required_event(attempt, code, transaction.now, actor))
    await append_events(transaction, queries, events)
    return Change(result=True, events=events)


async def _read_record(transaction: Transaction, queries: Queries, account: Account) -> AccountRecord | None:
    rows = await transaction.fetch(queries["get_account"], account_parameters(account))
    return account_record(rows, account)


def _due_account(row: Row, provider: str) -> DueAccount:
    tenant_id, identifier, due_at = row
    if type(tenant_id) is not str or type(identifier) is not str or not tenant_id:
        raise ValueError
    return DueAccount(stored_account(tenant_id, provider, identifier), _EPOCH + due_at * _MICROSECOND)


def _parameters(attempt: Attempt, transaction: Transaction) -> dict[str, Any]:
    own = {"attempt_id": attempt.attempt_id.bytes, "now": to_micros(transaction.now)}
    return account_parameters(attempt.account) | own
