"""Leases on accounts, and what came of them, on SQLite."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from vault_adapters.stores.queries import Queries
from vault_adapters.stores.sqlite.audit import append_events, token_event
from vault_adapters.stores.sqlite.database import Row, SqliteDatabase, Transaction
from vault_adapters.stores.sqlite.rows import (
    INFO_COLUMNS,
    account_parameters,
    account_record,
    key_parameters,
    to_micros,
    to_time,
)
from vault_adapters.stores.sqlite.tokens import write_tokens
from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.audit import AuditAction
from vault_domain.entities.refresh_state import AccountRecord
from vault_domain.entities.token import SealedToken, TokenRef, TokenWrite
from vault_domain.ports.change import Change
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

_MICROSECOND = timedelta(microseconds=1)
_VALUE = INFO_COLUMNS + 10  # behind what describes the token and its account


class SqliteRefreshLedger:
    """Implements `RefreshLedger`."""

    def __init__(self, database: SqliteDatabase, queries: Queries) -> None:
        self._database = database
        self._queries = queries

    async def read(self, account: Account) -> Snapshot:
        """Read an account with its sealed values."""
        rows = await self._database.fetch(self._queries["get_account_values"], account_parameters(account))
        record = account_record([row[:_VALUE] for row in rows]) if rows else None
        sealed = {TokenKind(row[2]): SealedToken(row[_VALUE], row[_VALUE + 1]) for row in rows}
        return Snapshot(record, sealed, self._database.now())

    async def claim(self, attempt: Attempt, seen: UUID | None) -> datetime | None:
        """Take the lease, and return the store's time; None where somebody was faster."""

        async def work(transaction: Transaction) -> datetime | None:
            return transaction.now if await self._claim(transaction, attempt, seen) else None

        return await self._database.transact(work)

    async def claim_due(
        self, rules: Mapping[str, RefreshRule], *, horizon: timedelta, limit: int, after: DuePlace | None
    ) -> list[tuple[Attempt, DuePlace]]:
        """Claim up to ``limit`` accounts that are due, soonest first."""

        async def work(transaction: Transaction) -> list[tuple[Attempt, DuePlace]]:
            expires_at, tenant_id, id_ = after or (None, "", None)
            parameters = {
                "rules": json.dumps([_rule(provider, rule) for provider, rule in rules.items()]),
                "horizon": horizon // _MICROSECOND,
                "after": -1 if expires_at is None else to_micros(expires_at),
                "after_tenant_id": tenant_id,
                "after_id": b"" if id_ is None else id_.bytes,
                "limit": limit,
                "now": to_micros(transaction.now),
            }
            claimed = []
            for row in await transaction.fetch(self._queries["find_due_accounts"], parameters):
                attempt, place, seen = _due_attempt(row, rules, transaction.now)
                if await self._claim(transaction, attempt, seen):
                    claimed.append((attempt, place))
            return claimed

        return await self._database.transact(work)

    async def release(self, attempt: Attempt) -> None:
        """Give an own lease back."""
        await self._database.transact(
            lambda transaction: transaction.execute(self._queries["release_account"], _parameters(attempt, transaction))
        )

    async def fail(self, attempt: Attempt, failure: Failure) -> None:
        """End an own attempt without tokens."""

        async def work(transaction: Transaction) -> None:
            parameters = _parameters(attempt, transaction)
            parameters |= {"retry_in": failure.retry_in // _MICROSECOND, "error_code": failure.code}
            await transaction.execute(self._queries["fail_account"], parameters | {"unknown": failure.unknown})

        await self._database.transact(work)

    async def reject(self, attempt: Attempt, code: str, *, actor: str | None) -> Change[bool]:
        """Make the credential's generation invalid and end the attempt."""

        async def work(transaction: Transaction) -> Change[bool]:
            parameters = _parameters(attempt, transaction)
            await transaction.execute(self._queries["release_account"], parameters)
            record = await self._record(transaction, attempt.account)
            credential = None if record is None else record.tokens.get(attempt.credential.key.kind)
            if credential is None or TokenRef.of(credential) != attempt.credential:
                return Change(result=False)
            parameters |= key_parameters(credential.key) | {"error_code": code, "id": credential.id.bytes}
            parameters["generation"] = credential.generation
            await transaction.execute(self._queries["invalidate_token"], parameters)
            event = token_event(AuditAction.TOKEN_INVALIDATED, credential, transaction, actor, code)
            await append_events(transaction, self._queries, [event])
            return Change(result=True, events=(event,))

        return await self._database.transact(work)

    async def commit(self, attempt: Attempt, writes: Sequence[TokenWrite], *, actor: str | None) -> Change[Commit]:
        """Store what the provider answered, by compare-and-set on credential and access token."""

        async def work(transaction: Transaction) -> Change[Commit]:
            parameters = _parameters(attempt, transaction)
            committed = await transaction.fetch(self._queries["get_commit"], parameters)
            if committed and committed[0][0] == attempt.attempt_id.bytes:
                return Change(Commit(CommitOutcome.WRITTEN))
            record = await self._record(transaction, attempt.account)
            tokens = {} if record is None else record.tokens
            stored = {kind: TokenRef.of(info) for kind, info in tokens.items()}
            outcome, wanted = still_wanted(attempt, stored, writes)
            if outcome is CommitOutcome.CREDENTIAL_MOVED:
                await transaction.execute(self._queries["release_account"], parameters)
                return Change(Commit(outcome))
            written = await write_tokens(transaction, self._queries, wanted, actor) if wanted else Change([])
            await transaction.execute(self._queries["settle_account"], parameters)
            return Change(Commit(outcome, stored_access(wanted, written.result)), written.events)

        return await self._database.transact(work)

    async def _claim(self, transaction: Transaction, attempt: Attempt, seen: UUID | None) -> bool:
        parameters = _parameters(attempt, transaction) | {
            "kind": attempt.credential.key.kind.value,
            "credential_id": attempt.credential.id.bytes,
            "credential_generation": attempt.credential.generation,
            "seen": None if seen is None else seen.bytes,
            "lease": attempt.lease // _MICROSECOND,
        }
        return await transaction.execute(self._queries["claim_account"], parameters) == 1

    async def _record(self, transaction: Transaction, account: Account) -> AccountRecord | None:
        rows = await transaction.fetch(self._queries["get_account"], account_parameters(account))
        return account_record(rows) if rows else None


def _parameters(attempt: Attempt, transaction: Transaction) -> dict[str, Any]:
    own = {"attempt_id": attempt.attempt_id.bytes, "now": to_micros(transaction.now)}
    return account_parameters(attempt.account) | own


def _rule(provider: str, rule: RefreshRule) -> list[Any]:
    times = (rule.rotation.grace_period, rule.timing.quiescence, rule.timing.deadline)
    return [provider, rule.spends, rule.rotation.kind, *(time // _MICROSECOND for time in times)]


def _due_attempt(row: Row, rules: Mapping[str, RefreshRule], now: datetime) -> tuple[Attempt, DuePlace, UUID | None]:
    tenant_id, provider, identifier, access_id, access_generation, expires_at, kind, id_, generation, seen = row
    account = Account(tenant_id, provider, identifier)
    attempt = Attempt(
        account,
        uuid4(),
        TokenRef(account.key(TokenKind(kind)), UUID(bytes=id_), generation),
        TokenRef(account.key(TokenKind.ACCESS_TOKEN), UUID(bytes=access_id), access_generation),
        now,
        rules[provider].timing.lease,
    )
    place = (to_time(expires_at) or now, tenant_id, UUID(bytes=access_id))
    return attempt, place, None if seen is None else UUID(bytes=seen)
