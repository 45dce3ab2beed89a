-- name: list_master_keys
-- List all master key records.
SELECT m.master_key_id, m.provider, {{uri}}, {{kdf}}, m.check_value, m.state, m.created_at, {{confirmed_master_key}}
FROM {{schema}}.master_key m
ORDER BY m.created_at, m.master_key_id

-- name: lock_master_keys
-- Until this transaction ends, no other transaction can change a master key, or store a wrap under one, because that
-- locks the master key FOR SHARE. Readers are not blocked.
LOCK TABLE {{schema}}.master_key IN EXCLUSIVE MODE

-- name: has_data
-- Tell whether there are data keys or tokens, and the time.
SELECT EXISTS (SELECT 1 FROM {{schema}}.data_key) OR EXISTS (SELECT 1 FROM {{schema}}.token), {{now}}

-- name: put_master_key
-- Store a master key, or the new state of one. lock_master_keys has locked the table.
INSERT INTO {{schema}}.master_key (master_key_id, provider, uri, kdf, check_value, state, created_at)
VALUES (%(master_key_id)b, %(provider)b, %(uri)b, %(kdf)b, %(check_value)b, %(state)b, %(created_at)b)
ON CONFLICT (master_key_id) DO UPDATE SET state = excluded.state

-- name: get_active_data_keys
-- Get the active data keys of the given tenants, each with its wraps. Wraps under retired master keys are left out.
SELECT d.tenant_id, d.data_key_id, d.state, d.emptied_at, {{confirmed_data_key}}, w.master_key_ids, w.wraps
FROM pg_catalog.unnest(%(tenant_ids)b::text[]) k (tenant_id)
JOIN {{schema}}.data_key d ON d.tenant_id = k.tenant_id AND d.state = 'active'
LEFT JOIN LATERAL (
    SELECT pg_catalog.array_agg(master_key_id ORDER BY master_key_id) AS master_key_ids, pg_catalog.array_agg({{wrapped}} ORDER BY master_key_id) AS wraps
    FROM {{schema}}.data_key_wrap w
    WHERE w.tenant_id = d.tenant_id AND w.data_key_id = d.data_key_id AND {{usable_wrap}}) w ON true

-- name: get_data_keys
-- Get the given data keys of the given tenants, each with its wraps. Wraps under retired master keys are left out.
SELECT d.tenant_id, d.data_key_id, d.state, d.emptied_at, {{confirmed_data_key}}, w.master_key_ids, w.wraps
FROM unnest(%(tenant_ids)b::text[], %(data_key_ids)b::bytea[]) k (tenant_id, data_key_id)
JOIN {{schema}}.data_key d ON d.tenant_id = k.tenant_id AND d.data_key_id = k.data_key_id
LEFT JOIN LATERAL (
    SELECT pg_catalog.array_agg(master_key_id ORDER BY master_key_id) AS master_key_ids, pg_catalog.array_agg({{wrapped}} ORDER BY master_key_id) AS wraps
    FROM {{schema}}.data_key_wrap w
    WHERE w.tenant_id = d.tenant_id AND w.data_key_id = d.data_key_id AND {{usable_wrap}}) w ON true

-- name: create_data_keys
-- Store active data keys for tenants that have none, in the given order. Each data key is stored with its wrap
-- under the active master key and no other wrap. FOR SHARE keeps this master key active until the commit. A master key
-- that is active although the audit log says otherwise does not count. The statement returns the id of the active
-- master key, or no row if none of the given wraps is under it.
WITH live AS (
    SELECT m.master_key_id FROM {{schema}}.master_key m
    WHERE m.master_key_id = ANY (%(master_key_ids)b::bytea[]) AND m.state = 'active'
        AND coalesce({{confirmed_master_key}}, 'active') = 'active'
    FOR SHARE OF m),
lasting AS (
    SELECT w.*
    FROM unnest(%(wrap_tenant_ids)b::text[], %(wrap_data_key_ids)b::bytea[], %(master_key_ids)b::bytea[], %(wraps)b::bytea[]) w (
        tenant_id, data_key_id, master_key_id, wrapped)
    JOIN live USING (master_key_id)),
created AS (
    INSERT INTO {{schema}}.data_key (tenant_id, data_key_id, state, created_at)
    SELECT s.tenant_id, s.data_key_id, 'active', {{now}}
    FROM unnest(%(tenant_ids)b::text[], %(data_key_ids)b::bytea[]) WITH ORDINALITY s (tenant_id, data_key_id, ord)
    WHERE EXISTS (SELECT 1 FROM lasting l WHERE l.tenant_id = s.tenant_id AND l.data_key_id = s.data_key_id)
    ORDER BY s.ord
    ON CONFLICT (tenant_id) WHERE state = 'active' DO NOTHING
    RETURNING tenant_id, data_key_id),
wrapped AS (
    INSERT INTO {{schema}}.data_key_wrap (tenant_id, data_key_id, master_key_id, wrapped)
    SELECT l.tenant_id, l.data_key_id, l.master_key_id, l.wrapped FROM lasting l JOIN created USING (tenant_id, data_key_id))
SELECT master_key_id FROM live
