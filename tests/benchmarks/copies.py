"""A copy of the token table for the bare driver: same columns, same indexes, same storage."""

from __future__ import annotations

from tests.benchmarks.floors import Connection

_COPY = """
DROP SCHEMA IF EXISTS bare CASCADE;
CREATE SCHEMA bare;
CREATE TABLE bare.token (LIKE token_vault.token INCLUDING ALL) WITH (fillfactor = 85);
INSERT INTO bare.token SELECT * FROM token_vault.token;
ANALYZE bare.token;
"""

_SET = """
ON CONFLICT (tenant_id, provider, kind, identifier) DO UPDATE SET
    value_id = excluded.value_id, data_key_id = excluded.data_key_id, blob = excluded.blob, status = 'valid',
    error_code = NULL,
    expires_at = excluded.expires_at, generation = t.generation + 1, updated_at = excluded.updated_at
"""

_INTO = """
INSERT INTO bare.token AS t (
    tenant_id, provider, kind, identifier, id, value_id, data_key_id, blob, expires_at, status, generation,
    created_at, updated_at)
"""

UPSERT = f"""{_INTO}
VALUES (%b, %b, %b, %b, %b, gen_random_uuid(), %b, %b, %b, 'valid', 1, statement_timestamp(), statement_timestamp())
{_SET}
RETURNING id, generation, created_at, updated_at
"""

GUARDED_UPSERT = f"""
WITH guarded AS (
    SELECT 1 FROM token_vault.data_key WHERE tenant_id = %b AND data_key_id = %b AND state = 'active' FOR SHARE),
stored AS ({_INTO}
    SELECT %b, %b, %b, %b, %b, gen_random_uuid(), %b, %b, %b::timestamptz, 'valid', 1, statement_timestamp(),
        statement_timestamp()
    FROM guarded
    {_SET}
    RETURNING *),
audited AS (
    INSERT INTO token_vault.audit_event (tenant_id, action, occurred_at, provider, identifier, kind, generation)
    SELECT tenant_id, 'token_stored', updated_at, provider, identifier, kind, generation FROM stored)
SELECT id, generation, created_at, updated_at FROM stored
"""

UPSERT_MANY = f"""{_INTO}
SELECT tenant_id, provider, kind, identifier, id, id, data_key_id, blob, expires_at, 'valid', 1, statement_timestamp(),
    statement_timestamp()
FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::uuid[], %b::bytea[], %b::bytea[], %b::timestamptz[])
    s (tenant_id, provider, kind, identifier, id, data_key_id, blob, expires_at)
{_SET}
RETURNING id, generation, created_at, updated_at
"""

RESEAL_MANY = """
UPDATE bare.token t SET data_key_id = s.data_key_id, blob = s.blob
FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::bytea[], %b::bytea[], %b::bytea[])
    s (tenant_id, provider, kind, identifier, before_blob, data_key_id, blob)
WHERE t.tenant_id = s.tenant_id AND t.provider = s.provider AND t.kind = s.kind AND t.identifier = s.identifier
    AND t.blob = s.before_blob
RETURNING 1
"""


async def copy_table(connection: Connection) -> None:
    """Create the copy, with all rows that the token table has now."""
    await connection.execute(_COPY)
