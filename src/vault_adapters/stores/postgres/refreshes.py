"""Leases on accounts, and what came of them, on Postgres."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from vault_adapters.stores.postgres.audit import token_event
from vault_adapters.stores.postgres.cursors import Row, int8
from vault_adapters.stores.postgres.database import PostgresDatabase, Transaction
from vault_adapters.stores.postgres.rows import (
    INFO_COLUMNS,
    account_parameters,
    account_record,
    key_parameters,
    micros,
    token_info,
    write_parameters,
)
from vault_adapters.stores.postgres.tokens import write_tokens
from vault_adapters.stores.queries import Queries
from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.token import SealedToken, StoredToken, TokenRef, TokenWrite
from vault_domain.ports.change import Change, DataKeyInactiveError
from vault_domain.ports.refresh_ledger import (
    Attempt,
    Commit,
    CommitOutcome,
    DuePlace,
    Failure,
    Snapshot,
    still_wanted,
    stored_access,
)
from vault_domain.rules.refresh import RefreshRule

# Accounts are claimed for the first time without a row to skip: then a worker may find that another was faster with
# all that it picked, and picks again.
_ROUNDS = 20

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOW = INFO_COLUMNS + 4
_VALUE = _NOW + 11  # behind what describes the token, the time and the account


class PostgresRefreshLedger:
    """Implements `RefreshLedger`."""

    def __init__(self, database: PostgresDatabase, queries: Queries) -> None:
        self._database = database
        self._queries = queries

    async def read(self, account: Account) -> Snapshot:
        """Read an account with its sealed values."""
        parameters = account_parameters(account) | {"now": self._database.now()}
        rows = await self._database.fetch(self._queries["get_account_values"], parameters)
        now = rows[0][_NOW]
        if rows[0][0] is None:
            return Snapshot(None, {}, now)
        sealed = {TokenKind(row[INFO_COLUMNS + 2]): SealedToken(row[_VALUE], row[_VALUE + 1]) for row in rows}
        return Snapshot(account_record([row[:_VALUE] for row in rows]), sealed, now)

    async def claim(self, attempt: Attempt, seen: UUID | None) -> datetime | None:
        """Take the lease, and return the store's time; None where somebody was faster."""
        parameters = self._parameters(attempt) | {
            "kind": attempt.credential.key.kind.value,
            "credential_id": attempt.credential.id,
            "credential_generation": int8(attempt.credential.generation),
            "seen": seen,
            "lease": micros(attempt.lease),
        }
        rows = await self._database.write(self._queries["claim_account"], parameters)
        return rows[0][0] if rows else None

    async def claim_due(
        self, rules: Mapping[str, RefreshRule], *, horizon: timedelta, limit: int, after: DuePlace | None
    ) -> list[tuple[Attempt, DuePlace]]:
        """Claim up to ``limit`` accounts that are due, soonest first."""
        after_time, after_tenant_id, after_id = after or (_EPOCH, "", UUID(int=0))
        parameters = _rules_parameters(rules) | {
            "now": self._database.now(),
            "horizon": micros(horizon),
            "after": after_time,
            "after_tenant_id": after_tenant_id,
            "after_id": after_id,
            "limit": int8(limit),
        }
        for _ in range(_ROUNDS):
            rows = await self._database.write(self._queries["claim_due_accounts"], parameters)
            claimed = [_due_attempt(row[1:], rules) for row in rows if row[1] is not None]
            if claimed or not rows[0][0]:
                return claimed
        return []

    async def release(self, attempt: Attempt) -> None:
        """Give an own lease back."""
        await self._database.transact(
            lambda transaction: transaction.execute(self._queries["release_account"], _place(attempt))
        )

    async def fail(self, attempt: Attempt, failure: Failure) -> None:
        """End an own attempt without tokens."""
        parameters = self._parameters(attempt) | {
            "retry_in": micros(failure.retry_in),
            "error_code": failure.code,
            "unknown": failure.unknown,
        }
        await self._database.transact(
            lambda transaction: transaction.execute(self._queries["fail_account"], parameters)
        )

    async def reject(self, attempt: Attempt, code: str, *, actor: str | None) -> Change[bool]:
        """Make the credential's generation invalid and end the attempt."""
        credential = attempt.credential

        async def work(transaction: Transaction) -> Change[bool]:
            value = {"id": credential.id, "generation": int8(credential.generation), "error_code": code}
            parameters = key_parameters(credential.key) | value | {"actor": actor, "now": transaction.now}
            rows = await transaction.fetch(self._queries["invalidate_token"], parameters)
            await transaction.execute(self._queries["release_account"], _place(attempt))
            if rows:
                action = AuditAction.TOKEN_INVALIDATED
                event = token_event(action, credential.key, credential.generation, rows[0][0], actor, code)
                return Change(result=True, events=(event,))
            [(is_invalid,)] = await transaction.fetch(self._queries["is_invalid"], parameters)
            return Change(result=bool(is_invalid))

        return await self._database.transact(work)

    async def commit(self, attempt: Attempt, writes: Sequence[TokenWrite], *, actor: str | None) -> Change[Commit]:
        """Store what the provider answered, by compare-and-set on credential and access token."""

        async def work(transaction: Transaction) -> Change[Commit]:
            place = _place(attempt)
            await transaction.fetch(self._queries["make_commit_durable"])
            active = await self._lock_data_keys(transaction, attempt.account, writes)
            stored = await self._lock_tokens(transaction, attempt.account)
            committed = await transaction.fetch(self._queries["find_commit"], place)
            if committed and committed[0][0] == attempt.attempt_id:
                return Change(Commit(CommitOutcome.WRITTEN))
            outcome, wanted = still_wanted(attempt, stored, writes)
            if outcome is CommitOutcome.CREDENTIAL_MOVED:
                await transaction.execute(self._queries["release_account"], place)
                return Change(Commit(outcome))
            if not active:
                raise DataKeyInactiveError
            written = await self._write(transaction, attempt, wanted, outcome, actor)
            await transaction.execute(self._queries["settle_account"], place)
            return written

        return await self._database.transact(work)

    async def _write(
        self,
        transaction: Transaction,
        attempt: Attempt,
        writes: Sequence[TokenWrite],
        outcome: CommitOutcome,
        actor: str | None,
    ) -> Change[Commit]:
        new = [write for write in writes if attempt.access is None and write.key.kind is TokenKind.ACCESS_TOKEN]
        others = [write for write in writes if write not in new]
        events: tuple[AuditEvent, ...] = ()
        access: StoredToken | None = None
        for write in new:
            # A row that was not there could not be locked: one that somebody stores now must not be overwritten.
            parameters = write_parameters(write) | {"actor": actor, "now": transaction.now}
            parameters["action"] = AuditAction.TOKEN_REFRESHED.value
            [row] = await transaction.fetch(self._queries["store_new_token"], parameters)
            if row[0] is None:
                outcome = CommitOutcome.ACCESS_MOVED
            else:
                access = StoredToken(token_info(row, write.key), write.sealed)
                events += (token_event(AuditAction.TOKEN_REFRESHED, write.key, row[5], row[10], actor),)
        if others:
            written = await write_tokens(transaction, self._queries, others, actor)
            access = access or stored_access(others, written.result)
            events += tuple(written.events)
        return Change(Commit(outcome, access), events)

    async def _lock_data_keys(self, transaction: Transaction, account: Account, writes: Sequence[TokenWrite]) -> bool:
        ids = {write.sealed.data_key_id for write in writes}
        parameters = {"tenant_id": account.tenant_id, "data_key_ids": sorted(ids)}
        return len(await transaction.fetch(self._queries["lock_data_keys"], parameters)) == len(ids)

    async def _lock_tokens(self, transaction: Transaction, account: Account) -> dict[TokenKind, TokenRef]:
        rows = await transaction.fetch(self._queries["lock_account_tokens"], account_parameters(account))
        kinds = [TokenKind(kind) for kind, _, _ in rows]
        return {kind: TokenRef(account.key(kind), row[1], row[2]) for kind, row in zip(kinds, rows, strict=True)}

    def _parameters(self, attempt: Attempt) -> dict[str, Any]:
        return _place(attempt) | {"now": self._database.now()}


