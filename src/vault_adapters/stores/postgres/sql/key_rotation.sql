-- name: count_data_keys
-- Count data keys by state.
SELECT state, count(*) FROM {{schema}}.data_key
WHERE %(tenant_id)b::text IS NULL OR tenant_id = %(tenant_id)b
GROUP BY state

-- name: count_wraps
-- Count the data keys that each master key wraps.
SELECT master_key_id, count(*) FROM {{schema}}.data_key_wrap
WHERE %(tenant_id)b::text IS NULL OR tenant_id = %(tenant_id)b
GROUP BY master_key_id

-- name: count_rows_to_reseal
-- Count tokens under decrypt_only data keys. Emptied data keys are skipped, because each of them would make the query
-- read all tokens of its tenant again.
SELECT count(*)
FROM {{schema}}.data_key d
JOIN {{schema}}.token t ON t.tenant_id = d.tenant_id AND t.data_key_id = d.data_key_id
WHERE d.state = 'decrypt_only' AND d.emptied_at IS NULL AND (%(tenant_id)b::text IS NULL OR d.tenant_id = %(tenant_id)b)

-- name: count_resurrected_data_keys
-- Count the resurrected data keys. States have the order active, decrypt_only, destroyed. A data key is resurrected if
-- the audit log confirms a later state than the stored one.
SELECT count(*) FROM (
    SELECT d.state, {{confirmed_data_key}} AS confirmed
    FROM {{schema}}.data_key d
    WHERE d.state <> 'destroyed' AND (%(tenant_id)b::text IS NULL OR d.tenant_id = %(tenant_id)b)) k
WHERE confirmed = 'destroyed' OR (confirmed = 'decrypt_only' AND state = 'active')

-- name: count_data_keys_to_rotate
-- Count the active data keys that have at least the given age.
SELECT count(*) FROM {{schema}}.data_key
WHERE state = 'active' AND created_at
    <= {{now}} - %(age)b::bigint::float8 * interval '1 microsecond'

-- name: count_tokens_to_rotate
-- Count the tokens, of all tenants or of one, under active data keys that have at least the given age.
SELECT count(*)
FROM {{schema}}.data_key d
JOIN {{schema}}.token t ON t.tenant_id = d.tenant_id AND t.data_key_id = d.data_key_id
WHERE d.state = 'active' AND d.created_at <= {{now}} - %(age)b::bigint::float8 * interval '1 microsecond'
    AND (%(tenant_id)b::text IS NULL OR d.tenant_id = %(tenant_id)b)

-- name: find_data_keys_to_rotate
-- Find the active data keys that have at least the given age; begin after a given tenant.
SELECT tenant_id, data_key_id FROM {{schema}}.data_key
WHERE state = 'active' AND tenant_id > %(after)b::text AND created_at
    <= {{now}} - %(age)b::bigint::float8 * interval '1 microsecond'
ORDER BY tenant_id
LIMIT %(limit)b::bigint

-- name: demote_data_key
-- Make a tenant's active data key decrypt_only. The statement waits for transactions that store values under this key,
-- because they lock the key FOR SHARE.
UPDATE {{schema}}.data_key SET state = 'decrypt_only'
WHERE tenant_id = %(tenant_id)b AND data_key_id = %(replaced)b AND state = 'active'

-- name: find_rows_to_reseal
-- After a position, find tokens under decrypt_only data keys. It reads tenant by tenant, each by the primary key,
-- because one join with a sort would read all remaining tokens for every page. The lateral join keeps the order of the
-- tenants.
SELECT t.tenant_id, t.provider, t.kind, t.identifier, {{value_columns}}
FROM (
    SELECT tenant_id, pg_catalog.array_agg(data_key_id) AS data_key_ids FROM {{schema}}.data_key
    WHERE state = 'decrypt_only' AND emptied_at IS NULL AND tenant_id >= %(after_tenant_id)b::text
    GROUP BY tenant_id
    ORDER BY tenant_id) d
CROSS JOIN LATERAL (
    SELECT * FROM {{schema}}.token
    WHERE tenant_id = d.tenant_id AND data_key_id = ANY (d.data_key_ids)
        AND (tenant_id, provider, identifier, kind)
            > (%(after_tenant_id)b::text, %(after_provider)b::text, %(after_identifier)b::text, %(after_kind)b::text)
    ORDER BY provider, identifier, kind
    LIMIT %(limit)b::bigint) t
