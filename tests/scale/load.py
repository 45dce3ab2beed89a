"""Fills a vault's tables in SQL, so that millions of tokens take minutes; existing tokens stay."""

from __future__ import annotations

from collections.abc import Callable

from tests.benchmarks.floors import Connection
from tests.benchmarks.vaults import PROVIDER, SCHEMA

CHUNK = 50_000
"""Tokens of one transaction."""

TOKENS_OF_AN_ACCOUNT = 2

_PROGRESS = """
CREATE SCHEMA IF NOT EXISTS scale;
CREATE TABLE IF NOT EXISTS scale.loaded (accounts bigint NOT NULL PRIMARY KEY);
CREATE TABLE IF NOT EXISTS scale.measured (
    tokens bigint NOT NULL, call text NOT NULL, ratio float8 NOT NULL, millis float8 NOT NULL,
    added bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    PRIMARY KEY (tokens, call));
"""

# Nobody opens the values, so one data key id and arbitrary bytes are enough. Ten accounts belong to each tenant. The id
# of a tenant is a hash, because real accounts are not added in the order of their tenants' ids either. One account in
# forty must be connected again, one in forty fails, and one in ten is due.
_FILL = f"""
INSERT INTO {SCHEMA}.token (tenant_id, provider, kind, identifier, id, value_id, data_key_id, blob, status, error_code,
    expires_at, lifetime, generation, created_at, updated_at)
SELECT md5((n / 10)::text), '{PROVIDER}', k, 'user' || n || '@example.com', gen_random_uuid(), md5(k || n)::uuid,
    decode(repeat('e7', 16), 'hex'), decode(repeat('e7', 340), 'hex'),
    CASE WHEN n %% 40 = 0 AND k = 'refresh_token' THEN 'invalid' ELSE 'valid' END,
    CASE WHEN n %% 40 = 0 AND k = 'refresh_token' THEN 'invalid_grant' END,
    CASE WHEN k = 'access_token' THEN now() + interval '30 days' END,
    CASE WHEN k = 'access_token' THEN 3600000000 END, 1, now(), now()
FROM generate_series(%s::bigint, %s::bigint) n, unnest(ARRAY['access_token', 'refresh_token']) k;
INSERT INTO {SCHEMA}.account (tenant_id, provider, identifier, due_at, failures, credential_value_id)
SELECT md5((n / 10)::text), '{PROVIDER}', 'user' || n || '@example.com',
    CASE WHEN n %% 40 = 0 THEN NULL WHEN n %% 10 = 1 THEN now() - interval '1 hour'
        ELSE now() + interval '30 days' END,
    CASE WHEN n %% 40 = 1 THEN 1 ELSE 0 END, md5('refresh_token' || n)::uuid
FROM generate_series(%s::bigint, %s::bigint) n;
INSERT INTO {SCHEMA}.audit_event (tenant_id, action, occurred_at, provider, identifier, kind, generation)
SELECT md5((n / 10)::text), 'token_stored', now(), '{PROVIDER}', 'user' || n || '@example.com', 'access_token', 1
FROM generate_series(%s::bigint, %s::bigint) n;
INSERT INTO scale.loaded (accounts) VALUES (%s)
"""


async def prepare(connection: Connection) -> int:
    """Create the tables that keep the progress; return the number of accounts that are there already."""
    for statement in filter(str.strip, _PROGRESS.split(";\n")):
        await connection.execute(statement)
    cursor = await connection.execute("SELECT coalesce(max(accounts), 0) FROM scale.loaded")
    [(accounts,)] = await cursor.fetchall()
    return int(accounts)


async def load(connection: Connection, accounts: int, wanted: int, say: Callable[[str], None]) -> int:
    """Add accounts with two tokens each until there are as many as wanted; return their number.

    Each chunk is one transaction with its progress, so an interrupted load continues where it ended.

    Args:
        connection: the bare driver's connection.
        accounts: the number of accounts that are there already.
        wanted: the number of accounts that should be there.
        say: prints a line of progress.
    """
    while accounts < wanted:
        last = min(accounts + CHUNK // TOKENS_OF_AN_ACCOUNT, wanted)
        span = (accounts + 1, last)
        *inserts, progress = filter(str.strip, _FILL.split(";\n"))
        async with connection.transaction():
            for insert in inserts:
                await connection.execute(insert, span)
            await connection.execute(progress, (last,))
        accounts = last
        say(f"  {TOKENS_OF_AN_ACCOUNT * accounts:,} tokens")
    for table in ("token", "account", "audit_event"):
        await connection.execute(f"VACUUM ANALYZE {SCHEMA}.{table}")
    return accounts


async def sizes(connection: Connection) -> tuple[int, int]:
    """Return two sizes in bytes: all the vault's tables with their indexes, and the token table without its indexes."""
    cursor = await connection.execute(
        "SELECT sum(pg_total_relation_size(c.oid))::bigint, pg_relation_size(%s)"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relkind = 'r'",
        (f"{SCHEMA}.token", SCHEMA),
    )
    [(everything, tokens)] = await cursor.fetchall()
    return int(everything), int(tokens)