def _place(attempt: Attempt) -> dict[str, Any]:
    return account_parameters(attempt.account) | {"attempt_id": attempt.attempt_id}


def _rules_parameters(rules: Mapping[str, RefreshRule]) -> dict[str, Any]:
    return {
        "providers": list(rules),
        "spends": [rule.spends.value for rule in rules.values()],
        "rotations": [rule.rotation.kind.value for rule in rules.values()],
        "graces": [micros(rule.rotation.grace_period) for rule in rules.values()],
        "quiescences": [micros(rule.timing.quiescence) for rule in rules.values()],
        "deadlines": [micros(rule.timing.deadline) for rule in rules.values()],
        "leases": [micros(rule.timing.lease) for rule in rules.values()],
    }


def _due_attempt(row: Row, rules: Mapping[str, RefreshRule]) -> tuple[Attempt, DuePlace]:
    tenant_id, provider, identifier, access_id, access_generation, expires_at, kind, id_, generation, *rest = row
    attempt_id, now = rest
    account = Account(tenant_id, provider, identifier)
    attempt = Attempt(
        account,
        attempt_id,
        TokenRef(account.key(TokenKind(kind)), id_, generation),
        TokenRef(account.key(TokenKind.ACCESS_TOKEN), access_id, access_generation),
        now,
        rules[provider].timing.lease,
    )
    return attempt, (expires_at, tenant_id, access_id)
