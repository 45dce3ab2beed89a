"""Implements `RefreshLedger` on tables that Citus distributes."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from attrs import evolve

from vault_adapters.stores.postgres.account_states import PostgresAccountStates
from vault_adapters.stores.postgres.citus_writes import append_refresh_events, commit_answer, store_expecting
from vault_adapters.stores.postgres.database import PostgresDatabase, Transaction
from vault_adapters.stores.postgres.marks import reject_attempt
from vault_adapters.stores.postgres.rows import (
    account_parameters,
    account_record,
    has_token,
    key_parameters,
    micros,
    stored_info,
)
from vault_adapters.stores.postgres.writing import write_tokens
from vault_adapters.stores.queries import Queries
from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.attempt import Attempt, Commit, CommitOutcome, Failure
from vault_domain.entities.audit import AuditEvent
from vault_domain.entities.token import TokenInfo, TokenRef, TokenWrite
from vault_domain.ports.change import Change, DataKeyInactiveError
from vault_domain.ports.refresh_ledger import DueAccount, Judge, Snapshot
from vault_domain.rules.schedule import due_at_of
from vault_domain.transitions.attempts import still_wanted, stored_access, suspect
from vault_domain.transitions.events import cause_of, failing_event, recovered_event, refreshed_event


class CitusRefreshLedger:
    """Implements `RefreshLedger`."""

    def __init__(self, database: PostgresDatabase, queries: Queries, states: PostgresAccountStates) -> None:
        self._database = database
        self._queries = queries
        self._states = states

    async def read(self, account: Account) -> Snapshot:
        """Read an account with its sealed values."""
        return await self._states.read(account)

    async def reserve_due(
        self, provider: str, *, hold: timedelta, limit: int, since: datetime | None, until: datetime | None
    ) -> tuple[list[DueAccount], datetime]:
        """Take up to ``limit`` due accounts of a provider, earliest first."""
        return await self._states.reserve_due(provider, hold=hold, limit=limit, since=since, until=until)

    async def claim(self, attempt: Attempt, seen: UUID | None) -> datetime | None:
        """Take the lease and return the store's time; return None if another process was faster."""
        parameters = self._parameters(attempt) | {
            "kind": attempt.credential.key.kind.value,
            "credential_value_id": attempt.credential.value_id,
            "seen": seen,
            "endpoint": attempt.endpoint,
            "lease": micros(attempt.lease),
        }
        rows = await self._database.write(self._queries["claim_account"], parameters)
        return next((claimed_at for (claimed_at,) in rows), None)

    async def renew(self, attempt: Attempt, lease: timedelta) -> bool:
        """Extend the attempt's own lease to now plus ``lease``."""
        parameters = self._parameters(attempt) | {"lease": micros(lease)}
        return bool(await self._database.write(self._queries["renew_account"], parameters))

    async def reschedule(self, account: Account, judge: Judge) -> None:
        """Ask ``judge`` when an account is due next, and store its answer, both under the account's lock."""
        parameters = account_parameters(account)

        async def work(transaction: Transaction) -> None:
            # Lock first: writers of values lock the account too, so it cannot change between the read and the commit.
            if not await transaction.fetch(self._queries["lock_account"], parameters):
                return
            rows = await transaction.fetch(self._queries["get_account"], parameters | {"now": transaction.now})
            schedule = {"due_at": judge(*account_record(rows, account))}
            await transaction.execute(self._queries["schedule_account"], parameters | schedule)

        await self._database.transact(work)

    async def withdraw(self, attempt: Attempt, seen: UUID | None) -> None:
        """End an attempt whose claim may still be on its way: its statement may still wait in the database."""

        async def work(transaction: Transaction) -> None:
            # Locking the account waits until such a claim is committed. The next statement then sees the claim, because
            # it begins after the commit. If the claim inserts the account's row, there is no row to lock yet, but
            # inserting the same row waits too.
            account = account_parameters(attempt.account)
            is_locked = await transaction.fetch(self._queries["lock_account"], account)
            if not is_locked and await transaction.fetch(self._queries["insert_missing_account"], account):
                await transaction.execute(self._queries["delete_inserted_account"], account)
                return
            await transaction.execute(self._queries["release_account"], self._parameters(attempt))

        await self._database.transact(work)

    async def release(self, attempt: Attempt) -> None:
        """End the attempt's own lease."""
        parameters = self._parameters(attempt)
        await self._database.transact(
            lambda transaction: transaction.execute(self._queries["release_account"], parameters)
        )

    async def fail(self, attempt: Attempt, failure: Failure, *, actor: str | None = None) -> Change[None]:
        """Record that the attempt failed."""
        parameters = self._parameters(attempt) | {
            "retry_in": micros(failure.retry_in),
            "error_code": failure.code,
            "unknown": failure.unknown,
            "refused": failure.refused,
            "refused_for": None if failure.refused_for is None else micros(failure.refused_for),
            "actor": actor,
            "cause": cause_of(failure),
        }

        async def work(transaction: Transaction) -> Change[None]:
            rows = await transaction.fetch(self._queries["fail_account"], parameters)
            return Change(None, tuple(failing_event(attempt, failure, now, actor) for (now,) in rows))

        return await self._database.transact(work)

    async def reject(self, attempt: Attempt, code: str, *, actor: str | None) -> Change[bool]:
        """Mark the credential invalid and end the attempt."""
        return await self._database.transact(
            lambda transaction: reject_attempt(transaction, self._queries, attempt, code, actor)
        )

    async def commit(self, attempt: Attempt, writes: Sequence[TokenWrite], *, actor: str | None) -> Change[Commit]:
        """Store the provider's answer by compare-and-set on credential and access token."""

        async def work(transaction: Transaction) -> Change[Commit]:
            own = self._parameters(attempt)
            await transaction.fetch(self._queries["make_commit_durable"])
            change = await commit_answer(transaction, self._queries, attempt, writes, actor)
            if change is not None:
                return change
            active = await self._lock_data_keys(transaction, attempt.account, writes)
            stored, marks = await self._lock_tokens(transaction, attempt.account)
            committed = await transaction.fetch(self._queries["find_commit"], own)
            if committed == [(attempt.attempt_id,)]:
                return Change(Commit(CommitOutcome.WRITTEN))
            outcome, wanted = still_wanted(attempt, stored, writes)
            if outcome is CommitOutcome.CREDENTIAL_MOVED:
                await transaction.execute(self._queries["release_account"], own)
                return Change(Commit(outcome))
            if not active:
                raise DataKeyInactiveError
            written, outcome = await self._write(transaction, attempt, wanted, outcome, actor)
            mark = marks[attempt.credential.key.kind]
            new = suspect(attempt, mark, [write for write, _ in written])
            if new is not None:
                parameters = key_parameters(new.key) | {"error_code": mark}
                await transaction.execute(self._queries["suspect_token"], parameters)
            events = await self._settle(transaction, attempt, written, actor)
            return Change(Commit(outcome, stored_access(written)), events)

        return await self._database.transact(work)

    async def _settle(
        self, transaction: Transaction, attempt: Attempt, written: list[tuple[TokenWrite, TokenInfo]], actor: str | None
    ) -> tuple[AuditEvent, ...]:
        """End the attempt, schedule the account and append the events."""
        stored = [info for _, info in written]
        timed = next(((write, info) for write, info in written if write.lead is not None), None)
        told = refreshed_event(attempt, stored, attempt.claimed_at, actor) if stored else None
        parameters = self._parameters(attempt) | {
            "due_at": None if timed is None else due_at_of(timed[0], timed[1].expires_at, timed[1].updated_at),
            "wake": timed is None,
            "actor": actor,
            "kind": None if told is None or told.kind is None else told.kind.value,
            "generation": None if told is None else told.generation,
            "credential_generation": None if told is None else told.credential_generation,
        }
        rows = await transaction.fetch(self._queries["settle_account"], parameters)
        [(now, had_failed)] = rows or [(transaction.now, False)]
        refreshed = () if told is None else (evolve(told, occurred_at=now),)
        events = (*refreshed, recovered_event(attempt, now, actor)) if had_failed else refreshed
        await append_refresh_events(transaction, self._queries, events)
        return events

    async def _write(
        self,
        transaction: Transaction,
        attempt: Attempt,
        writes: Sequence[TokenWrite],
        outcome: CommitOutcome,
        actor: str | None,
    ) -> tuple[list[tuple[TokenWrite, TokenInfo]], CommitOutcome]:
        new = [write for write in writes if attempt.access is None and write.key.kind is TokenKind.ACCESS_TOKEN]
        others = [write for write in writes if write not in new]
        written: list[tuple[TokenWrite, TokenInfo]] = []
        for write in new:
            # A missing row cannot be locked, so another writer may insert it now. Do not overwrite that writer's value.
            # No event is appended here, because `_settle` appends one event for all values.
            row = await store_expecting(transaction, self._queries, write, 0, None, actor)
            if has_token(row):
                written.append((write, stored_info(row, write.key)))
            else:
                outcome = CommitOutcome.ACCESS_MOVED
        if others:
            change = await write_tokens(transaction, self._queries, others, actor, told=False)
            written += zip(others, change.result, strict=True)
        return written, outcome

    async def _lock_data_keys(self, transaction: Transaction, account: Account, writes: Sequence[TokenWrite]) -> bool:
        ids = {write.sealed.data_key_id for write in writes}
        parameters = {"tenant_id": account.tenant_id, "data_key_ids": sorted(ids)}
        return len(await transaction.fetch(self._queries["lock_data_keys"], parameters)) == len(ids)

    async def _lock_tokens(
        self, transaction: Transaction, account: Account
    ) -> tuple[dict[TokenKind, TokenRef], dict[TokenKind, str | None]]:
        """Lock an account's tokens; return references to them, and the error codes of those that are invalid."""
        rows = await transaction.fetch(self._queries["lock_account_tokens"], account_parameters(account))
        named = [(TokenKind(kind), mark, reference) for kind, mark, *reference in rows]
        references = {kind: TokenRef(account.key(kind), *reference) for kind, _, reference in named}
        return references, {kind: mark for kind, mark, _ in named}

    def _parameters(self, attempt: Attempt) -> dict[str, Any]:
        own = {"attempt_id": attempt.attempt_id, "now": self._database.now()}
        return account_parameters(attempt.account) | own