LIMIT %(limit)b::bigint

-- name: find_tenant_rows_to_reseal
-- After a position, find one tenant's tokens under decrypt_only data keys.
SELECT t.tenant_id, t.provider, t.kind, t.identifier, {{value_columns}}
FROM {{schema}}.token t
WHERE tenant_id = %(tenant_id)b
    AND (provider, identifier, kind) > (%(after_provider)b::text, %(after_identifier)b::text, %(after_kind)b::text)
    AND data_key_id = ANY (ARRAY (
        SELECT data_key_id FROM {{schema}}.data_key
        WHERE tenant_id = %(tenant_id)b AND state = 'decrypt_only' AND emptied_at IS NULL))
ORDER BY provider, identifier, kind
LIMIT %(limit)b::bigint

-- name: reseal_tokens
-- Replace each sealed value, if its row still holds exactly the value that was opened; the rest of the row stays. The
-- statement writes nothing unless every new value's data key is active, and keeps these keys active until the commit.
-- It locks rows in the order of the token keys, because two batches could deadlock otherwise. Then it finds each locked
-- row by its place in the table; on Citus, by its key. By its place, it does not find a row that another transaction
-- changed while this statement waited for the row's lock, and this row stays as it is. The statement returns one row: the
-- number of new values whose data key is active, and the number of written values.
WITH guarded AS (
    SELECT s.*
    FROM unnest(
        %(tenant_ids)b::text[], %(providers)b::text[], %(kinds)b::text[], %(identifiers)b::text[],
        %(before_data_key_ids)b::bytea[], %(before_blobs)b::bytea[], %(data_key_ids)b::bytea[], %(blobs)b::bytea[],
        %(extras)b::bytea[])
        WITH ORDINALITY s (
            tenant_id, provider, kind, identifier, before_data_key_id, before_blob, data_key_id, blob, extra, ord)
    JOIN {{schema}}.data_key d ON d.tenant_id = s.tenant_id AND d.data_key_id = s.data_key_id AND d.state = 'active'
    ORDER BY s.ord
    FOR SHARE OF d),
locked AS (
    SELECT {{locked_place}}, g.data_key_id, g.blob, g.extra
    FROM guarded g
    JOIN {{schema}}.token t
        ON t.tenant_id = g.tenant_id AND t.provider = g.provider AND t.kind = g.kind AND t.identifier = g.identifier
        AND t.data_key_id = g.before_data_key_id AND t.blob = g.before_blob
    WHERE (SELECT count(*) FROM guarded) = pg_catalog.cardinality(%(blobs)b::bytea[])
    ORDER BY g.ord
    FOR UPDATE OF t),
resealed AS (
    UPDATE {{schema}}.token t SET data_key_id = l.data_key_id, blob = l.blob, extra = l.extra
    FROM locked l
    WHERE {{at_locked_place}}
    RETURNING 1)
SELECT (SELECT count(*) FROM guarded), (SELECT count(*) FROM resealed)

-- name: mark_emptied
-- Set emptied_at on decrypt_only data keys that no token uses.
UPDATE {{schema}}.data_key d SET emptied_at = {{now}}
WHERE d.state = 'decrypt_only' AND d.emptied_at IS NULL
    AND (%(tenant_id)b::text IS NULL OR d.tenant_id = %(tenant_id)b)
    AND NOT EXISTS (SELECT 1 FROM {{schema}}.token t WHERE t.tenant_id = d.tenant_id AND t.data_key_id = d.data_key_id)

