-- name: list_master_keys
-- All master key records.
SELECT kek_id, provider, uri, kdf, check_value, state, created_at FROM {{schema}}.kek ORDER BY created_at, kek_id

-- name: lock_master_keys
-- Exclude other introductions until the transaction ends; readers go on.
LOCK TABLE {{schema}}.kek IN SHARE ROW EXCLUSIVE MODE

-- name: has_data
-- Whether there are data keys or tokens.
SELECT EXISTS (SELECT FROM {{schema}}.dek) OR EXISTS (SELECT FROM {{schema}}.token)

-- name: insert_master_key
-- A master key; a retired one of the same id may unwrap again.
INSERT INTO {{schema}}.kek (kek_id, provider, uri, kdf, check_value, state, created_at)
VALUES (%(kek_id)b, %(provider)b, %(uri)b, %(kdf)b, %(check_value)b, %(state)b,
    coalesce(%(now)b::timestamptz, statement_timestamp()))
ON CONFLICT (kek_id) DO UPDATE SET state = 'unwrap_only' WHERE kek.state = 'retired'

-- name: get_active_data_key
-- A tenant's active data key with its wraps.
SELECT d.tenant_id, d.dek_id, d.state, d.swept_at, w.kek_id, w.wrapped
FROM {{schema}}.dek d
LEFT JOIN {{schema}}.dek_wrap w USING (tenant_id, dek_id)
WHERE d.tenant_id = %(tenant_id)b AND d.state = 'active'

-- name: get_data_key
-- One data key of a tenant with its wraps.
SELECT d.tenant_id, d.dek_id, d.state, d.swept_at, w.kek_id, w.wrapped
FROM {{schema}}.dek d
LEFT JOIN {{schema}}.dek_wrap w USING (tenant_id, dek_id)
WHERE d.tenant_id = %(tenant_id)b AND d.dek_id = %(dek_id)b

-- name: create_data_key
-- A tenant's active data key, unless there is one, with its wraps under master keys that are not retired; FOR SHARE
-- holds off whoever is about to retire one. Returns how many of those there are.
WITH live AS (
    SELECT kek_id FROM {{schema}}.kek
    WHERE kek_id = ANY (%(kek_ids)b::bytea[]) AND state <> 'retired'
    ORDER BY kek_id
    FOR SHARE),
created AS (
    INSERT INTO {{schema}}.dek (tenant_id, dek_id, state, created_at)
    SELECT %(tenant_id)b, %(dek_id)b, 'active', coalesce(%(now)b::timestamptz, statement_timestamp())
    WHERE EXISTS (SELECT FROM live)
    ON CONFLICT (tenant_id) WHERE state = 'active' DO NOTHING
    RETURNING tenant_id, dek_id),
wrapped AS (
    INSERT INTO {{schema}}.dek_wrap (tenant_id, dek_id, kek_id, wrapped)
    SELECT c.tenant_id, c.dek_id, kek_id, w.wrapped
    FROM created c
    CROSS JOIN unnest(%(kek_ids)b::bytea[], %(wraps)b::bytea[]) w (kek_id, wrapped)
    JOIN live USING (kek_id))
SELECT count(*) FROM live
