-- name: list_master_keys
-- List all master key records, each with the last event about it, and with the last activation of any master key.
SELECT m.master_key_id, {{text m.provider}}, {{uri}}, {{kdf}}, {{bytes 64 m.check_value}}, {{text m.state}}, m.created_at, {{last_event}}, {{last_activated}}
FROM {{schema}}.master_key m
ORDER BY m.created_at, m.master_key_id

-- name: share_active_master_key
-- Get the active master key, and keep it active until the transaction ends.
SELECT m.master_key_id, {{text m.provider}}, {{uri}}, {{kdf}}, {{bytes 64 m.check_value}}, {{text m.state}}, m.created_at, {{last_event}}, {{last_activated}}
FROM {{schema}}.master_key m
WHERE m.state = 'active'
FOR SHARE OF m

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

-- name: get_data_keys
-- Get the given data keys of the given tenants, each with its wraps; an id of NULL stands for the tenant's active data
-- key. Wraps under retired master keys are left out.
SELECT d.tenant_id, d.data_key_id, d.state, d.emptied_at, {{data_key_event}}, w.master_key_ids, w.wraps
FROM unnest(%(tenant_ids)b::text[], %(data_key_ids)b::bytea[]) k (tenant_id, data_key_id)
JOIN {{schema}}.data_key d ON d.tenant_id = k.tenant_id
    AND (d.data_key_id = k.data_key_id OR k.data_key_id IS NULL AND d.state = 'active')
LEFT JOIN LATERAL (
    SELECT pg_catalog.array_agg(master_key_id ORDER BY master_key_id) AS master_key_ids, pg_catalog.array_agg({{wrapped}} ORDER BY master_key_id) AS wraps
    FROM {{schema}}.data_key_wrap w
    WHERE w.tenant_id = d.tenant_id AND w.data_key_id = d.data_key_id AND {{usable_wrap}}) w ON true

-- name: list_data_keys
-- List data keys after a position, each with its wraps, with whether a token uses it, if that is asked for, and with the
-- time. Wraps under retired master keys are left out, unless data keys are asked for that a master key wraps. Citus
-- cannot join tables that are not on one node, so the usable master keys and the page are found first.
WITH usable AS MATERIALIZED (
    SELECT m.master_key_id FROM {{schema}}.master_key m
    WHERE m.state <> 'retired' AND coalesce({{last_event}}, '') <> 'master_key_retired'),
page AS MATERIALIZED (
    SELECT d.tenant_id, d.data_key_id, d.state, d.emptied_at, {{data_key_event}} AS action,
        %(with_use)b::bool AND EXISTS (
            SELECT 1 FROM {{schema}}.token t WHERE t.tenant_id = d.tenant_id AND t.data_key_id = d.data_key_id) AS is_used
    FROM {{data_keys_of_page}}
    ORDER BY d.tenant_id, d.data_key_id
    LIMIT %(limit)b::bigint),
wraps AS MATERIALIZED (
    SELECT w.tenant_id, w.data_key_id, w.master_key_id, {{wrapped}} AS wrapped
    FROM {{schema}}.data_key_wrap w
    WHERE (w.tenant_id, w.data_key_id) IN (SELECT tenant_id, data_key_id FROM page)
        AND (%(tenant_id)b::text IS NULL OR w.tenant_id = %(tenant_id)b)
        AND (%(is_wrapped)b::bool OR w.master_key_id IN (SELECT master_key_id FROM usable)))
SELECT d.tenant_id, d.data_key_id, d.state, d.emptied_at, d.action, w.master_key_ids, w.wraps, d.is_used, {{now}}
FROM page d
LEFT JOIN (
    SELECT tenant_id, data_key_id, pg_catalog.array_agg(master_key_id ORDER BY master_key_id) AS master_key_ids,
        pg_catalog.array_agg(wrapped ORDER BY master_key_id) AS wraps
    FROM wraps
    GROUP BY tenant_id, data_key_id) w ON w.tenant_id = d.tenant_id AND w.data_key_id = d.data_key_id
ORDER BY d.tenant_id, d.data_key_id