-- name: destroy_emptied_data_keys
-- Turn data keys that were emptied long enough ago into tombstones, delete their wraps and append events. A data key
-- that tokens use again, for example after a backup was restored in part, loses its emptied_at instead. A data key
-- with a damaged id is left out, because tokens may need it once its id is repaired. The statement returns a row for
-- each data key of the page, with a time if the data key was destroyed.
WITH due AS (
    SELECT d.tenant_id, d.data_key_id,
        EXISTS (SELECT 1 FROM {{schema}}.token t WHERE t.tenant_id = d.tenant_id AND t.data_key_id = d.data_key_id) AS in_use
    FROM {{schema}}.data_key d
    WHERE d.state = 'decrypt_only' AND (%(tenant_id)b::text IS NULL OR d.tenant_id = %(tenant_id)b)
        AND octet_length(d.data_key_id) = 16
        AND d.emptied_at <= {{now}}
            - %(age)b::bigint::float8 * interval '1 microsecond'
    ORDER BY d.tenant_id, d.data_key_id
    LIMIT %(limit)b::bigint
    FOR UPDATE OF d),
kept AS (
    UPDATE {{schema}}.data_key d SET emptied_at = NULL FROM due
    WHERE d.tenant_id = due.tenant_id AND d.data_key_id = due.data_key_id AND due.in_use),
emptied AS (
    SELECT tenant_id, data_key_id FROM due WHERE NOT in_use),
unwrapped AS (
    DELETE FROM {{schema}}.data_key_wrap w USING emptied s WHERE w.tenant_id = s.tenant_id AND w.data_key_id = s.data_key_id),
destroyed AS (
    UPDATE {{schema}}.data_key d SET state = 'destroyed' FROM emptied s
    WHERE d.tenant_id = s.tenant_id AND d.data_key_id = s.data_key_id AND d.state = 'decrypt_only'
    RETURNING d.tenant_id, d.data_key_id, {{now}} AS now),
audited AS (
    INSERT INTO {{schema}}.audit_event (tenant_id, action, occurred_at, actor, code)
    SELECT tenant_id, 'data_key_destroyed', now, %(actor)b::text, encode(data_key_id, 'hex')
    FROM destroyed
    ORDER BY tenant_id, data_key_id)
SELECT due.tenant_id, due.data_key_id, x.now
FROM due LEFT JOIN destroyed x USING (tenant_id, data_key_id)
ORDER BY due.tenant_id, due.data_key_id

-- name: find_data_keys_without_wrap
-- Find data keys that are not destroyed and have no wrap under the given master key, after a position. Each comes with
-- its wraps, except for wraps under retired master keys.
SELECT d.tenant_id, d.data_key_id, d.state, d.emptied_at, {{confirmed_data_key}}, w.master_key_ids, w.wraps
FROM {{schema}}.data_key d
LEFT JOIN LATERAL (
    SELECT pg_catalog.array_agg(master_key_id ORDER BY master_key_id) AS master_key_ids, pg_catalog.array_agg({{wrapped}} ORDER BY master_key_id) AS wraps
    FROM {{schema}}.data_key_wrap w
    WHERE w.tenant_id = d.tenant_id AND w.data_key_id = d.data_key_id AND {{usable_wrap}}) w ON true
WHERE d.state <> 'destroyed' AND (d.tenant_id, d.data_key_id) > (%(after_tenant_id)b::text, %(after_data_key_id)b::bytea)
    AND NOT EXISTS (
        SELECT 1 FROM {{schema}}.data_key_wrap o
        WHERE o.tenant_id = d.tenant_id AND o.data_key_id = d.data_key_id AND o.master_key_id = %(master_key_id)b)
ORDER BY d.tenant_id, d.data_key_id
LIMIT %(limit)b::bigint

-- name: find_data_keys_with_wrap
-- Find data keys that a master key wraps, after a position, with all their wraps.
SELECT d.tenant_id, d.data_key_id, d.state, d.emptied_at, {{confirmed_data_key}}, w.master_key_ids, w.wraps
FROM {{schema}}.data_key d
JOIN {{schema}}.data_key_wrap o ON o.tenant_id = d.tenant_id AND o.data_key_id = d.data_key_id AND o.master_key_id = %(master_key_id)b
CROSS JOIN LATERAL (
    SELECT pg_catalog.array_agg(master_key_id ORDER BY master_key_id) AS master_key_ids, pg_catalog.array_agg({{wrapped}} ORDER BY master_key_id) AS wraps
    FROM {{schema}}.data_key_wrap
    WHERE tenant_id = d.tenant_id AND data_key_id = d.data_key_id) w
WHERE (d.tenant_id, d.data_key_id) > (%(after_tenant_id)b::text, %(after_data_key_id)b::bytea)
ORDER BY d.tenant_id, d.data_key_id
LIMIT %(limit)b::bigint

