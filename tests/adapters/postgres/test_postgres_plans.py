"""Operators' lists read their pages from an index, however many accounts there are."""

import json
import re

import psycopg
import pytest

from vault_adapters.stores.listing import list_of
from vault_adapters.stores.postgres.statements import load_statements, planned_once
from vault_adapters.stores.postgres.store import open_postgres_store
from vault_domain.entities.account import ConnectionState
from vault_domain.ports.pages import AccountQuery

ACCOUNTS = 40_000
FILL = f"""
INSERT INTO vault.token (tenant_id, provider, kind, identifier, id, value_id, data_key_id, blob, status, expires_at,
    generation, created_at, updated_at, last_refreshed_at, rejected_at)
SELECT 't' || n / 10, CASE WHEN n % 2000 = 3 THEN 'rare' ELSE 'google' END, k, 'u' || n, gen_random_uuid(),
    gen_random_uuid(), decode(repeat('00', 16), 'hex'), 'x',
    CASE WHEN n % 1000 = 0 AND k = 'refresh_token' THEN 'invalid' ELSE 'valid' END,
    CASE WHEN k = 'access_token' THEN now() + interval '1 hour' END, 1, now(), now(), now() - n * interval '1 second',
    CASE WHEN n % 1000 = 0 AND k = 'refresh_token' THEN now() - n * interval '1 second' END
FROM generate_series(1, {ACCOUNTS}) n, unnest(ARRAY['access_token', 'refresh_token']) k;
INSERT INTO vault.account (tenant_id, provider, identifier, label, due_at, failures, attempt_id, committed_attempt_id,
    sent_at)
SELECT 't' || n / 10, 'google', 'u' || n, 'User' || n || '@Example.com', now() + interval '50 minutes',
    CASE WHEN n % 1000 = 1 THEN 1 ELSE 0 END, attempt, attempt, now()
FROM generate_series(1, {ACCOUNTS}) n, gen_random_uuid() attempt;
ANALYZE vault.token; ANALYZE vault.account;
"""
PLACE = {"after_tenant_id": "t2", "after_provider": "", "after_identifier": "", "provider": None, "now": None}
OF_CLIENT = {"provider": "google", "tenant_id": None, "after_kind": "", "client": "", "since": "2020-01-01"}
OF_CLIENT |= {"until": "2100-01-01", "stored_since": "2020-01-01"}
MOST_BLOCKS = 500
"""Limit of the blocks that a page of twenty accounts reads: some for each account.

The whole table has several times as many blocks as this limit.
"""

KEPT_PLANS = """
SELECT statement, generic_plans > custom_plans FROM pg_catalog.pg_prepared_statements WHERE statement ~ '^WITH page '
"""


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


INDEXES = {
    "list_all_accounts": "token_pkey",
    "list_doubtful_accounts": "token_doubtful",
    "list_troubled_accounts": "account_troubled",
    "list_tenants": "token_",
    "list_provider_accounts": "token_provider",
    "list_accounts": "token_pkey",
    "list_siblings": "token_sibling",
    "find_accounts": "account_label token_identifier token_provider",
}
INDEXES_OF_CLIENTS = {"find_condemned_tokens": "token_rejected", "find_refreshed_tokens": "token_refreshed"}
"""Lists of tokens, whose plans are not kept."""


def parameters_of(query):
    parameters = {**PLACE, "after": "t2", "limit": 21, "tenant_id": "t77", **list_of(AccountQuery(text="user777"))[1]}
    if query in INDEXES_OF_CLIENTS:
        return parameters | OF_CLIENT
    if query == "list_siblings":
        return parameters | {"provider": "google", "identifier": "u777"}
    return parameters | ({"provider": "rare"} if query == "list_provider_accounts" else {})


def check_plan(found, index):
    [plan] = found if isinstance(found, list) else json.loads(found)
    nodes = list(nodes_of(plan["Plan"]))
    assert "Seq Scan" not in {node["Node Type"] for node in nodes}
    read = [node.get("Index Name", "") for node in nodes]
    assert all(any(name.startswith(wanted) for name in read) for wanted in index.split())
    blocks = plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]
    assert blocks < MOST_BLOCKS, blocks


@pytest.mark.parametrize(("query", "index"), (INDEXES | INDEXES_OF_CLIENTS).items())
def test_a_page_is_read_from_an_index(filled, query, index):
    statement = load_statements("vault")[query]
    [(found,)] = filled.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", parameters_of(query)).fetchall()
    check_plan(found, index)


@pytest.mark.parametrize(("query", "index"), INDEXES.items())
def test_a_plan_that_is_kept_reads_a_page_from_an_index(filled, query, index):
    parameters = parameters_of(query)
    names = []

    def numbered(match):
        names.extend({match[1]} - set(names))
        return f"${names.index(match[1]) + 1}"

    statement = re.sub(r"%\((\w+)\)b", numbered, planned_once(load_statements("vault")[query], 21, None))
    filled.execute(f"PREPARE {query} AS {statement}")
    filled.execute("SET plan_cache_mode = force_generic_plan")
    given = ", ".join("NULL" if parameters[name] is None else f"'{parameters[name]}'" for name in names)
    [(found,)] = filled.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE {query}({given})").fetchall()
    check_plan(found, index)


async def test_pages_of_all_tenants_accounts_are_planned_once(filled):
    """A new plan for each page would take about as long as the page itself."""
    places = [("", "", ""), ("t2", "google", "u29"), ("t99", "", "")]
    asked = [(state, None) for state in (None, *ConnectionState)] + [(None, "google"), (None, "rare")]
    async with open_postgres_store(filled.info.dsn, migrate=False, schema="vault", pool_size=1) as store:
        for after in places * 4:
            for state, provider in asked:
                await store.pages.accounts(AccountQuery(provider=provider, state=state), limit=21, after=after)
            for text in ("user777", "us", "google"):
                await store.pages.accounts(AccountQuery(text=text), limit=21, after=after)
        plans = await store.accounts._database.fetch(KEPT_PLANS, {})
    assert len(plans) == 5
    assert all(kept for _, kept in plans), plans


async def test_a_page_does_not_depend_on_the_order_in_which_a_join_returns_rows(filled):
    async def page():
        async with open_postgres_store(filled.info.dsn, migrate=False, schema="vault") as store:
            found, _ = await store.pages.accounts(AccountQuery(), limit=200, after=("t2", "", ""))
            return [(record.account, set(record.tokens)) for record in found]

    usual = await page()
    database = filled.info.dbname
    for join in ("nestloop", "mergejoin"):
        filled.execute(f"ALTER DATABASE {database} SET enable_{join} = off")
    assert await page() == usual
    assert len({account for account, _ in usual}) == 200
    for join in ("nestloop", "mergejoin"):
        filled.execute(f"ALTER DATABASE {database} RESET enable_{join}")
