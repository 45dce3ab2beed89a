-- name: load_held
-- For an import: lock the tokens under the given keys, and get what the import decides by, each with the position of its
-- key in the arrays, from 1. The data keys of the values are locked first, and stay active until the commit. Each row
-- also holds the number of values whose data key is active, and the time; without a token, there is one such row.
WITH guarded AS MATERIALIZED (
    SELECT s.*
    FROM unnest(
        %(tenant_ids)b::text[], %(providers)b::text[], %(kinds)b::text[], %(identifiers)b::text[],
        %(data_key_ids)b::bytea[]) WITH ORDINALITY s (tenant_id, provider, kind, identifier, data_key_id, ord)
    JOIN {{schema}}.data_key d ON d.tenant_id = s.tenant_id AND d.data_key_id = s.data_key_id AND d.state = 'active'
    ORDER BY s.ord
    FOR SHARE OF d),
locked AS MATERIALIZED (
    SELECT g.ord, t.id, t.generation, t.updated_at, t.last_refreshed_at
    FROM guarded g
    JOIN {{schema}}.token t
        ON t.tenant_id = g.tenant_id AND t.provider = g.provider AND t.kind = g.kind AND t.identifier = g.identifier
    ORDER BY g.ord
    FOR UPDATE OF t)
SELECT c.active, {{now}}, l.ord, l.id, l.generation, l.updated_at, l.last_refreshed_at
FROM (SELECT count(*) AS active FROM guarded) c
LEFT JOIN locked l ON true

-- name: import_tokens
-- Put imported values and append their events. A value replaces only a token of held_ids, which load_held has locked;
-- where another writer has stored one meanwhile, the value is not stored. Returns the ids of the stored tokens.
WITH stored AS (
    INSERT INTO {{schema}}.token AS t (
        tenant_id, provider, kind, identifier, id, value_id, data_key_id, blob, extra, status, error_code, expires_at,
        scopes, generation, last_refreshed_at, created_at, updated_at, {{plain $name}})
    SELECT tenant_id, provider, kind, identifier, id, id, data_key_id, blob, extra, status, error_code, expires_at, scopes, 1,
        last_refreshed_at, created_at, updated_at, {{plain $name}}
    FROM unnest(
        %(tenant_ids)b::text[], %(providers)b::text[], %(kinds)b::text[], %(identifiers)b::text[], %(ids)b::uuid[],
        %(data_key_ids)b::bytea[], %(blobs)b::bytea[], %(statuses)b::text[], %(error_codes)b::text[],
        %(expires_at)b::timestamptz[], %(scopes)b::text[], %(refreshed_at)b::timestamptz[],
        %(created_at)b::timestamptz[], %(updated_at)b::timestamptz[], %(extras)b::bytea[], {{plain %($name)b::$type[]}})
        WITH ORDINALITY s (
            tenant_id, provider, kind, identifier, id, data_key_id, blob, status, error_code, expires_at, scopes,
            last_refreshed_at, created_at, updated_at, extra, {{plain $name}}, ord)
    ORDER BY ord
    ON CONFLICT (tenant_id, provider, kind, identifier) DO UPDATE SET
        id = excluded.id, value_id = excluded.value_id, data_key_id = excluded.data_key_id, blob = excluded.blob, extra = excluded.extra,
        status = excluded.status, error_code = excluded.error_code, expires_at = excluded.expires_at, lifetime = NULL,
        scopes = excluded.scopes, suspect_since = NULL, rejected_at = NULL, {{plain $name = excluded.$name}},
        generation = 1, created_at = excluded.created_at, updated_at = excluded.updated_at,
        last_refreshed_at = excluded.last_refreshed_at
    WHERE t.id = ANY (%(held_ids)b::uuid[])
    -- xmax is 0 for an inserted row; a replaced row has this transaction's lock there.
    RETURNING t.tenant_id, t.provider, t.kind, t.identifier, t.id, t.value_id, t.xmax = 0 AS is_new),
told AS MATERIALIZED (
    {{told_values}}),
event AS (
    SELECT tenant_id, 'token_imported' AS action, %(stored_at)b::timestamptz AS occurred_at, provider, identifier, kind,
        1 AS generation, NULL::bigint AS credential_generation, %(actor)b::text AS actor,
        CASE WHEN NOT is_new THEN 'replaced' END AS code,
        (SELECT CASE WHEN count(*) > 0 THEN {{schema}}.audit_place() END FROM stored) AS xid  -- see store_tokens
    FROM stored),
audited AS (
    {{appended}})
SELECT id FROM stored
WHERE (SELECT count(*) FROM told) >= 0  -- see store_tokens