-- name: add_wraps
-- Store missing wraps of data keys under the active master key, except for destroyed data keys. It locks data keys and
-- then the master key FOR SHARE, which keeps the master key active until the commit. A master key does not count as
-- active if the audit log contradicts its state.
WITH kept AS (
    SELECT s.*
    FROM unnest(%(tenant_ids)b::text[], %(data_key_ids)b::bytea[], %(master_key_ids)b::bytea[], %(wraps)b::bytea[])
        WITH ORDINALITY s (tenant_id, data_key_id, master_key_id, wrapped, ord)
    JOIN {{schema}}.data_key d ON d.tenant_id = s.tenant_id AND d.data_key_id = s.data_key_id AND d.state <> 'destroyed'
    ORDER BY s.ord
    FOR SHARE OF d),
live AS (
    SELECT m.master_key_id FROM {{schema}}.master_key m
    WHERE m.master_key_id IN (SELECT master_key_id FROM kept) AND m.state = 'active'
        AND coalesce({{confirmed_master_key}}, 'active') = 'active'
    FOR SHARE OF m),
added AS (
    INSERT INTO {{schema}}.data_key_wrap (tenant_id, data_key_id, master_key_id, wrapped)
    SELECT k.tenant_id, k.data_key_id, master_key_id, k.wrapped
    FROM kept k
    JOIN live USING (master_key_id)
    ORDER BY k.ord
    ON CONFLICT (tenant_id, data_key_id, master_key_id) DO NOTHING
    RETURNING 1)
SELECT count(*) FROM added

-- name: delete_wraps
-- Delete data keys' wraps under the replaced master key. The caller gives another wrap of each of these data keys. A
-- wrap is deleted only if this other wrap is stored unchanged and its master key is active. The statement locks the
-- data keys first, to avoid a deadlock with an erasure. Then it locks the active master key, so that this master key
-- stays active until the commit.
WITH held AS (
    SELECT s.*
    FROM unnest(%(tenant_ids)b::text[], %(data_key_ids)b::bytea[], %(master_key_ids)b::bytea[], %(wraps)b::bytea[])
        WITH ORDINALITY s (tenant_id, data_key_id, master_key_id, wrapped, ord)
    JOIN {{schema}}.data_key d ON d.tenant_id = s.tenant_id AND d.data_key_id = s.data_key_id AND d.state <> 'destroyed'
    ORDER BY s.ord
    FOR SHARE OF d),
active AS (
    SELECT master_key_id FROM {{schema}}.master_key
    WHERE master_key_id = ANY (%(master_key_ids)b::bytea[]) AND state = 'active' AND master_key_id <> %(replaced)b
    FOR SHARE),
kept AS (
    SELECT w.tenant_id, w.data_key_id
    FROM held h
    JOIN active USING (master_key_id)
    JOIN {{schema}}.data_key_wrap w
        ON w.tenant_id = h.tenant_id AND w.data_key_id = h.data_key_id AND w.master_key_id = h.master_key_id AND w.wrapped = h.wrapped
    ORDER BY h.ord
    FOR SHARE OF w),
doomed AS (
    SELECT w.tenant_id, w.data_key_id
    FROM kept k
    JOIN {{schema}}.data_key_wrap w ON w.tenant_id = k.tenant_id AND w.data_key_id = k.data_key_id AND w.master_key_id = %(replaced)b
    ORDER BY w.tenant_id, w.data_key_id
    FOR UPDATE OF w),
deleted AS (
    DELETE FROM {{schema}}.data_key_wrap w USING doomed d
    WHERE w.tenant_id = d.tenant_id AND w.data_key_id = d.data_key_id AND w.master_key_id = %(replaced)b
    RETURNING 1)
SELECT count(*) FROM deleted

-- name: append_key_event
-- Append an event about a key or a tenant in the transaction of the change; return its time.
INSERT INTO {{schema}}.audit_event (tenant_id, action, occurred_at, actor, code)
VALUES (coalesce(%(tenant_id)b::text, ''), %(action)b::text, {{now}},
    %(actor)b::text, %(code)b::text)
RETURNING occurred_at
