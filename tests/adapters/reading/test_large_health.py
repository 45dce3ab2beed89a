"""The health report of a large vault reads a sample, and its estimates are near the exact counts."""

import asyncio
import sqlite3
from datetime import timedelta

import psycopg
import pytest

from vault_adapters import HealthCount, TokenHealth
from vault_adapters.stores.counting import sampled_percent, sampled_rows
from vault_adapters.stores.postgres.store import open_postgres_store
from vault_adapters.stores.sqlite.store import open_sqlite_store

TOKENS, MOST = 20_000, 2000
MINUTE = timedelta(minutes=1)

# One token in ten has expired, and 7 are invalid.
IN_POSTGRES = f"""
INSERT INTO vault.token (tenant_id, provider, kind, identifier, id, value_id, data_key_id, blob, status, expires_at,
    generation, created_at, updated_at)
SELECT 't' || n / 10, 'google', 'access_token', 'u' || n, gen_random_uuid(), gen_random_uuid(),
    decode(repeat('00', 16), 'hex'), decode(repeat('e7', 200), 'hex'),
    CASE WHEN n <= 7 THEN 'invalid' ELSE 'valid' END, CASE WHEN n % 10 = 0 THEN now() END, 1, now(), now()
FROM generate_series(1, {TOKENS}) n
"""
IN_SQLITE = f"""
WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {TOKENS})
INSERT INTO token_vault_token (tenant_id, provider, kind, identifier, id, value_id, data_key_id, blob, status,
    expires_at, generation, created_at, updated_at)
SELECT 't' || n / 10, 'google', 'access_token', 'u' || n, randomblob(16), randomblob(16), zeroblob(16), zeroblob(200),
    CASE WHEN n <= 7 THEN 'invalid' ELSE 'valid' END, CASE WHEN n % 10 = 0 THEN 1000 END, 1, 0, 0
FROM numbers
"""


async def counts_of(opening, fill, most):
    async with opening as store:
        fill()
        exact = await store.pages.count_health(None, MINUTE)
        return exact, await store.pages.count_health(None, MINUTE, most=most)


def in_postgres(postgres, tmp_path):
    url = postgres.create_database("large_health")

    def fill():
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(IN_POSTGRES)

    return open_postgres_store(url, migrate=True, schema="vault"), fill


def in_sqlite(postgres, tmp_path):
    path = tmp_path / "vault.db"

    def fill():
        with sqlite3.connect(path) as connection:
            connection.execute(IN_SQLITE)
        connection.close()

    return open_sqlite_store(str(path), migrate=True, clock=None), fill


@pytest.mark.parametrize("large", [in_postgres, in_sqlite], ids=["postgres", "sqlite"])
def test_an_estimate_is_near_the_truth_and_says_so(large, postgres, tmp_path):
    exact, guessed = asyncio.run(counts_of(*large(postgres, tmp_path), MOST))
    dead = HealthCount("google", TokenHealth.INVALID, 7)
    assert {count.health: count.count for count in exact} == {
        TokenHealth.EXPIRED: TOKENS // 10,
        TokenHealth.FRESH: TOKENS - TOKENS // 10 - 7,
        TokenHealth.INVALID: 7,
    }
    assert not any(count.is_estimate for count in exact)
    assert dead in guessed
    truth = {count.health: count.count for count in exact}
    assert {count.health for count in guessed} == set(truth)
    for count in guessed:
        if count != dead:
            assert count.is_estimate
            assert 0.5 < count.count / truth[count.health] < 1.6  # some eight standard deviations


@pytest.mark.parametrize(("highest", "step"), [(0, 1), (10, 1), (11, 2), (20, 2), (21, 3), (2_000_000, 200_000)])
def test_lookups_reach_every_row_and_are_few(highest, step):
    found, places = sampled_rows(highest, 10)
    assert found == step
    if step > 1:
        assert highest <= found * places < highest + found
        assert places <= 10


def test_a_small_table_is_read_whole():
    assert sampled_percent(0, 100) == 100
    assert sampled_percent(10, 100) == 100
    assert sampled_percent(1000, 100) == 1
