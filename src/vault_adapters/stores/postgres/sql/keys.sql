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

-- name: get_active_data_keys
-- The active data keys of the tenants sent, with their wraps.
SELECT d.tenant_id, d.dek_id, d.state, d.swept_at, w.kek_ids, w.wraps
FROM unnest(%(tenant_ids)b::text[]) k (tenant_id)
JOIN {{schema}}.dek d ON d.tenant_id = k.tenant_id AND d.state = 'active'
LEFT JOIN LATERAL (
    SELECT array_agg(kek_id ORDER BY kek_id) AS kek_ids, array_agg(wrapped ORDER BY kek_id) AS wraps
    FROM {{schema}}.dek_wrap
    WHERE tenant_id = d.tenant_id AND dek_id = d.dek_id) w ON true

-- name: get_data_keys
-- The data keys sent, each of its tenant, with their wraps.
SELECT d.tenant_id, d.dek_id, d.state, d.swept_at, w.kek_ids, w.wraps
FROM unnest(%(tenant_ids)b::text[], %(dek_ids)b::bytea[]) k (tenant_id, dek_id)
JOIN {{schema}}.dek d ON d.tenant_id = k.tenant_id AND d.dek_id = k.dek_id
LEFT JOIN LATERAL (
    SELECT array_agg(kek_id ORDER BY kek_id) AS kek_ids, array_agg(wrapped ORDER BY kek_id) AS wraps
    FROM {{schema}}.dek_wrap
    WHERE tenant_id = d.tenant_id AND dek_id = d.dek_id) w ON true

-- name: create_data_keys
-- Active data keys of tenants that have none, in the order of the tenants, each with its wraps under master keys that are
-- not retired; FOR SHARE holds off whoever is about to retire one. Returns how many of those there are.
WITH live AS (
    SELECT kek_id FROM {{schema}}.kek
    WHERE kek_id = ANY (%(kek_ids)b::bytea[]) AND state <> 'retired'
    ORDER BY kek_id
    FOR SHARE),
lasting AS (
    SELECT w.*
    FROM unnest(%(wrap_tenant_ids)b::text[], %(wrap_dek_ids)b::bytea[], %(kek_ids)b::bytea[], %(wraps)b::bytea[]) w (
        tenant_id, dek_id, kek_id, wrapped)
    JOIN live USING (kek_id)),
created AS (
    INSERT INTO {{schema}}.dek (tenant_id, dek_id, state, created_at)
    SELECT s.tenant_id, s.dek_id, 'active', coalesce(%(now)b::timestamptz, statement_timestamp())
    FROM unnest(%(tenant_ids)b::text[], %(dek_ids)b::bytea[]) WITH ORDINALITY s (tenant_id, dek_id, ord)
    WHERE EXISTS (SELECT FROM lasting l WHERE l.tenant_id = s.tenant_id AND l.dek_id = s.dek_id)
    ORDER BY s.ord
    ON CONFLICT (tenant_id) WHERE state = 'active' DO NOTHING
    RETURNING tenant_id, dek_id),
wrapped AS (
    INSERT INTO {{schema}}.dek_wrap (tenant_id, dek_id, kek_id, wrapped)
    SELECT l.tenant_id, l.dek_id, l.kek_id, l.wrapped FROM lasting l JOIN created USING (tenant_id, dek_id))
SELECT count(*) FROM live