-- name: create_data_keys
-- Store active data keys for tenants that have none, in the given order, each with its wraps.
-- share_active_master_key has locked their master key. The statement returns the data keys that were stored.
WITH created AS (
    INSERT INTO {{schema}}.data_key (tenant_id, data_key_id, state, created_at)
    SELECT s.tenant_id, s.data_key_id, 'active', {{now}}
    FROM unnest(%(tenant_ids)b::text[], %(data_key_ids)b::bytea[]) WITH ORDINALITY s (tenant_id, data_key_id, ord)
    ORDER BY s.ord
    ON CONFLICT (tenant_id) WHERE state = 'active' DO NOTHING
    RETURNING tenant_id, data_key_id),
wrapped AS (
    INSERT INTO {{schema}}.data_key_wrap (tenant_id, data_key_id, master_key_id, wrapped)
    SELECT w.tenant_id, w.data_key_id, w.master_key_id, w.wrapped
    FROM unnest(%(wrap_tenant_ids)b::text[], %(wrap_data_key_ids)b::bytea[], %(master_key_ids)b::bytea[], %(wraps)b::bytea[]) w (
        tenant_id, data_key_id, master_key_id, wrapped)
    JOIN created USING (tenant_id, data_key_id))
SELECT tenant_id, data_key_id FROM created

-- name: put_data_keys
-- Store what was decided about data keys, each if it still is as it was read. Wraps of destroyed data keys are deleted. The statement waits for transactions that store values under these
-- data keys, because they lock the keys FOR SHARE. It returns the data keys that were stored.
WITH held AS (
    SELECT s.*
    FROM unnest(%(tenant_ids)b::text[], %(data_key_ids)b::bytea[], %(old_states)b::text[], %(old_emptied_at)b::timestamptz[],
            %(states)b::text[], %(emptied_at)b::timestamptz[])
        WITH ORDINALITY s (tenant_id, data_key_id, old_state, old_emptied_at, state, emptied_at, ord)
    JOIN {{schema}}.data_key d ON d.tenant_id = s.tenant_id AND d.data_key_id = s.data_key_id AND d.state = s.old_state
    ORDER BY s.ord
    FOR UPDATE OF d),
stored AS (
    UPDATE {{schema}}.data_key d SET state = h.state, emptied_at = h.emptied_at
    FROM held h
    WHERE d.tenant_id = h.tenant_id AND d.data_key_id = h.data_key_id AND d.state = h.old_state
        AND d.emptied_at IS NOT DISTINCT FROM h.old_emptied_at
    RETURNING d.tenant_id, d.data_key_id, d.state),
unwrapped AS (
    DELETE FROM {{schema}}.data_key_wrap w USING stored s
    WHERE w.tenant_id = s.tenant_id AND w.data_key_id = s.data_key_id AND s.state = 'destroyed')
SELECT tenant_id, data_key_id FROM stored

-- name: count_data_keys
-- Count data keys by state, and by the event that confirms a state.
SELECT k.state, k.action, count(*)
FROM (
    SELECT d.state, {{data_key_event}} AS action
    FROM {{schema}}.data_key d
    WHERE d.state <> 'destroyed'
        AND (%(tenant_id)b::text IS NULL OR d.tenant_id = %(tenant_id)b)
    ) k
GROUP BY k.state, k.action
UNION ALL
SELECT 'destroyed', NULL, count(*) FROM {{schema}}.data_key d
WHERE d.state = 'destroyed' AND (%(tenant_id)b::text IS NULL OR d.tenant_id = %(tenant_id)b)

-- name: count_wraps
-- Count the data keys that each master key wraps.
SELECT master_key_id, count(*) FROM {{schema}}.data_key_wrap
WHERE %(tenant_id)b::text IS NULL OR tenant_id = %(tenant_id)b
GROUP BY master_key_id

-- name: count_tokens
-- Count data keys of a state and of at least the given age, and the tokens under them. Emptied data
-- keys are skipped, because each of them would make the query read all tokens of its tenant again.
SELECT 'data_keys', count(*) FROM {{schema}}.data_key d
WHERE d.state = %(state)b::text AND d.emptied_at IS NULL AND (%(tenant_id)b::text IS NULL OR d.tenant_id = %(tenant_id)b)
    AND d.created_at <= {{now}} - %(age)b::bigint::float8 * interval '1 microsecond'
UNION ALL
SELECT 'tokens', count(*)
FROM {{schema}}.data_key d
JOIN {{schema}}.token t ON t.tenant_id = d.tenant_id AND t.data_key_id = d.data_key_id
WHERE d.state = %(state)b::text AND d.emptied_at IS NULL
    AND (%(tenant_id)b::text IS NULL OR d.tenant_id = %(tenant_id)b)
    AND d.created_at <= {{now}} - %(age)b::bigint::float8 * interval '1 microsecond'

