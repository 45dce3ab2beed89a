"""Operators' lists read their pages from an index, however many accounts there are."""

import json

import psycopg
import pytest

from vault_adapters.stores.postgres.statements import load_statements

ACCOUNTS = 40_000
FILL = f"""
INSERT INTO vault.token (tenant_id, provider, kind, identifier, id, value_id, data_key_id, blob, status, expires_at,
    generation, created_at, updated_at)
SELECT 't' || n / 10, CASE WHEN n % 2000 = 3 THEN 'rare' ELSE 'google' END, k, 'u' || n, gen_random_uuid(),
    gen_random_uuid(), decode(repeat('00', 16), 'hex'), 'x',
    CASE WHEN n % 1000 = 0 AND k = 'refresh_token' THEN 'invalid' ELSE 'valid' END,
    CASE WHEN k = 'access_token' THEN now() + interval '1 hour' END, 1, now(), now()
FROM generate_series(1, {ACCOUNTS}) n, unnest(ARRAY['access_token', 'refresh_token']) k;
INSERT INTO vault.account (tenant_id, provider, identifier, due_at, failures)
SELECT 't' || n / 10, 'google', 'u' || n, now() + interval '50 minutes', CASE WHEN n % 1000 = 1 THEN 1 ELSE 0 END
FROM generate_series(1, {ACCOUNTS}) n;
ANALYZE vault.token; ANALYZE vault.account;
"""
PLACE = {"after_tenant_id": "t2", "after_provider": "", "after_identifier": "", "provider": None, "now": None}
MOST_BLOCKS = 500
"""A page of twenty accounts reads some blocks for each; the whole table has several times as many."""


@pytest.fixture(scope="module")
def filled(postgres):
    from vault_adapters.stores.postgres.schema import schema_sql

    url = postgres.create_database("plans_of_lists")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(schema_sql("vault"))
        connection.execute(FILL)
        yield connection


def nodes_of(plan):
    yield plan
    for inner in plan.get("Plans", []):
        yield from nodes_of(inner)


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("list_all_accounts", "token_account"),
        ("list_doubtful_accounts", "token_doubtful"),
        ("list_troubled_accounts", "account_troubled"),
        ("list_tenants", "token_"),
        ("list_provider_accounts", "token_provider"),
        ("list_accounts", "token_account"),
    ],
)
def test_a_page_is_read_from_an_index(filled, query, index):
    parameters = {**PLACE, "after": "t2", "limit": 21, "tenant_id": "t77"}
    parameters |= {"provider": "rare"} if query == "list_provider_accounts" else {}
    statement = load_statements("vault")[query]
    [(found,)] = filled.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", parameters).fetchall()
    [plan] = found if isinstance(found, list) else json.loads(found)
    nodes = list(nodes_of(plan["Plan"]))
    assert "Seq Scan" not in {node["Node Type"] for node in nodes}
    assert any(node.get("Index Name", "").startswith(index) for node in nodes)
    blocks = plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]
    assert blocks < MOST_BLOCKS, blocks
