-- name: import_tokens
-- Insert imported values and append their events. A row that this import stored is replaced only if no other writer has
-- replaced its value, and if the new value has a later updated_at. A row of another writer is replaced only if
-- overwrite is true. The result is the number of values with an active data key, and for each stored value its id,
-- whether its key held no token before, and the store's time. The last SELECT does not join the stored rows with the
-- parameters' arrays, because the planner cannot estimate how many rows an array gives and would choose a nested loop.
WITH guarded AS (
    SELECT s.*, {{now}} AS now
    FROM unnest(
        %(tenant_ids)b::text[], %(providers)b::text[], %(kinds)b::text[], %(identifiers)b::text[], %(ids)b::uuid[],
        %(data_key_ids)b::bytea[], %(blobs)b::bytea[], %(statuses)b::text[], %(error_codes)b::text[],
        %(expires_at)b::timestamptz[], %(scopes)b::text[], %(refreshed_at)b::timestamptz[],
        %(created_at)b::timestamptz[], %(updated_at)b::timestamptz[], %(extras)b::bytea[], {{plain %($name)b::$type[]}})
        WITH ORDINALITY s (
            tenant_id, provider, kind, identifier, id, data_key_id, blob, status, error_code, expires_at, scopes,
            last_refreshed_at, created_at, updated_at, extra, {{plain $name}}, ord)
    JOIN {{schema}}.data_key d ON d.tenant_id = s.tenant_id AND d.data_key_id = s.data_key_id AND d.state = 'active'
    ORDER BY s.ord
    FOR SHARE OF d),
stored AS (
    INSERT INTO {{schema}}.token AS t (
        tenant_id, provider, kind, identifier, id, value_id, data_key_id, blob, extra, status, error_code, expires_at,
        scopes, generation, last_refreshed_at, created_at, updated_at, {{plain $name}})
    -- least() ignores NULL, so a value without a time gets the present time.
    SELECT tenant_id, provider, kind, identifier, id, id, data_key_id, blob, extra, status, error_code, expires_at, scopes, 1,
        CASE WHEN last_refreshed_at IS NOT NULL THEN least(last_refreshed_at, now) END,
        least(created_at, now), least(updated_at, now), {{plain $name}}
    FROM guarded
    ORDER BY ord
    ON CONFLICT (tenant_id, provider, kind, identifier) DO UPDATE SET
        id = excluded.id, value_id = excluded.value_id, data_key_id = excluded.data_key_id, blob = excluded.blob, extra = excluded.extra,
        status = excluded.status, error_code = excluded.error_code, expires_at = excluded.expires_at, lifetime = NULL,
        scopes = excluded.scopes, suspect_since = NULL, rejected_at = NULL, {{plain $name = excluded.$name}},
        generation = 1, created_at = excluded.created_at, updated_at = excluded.updated_at,
        last_refreshed_at = coalesce(excluded.last_refreshed_at, CASE
            WHEN t.id BETWEEN %(first_id)b::uuid AND %(last_id)b::uuid THEN t.last_refreshed_at
            ELSE {{now}} END)
    WHERE CASE
        -- A value without a time, or with a time in the future, does not count as later.
        WHEN t.id BETWEEN %(first_id)b::uuid AND %(last_id)b::uuid
        THEN t.generation = 1 AND t.updated_at < excluded.updated_at
            AND excluded.updated_at < {{now}}
        ELSE %(overwrite)b::boolean END
    -- xmax is 0 for an inserted row; a replaced row has this transaction's lock there.
    RETURNING t.tenant_id, t.provider, t.kind, t.identifier, t.id, t.value_id, t.expires_at,
        coalesce(t.last_refreshed_at, t.created_at) AS used_at, t.xmax = 0 AS is_new, {{now}} AS now),
timed AS MATERIALIZED (
    SELECT s.*, least(
        CASE WHEN s.kind = 'access_token'
        THEN s.expires_at - %(lead)b::bigint::float8 * interval '1 microsecond' END,
        s.used_at + (
            SELECT i.due_in
            FROM unnest(%(idle_providers)b::text[], %(idle_kinds)b::text[], %(due_ins)b::bigint[])
                i (provider, kind, due_in)
            WHERE i.provider = s.provider AND i.kind = s.kind)::float8 * interval '1 microsecond') AS due_at
    FROM stored s),
scheduled AS (
    INSERT INTO {{schema}}.account AS a (tenant_id, provider, identifier, due_at)
    -- If an access token has a due time, the due times of the account's other values do not count.
    SELECT s.tenant_id, s.provider, s.identifier,
        coalesce(min(s.due_at) FILTER (WHERE s.kind = 'access_token'), min(s.due_at), min(s.now))
    FROM {{timed_imports}}
    GROUP BY s.tenant_id, s.provider, s.identifier
    HAVING min(s.due_at) IS NOT NULL OR {{account_exists}}
    ORDER BY s.tenant_id, s.provider, s.identifier
    ON CONFLICT (tenant_id, provider, identifier) DO UPDATE SET due_at = excluded.due_at
        WHERE a.due_at IS NULL OR a.due_at > excluded.due_at),
told AS MATERIALIZED (
    {{told_values}}),
event AS (
    SELECT tenant_id, 'token_imported' AS action, now AS occurred_at, provider, identifier, kind, 1 AS generation,
        NULL::bigint AS credential_generation, %(actor)b::text AS actor,
        CASE WHEN NOT is_new THEN 'replaced' END AS code,
        (SELECT CASE WHEN count(*) > 0 THEN {{schema}}.audit_place() END FROM stored) AS xid  -- see store_tokens
    FROM stored),
audited AS (
    {{appended}})
SELECT (SELECT count(*) FROM guarded), s.id, s.is_new, s.now
FROM (SELECT) one
LEFT JOIN stored s ON true
WHERE (SELECT count(*) FROM told) >= 0  -- see store_tokens

-- name: find_ids
-- Find the ids of the tokens under the given keys, each with the position of its key in the arrays, from 1.
SELECT k.ord, t.id
FROM unnest(%(tenant_ids)b::text[], %(providers)b::text[], %(kinds)b::text[], %(identifiers)b::text[])
    WITH ORDINALITY k (tenant_id, provider, kind, identifier, ord)
JOIN {{schema}}.token t
    ON t.tenant_id = k.tenant_id AND t.provider = k.provider AND t.kind = k.kind AND t.identifier = k.identifier