-- name: find_rows_to_reseal
-- After a position, find tokens under decrypt_only data keys, of all tenants or of one. It reads tenant by tenant, each
-- by the primary key, because one join with a sort would read all remaining tokens for every page. The lateral join
-- keeps the order of the tenants.
SELECT t.tenant_id, t.provider, t.kind, t.identifier, {{value_columns}}
FROM (
    SELECT tenant_id, pg_catalog.array_agg(data_key_id) AS data_key_ids FROM {{schema}}.data_key
    WHERE state = 'decrypt_only' AND emptied_at IS NULL AND tenant_id >= %(after_tenant_id)b::text
        AND (%(tenant_id)b::text IS NULL OR tenant_id = %(tenant_id)b)
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

-- name: hold_data_key
-- Lock a data key until the transaction ends.
SELECT true FROM {{schema}}.data_key
WHERE tenant_id = %(tenant_id)b::text AND data_key_id = %(data_key_id)b::bytea
FOR UPDATE

-- name: put_wraps
-- Put some wraps in the place of all wraps of a data key; hold_data_key has locked it.
WITH gone AS (
    DELETE FROM {{schema}}.data_key_wrap
    WHERE tenant_id = %(tenant_id)b::text AND data_key_id = %(data_key_id)b::bytea
        AND master_key_id <> ALL (%(master_key_ids)b::bytea[]))
INSERT INTO {{schema}}.data_key_wrap (tenant_id, data_key_id, master_key_id, wrapped)
SELECT %(tenant_id)b::text, %(data_key_id)b::bytea, w.*
FROM unnest(%(master_key_ids)b::bytea[], %(wraps)b::bytea[]) w
ON CONFLICT (tenant_id, data_key_id, master_key_id) DO UPDATE SET wrapped = excluded.wrapped

-- name: change_wraps
-- Store missing wraps of data keys under a master key. Or delete the wraps of these data keys under the master key that
-- was replaced, each if the given wrap of its data key is stored unchanged. Destroyed data keys are left out.
-- share_active_master_key has locked the master key of the given wraps. The statement locks the data keys first, to
-- avoid a deadlock with an erasure.
WITH held AS (
    SELECT s.*
    FROM unnest(%(tenant_ids)b::text[], %(data_key_ids)b::bytea[], %(wraps)b::bytea[])
        WITH ORDINALITY s (tenant_id, data_key_id, wrapped, ord)
    JOIN {{schema}}.data_key d ON d.tenant_id = s.tenant_id AND d.data_key_id = s.data_key_id AND d.state <> 'destroyed'
    ORDER BY s.ord
    FOR SHARE OF d),
added AS (
    INSERT INTO {{schema}}.data_key_wrap (tenant_id, data_key_id, master_key_id, wrapped)
    SELECT h.tenant_id, h.data_key_id, %(master_key_id)b::bytea, h.wrapped
    FROM held h
    WHERE %(replaced)b::bytea IS NULL
    ORDER BY h.ord
    ON CONFLICT (tenant_id, data_key_id, master_key_id) DO NOTHING
    RETURNING 1),
kept AS (
    SELECT w.tenant_id, w.data_key_id
    FROM held h
    JOIN {{schema}}.data_key_wrap w
        ON w.tenant_id = h.tenant_id AND w.data_key_id = h.data_key_id AND w.master_key_id = %(master_key_id)b::bytea
        AND w.wrapped = h.wrapped
    ORDER BY h.ord
    FOR SHARE OF w),
doomed AS (
    SELECT w.tenant_id, w.data_key_id
    FROM kept k
    JOIN {{schema}}.data_key_wrap w ON w.tenant_id = k.tenant_id AND w.data_key_id = k.data_key_id AND w.master_key_id = %(replaced)b::bytea
    ORDER BY w.tenant_id, w.data_key_id
    FOR UPDATE OF w),
deleted AS (
    DELETE FROM {{schema}}.data_key_wrap w USING doomed d
    WHERE w.tenant_id = d.tenant_id AND w.data_key_id = d.data_key_id AND w.master_key_id = %(replaced)b::bytea
    RETURNING 1)
SELECT (SELECT count(*) FROM added) + (SELECT count(*) FROM deleted)
