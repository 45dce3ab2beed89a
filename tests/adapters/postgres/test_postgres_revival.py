"""Reviving condemned credentials while others write the same rows."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from tests.adapters.postgres.samples import ACCESS, ACCOUNT, REFRESH, SCHEMA, prepare, write

from vault_adapters.stores.postgres.store import open_postgres_store
from vault_domain.entities.attempt import Attempt
from vault_domain.entities.token import TokenRef, TokenStatus
from vault_domain.ports.revival import Condemned, Revived, Spread

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


@pytest.fixture
async def condemned(store):
    """Store an account whose refresh token a refresh has condemned; return that token's metadata."""
    await prepare(store)
    access, refresh = (await store.tokens.store([write(ACCESS), write(REFRESH)], actor=None)).result
    attempt = Attempt(ACCOUNT, uuid4(), TokenRef.of(refresh), TokenRef.of(access), LONG_AGO, timedelta(seconds=20))
    assert await store.refreshes.claim(attempt, None) is not None
    await store.refreshes.reject(attempt, "invalid_grant", actor=None)
    return await stored(store)


async def stored(store):
    record, _ = await store.accounts.get(ACCOUNT)
    return record.tokens[REFRESH.kind]


def revive(store):
    spread = Spread(timedelta(0), timedelta(0))
    return store.revivals.revive(
        Condemned("google", LONG_AGO), after=None, limit=500, spread=spread, dry_run=False, actor=None
    )


async def until_somebody_waits_for_a_lock(execute):
    async with asyncio.timeout(60):
        while execute(WAITING) == [(0,)]:  # noqa: ASYNC110 - what is waited for is in the server
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "change",
    [
        "value_id = '00000000-0000-0000-0000-000000000001', status = 'valid', error_code = NULL, rejected_at = NULL",
        "value_id = '00000000-0000-0000-0000-000000000001'",
        "status = 'unknown'",
        "rejected_at = NULL",
    ],
)
@pytest.mark.usefixtures("condemned")
async def test_a_credential_that_was_changed_since_it_was_found_stays_as_it_is(store, raw, execute, change):
    await raw.execute("BEGIN")
    await raw.execute(f"UPDATE {SCHEMA}.token SET {change} WHERE kind = 'refresh_token'")
    reviving = asyncio.create_task(revive(store))
    await until_somebody_waits_for_a_lock(execute)
    await raw.execute("COMMIT")
    before = await stored(store)
    result = (await reviving).result
    assert (result.revived, result.skipped) == (0, 1)
    assert await stored(store) == before


async def test_of_two_revivals_at_the_same_time_one_reports_it(store, raw, execute, condemned):
    await raw.execute("BEGIN")
    await raw.execute(f"SELECT FROM {SCHEMA}.token FOR UPDATE")
    both = [asyncio.create_task(revive(store)) for _ in range(2)]
    await until_somebody_waits_for_a_lock(execute)
    await raw.execute("COMMIT")
    counts = sorted(change.result.revived for change in await asyncio.gather(*both))
    assert sum(counts) == 1
    events = [event for event in await store.audit.page(None, limit=100, after=None) if event.code is not None]
    assert [event.action for event in events] == ["token_invalidated", "reauthorization_required", "account_revived"]
    assert (await stored(store)).status is TokenStatus.VALID
    assert condemned.rejected_at is not None


async def test_condemned_credentials_are_read_from_their_index(url, execute):
    scans = (
        f"SELECT idx_scan FROM pg_stat_user_indexes WHERE schemaname = '{SCHEMA}' AND indexrelname = 'token_rejected'"
    )
    async with open_postgres_store(url, migrate=True, schema=SCHEMA) as store:
        await prepare(store)
        execute(
            f"INSERT INTO {SCHEMA}.token (tenant_id, provider, kind, identifier, id, value_id, data_key_id, blob,"
            " status, generation, created_at, updated_at, rejected_at)"
            " SELECT 'acme', 'google', 'refresh_token', n::text, gen_random_uuid(), gen_random_uuid(),"
            " '0123456789abcdef', '', 'invalid', 1, now(), now(), CASE WHEN n = 7 THEN now() END"
            " FROM generate_series(1, 5000) n"
        )
        execute(f"ANALYZE {SCHEMA}.token")
        before = execute(scans)
        change = await revive(store)
        assert (change.result.revived, change.result.skipped) == (1, 0)
        assert change.result == Revived(1, 0, change.result.now, None)
    # The server adds the scans of a session to its statistics when the session ends, or else after ten seconds.
    async with asyncio.timeout(60):
        while execute(scans) == before:  # noqa: ASYNC110 - the server does not tell of it
            await asyncio.sleep(0.05)
