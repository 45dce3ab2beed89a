"""The calls whose cost is watched while the tables grow, each as a contestant against a bare query."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta

from tests.benchmarks.floors import SELECT_VALUE, Connection, fetch_all, fetch_one, parts
from tests.benchmarks.timing import Contestant
from tests.benchmarks.vaults import PROVIDER, SCHEMA, endless
from tests.scale.load import TOKENS_OF_AN_ACCOUNT

from vault_adapters import ConnectionState, TokenKey, TokenVault
from vault_adapters.stores.postgres.store import PostgresStore
from vault_domain.entities.account import Account
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.ports.audit_log import Noticed

FLOOR = "a bare SELECT by key"
PAGE = 50
"""Rows of a page of accounts, as many as the dashboard shows at once."""

BATCH = 50
_BARE_PAGE = f"""
SELECT a.tenant_id, a.provider, a.identifier, a.due_at, a.failures, t.kind, t.status, t.expires_at, t.error_code
FROM (SELECT * FROM {SCHEMA}.account ORDER BY tenant_id, provider, identifier LIMIT %b::bigint) a
JOIN {SCHEMA}.token t USING (tenant_id, provider, identifier)
"""
_HOLD = timedelta(milliseconds=1)  # so that the accounts of a batch are soon due again


def contestants(
    vault: TokenVault, store: PostgresStore, connection: Connection, keys: Sequence[TokenKey]
) -> list[Contestant]:
    """Return the bare query first, then the calls.

    Args:
        vault: the vault.
        store: a store over the same schema, for calls that otherwise only the vault makes.
        connection: the bare driver's connection.
        keys: keys whose values this vault has sealed.
    """
    next_key = endless(keys, 5)

    async def claim() -> None:
        found, _ = await store.accounts.reserve_due(PROVIDER, hold=_HOLD, limit=BATCH, since=None, until=None)
        if len(found) != BATCH:
            raise RuntimeError("too few accounts are due")

    async def page(state: ConnectionState | None, provider: str | None = None) -> None:
        if not (await vault.list_accounts(state=state, provider=provider, limit=PAGE)).items:
            raise RuntimeError("the page is empty")

    async def bare_page() -> None:
        if len(await fetch_all(connection, _BARE_PAGE, (PAGE,))) != TOKENS_OF_AN_ACCOUNT * PAGE:
            raise RuntimeError("the page is not full")

    return [
        _timed(FLOOR, 20, lambda: fetch_one(connection, SELECT_VALUE, parts(next_key()))),
        _timed("get_token", 20, lambda: vault.get_token(next_key())),
        _timed(f"a bare SELECT of {PAGE} accounts", 2, bare_page),
        _timed(f"first {PAGE} accounts", 2, lambda: page(None)),
        _timed(f"first {PAGE} at a provider", 2, lambda: page(None, PROVIDER)),
        _timed(f"first {PAGE} to connect again", 2, lambda: page(ConnectionState.REAUTHORIZATION_REQUIRED)),
        _timed(f"first {PAGE} that fail", 2, lambda: page(ConnectionState.RETRYING)),
        _timed(f"first {PAGE} tenants", 2, lambda: vault.list_tenants(limit=PAGE)),
        _timed(f"take {BATCH} due accounts", 2, claim),
        _timed("append an audit event", 5, lambda: store.audit.append([Noticed(_event(next_key()))], apart=None)),
        _timed("ready", 2, vault.ready),
        _timed("health", 1, vault.health),
    ]


def _event(key: TokenKey) -> AuditEvent:
    account = Account(key.tenant_id, key.provider, key.identifier)
    return AuditEvent(AuditAction.TOKEN_READ, datetime.now(UTC), key.tenant_id, account, key.kind, 1)


def _timed(name: str, times: int, call: Callable[[], Awaitable[object]]) -> Contestant:
    async def work() -> int:
        for _ in range(times):
            await call()
        return times

    return Contestant(name, work)
