-- name: get_time
-- Get the store's time.
SELECT {{now}}

-- name: get_token
-- Get one token by its key; always returns one row, which holds the store's time.
SELECT {{token_columns}}, {{value_columns}}, {{now}}, {{token_version}}
FROM (SELECT) one
LEFT JOIN {{schema}}.token t
    ON t.tenant_id = %(tenant_id)b AND t.provider = %(provider)b AND t.kind = %(kind)b AND t.identifier = %(identifier)b
LEFT JOIN {{schema}}.token_use u
    ON u.tenant_id = t.tenant_id AND u.provider = t.provider AND u.kind = t.kind AND u.identifier = t.identifier

-- name: get_tokens
-- Get the tokens of the given keys: one row per key, with the key's place in the given arrays, from 1. The first key's
-- row holds the store's time.
SELECT {{token_columns}}, {{value_columns}},
       CASE WHEN k.ord = 1 THEN {{now}} END, {{token_version}}, k.ord
FROM {{tokens_of_keys}}

-- name: get_version
-- For one key, get the token's version (see versions.py), the token's last use, and the store's time; no row if there
-- is no token.
SELECT {{token_version}}, u.last_used_at, {{now}}
FROM {{schema}}.token t
LEFT JOIN {{schema}}.token_use u
    ON u.tenant_id = t.tenant_id AND u.provider = t.provider AND u.kind = t.kind AND u.identifier = t.identifier
WHERE t.tenant_id = %(tenant_id)b AND t.provider = %(provider)b AND t.kind = %(kind)b AND t.identifier = %(identifier)b

-- name: get_versions
-- Get the versions and the last uses of the tokens of the given keys; see get_tokens.
SELECT {{token_version}}, u.last_used_at, CASE WHEN k.ord = 1 THEN {{now}} END, k.ord
FROM {{tokens_of_keys}}

-- name: store_token
-- Insert or replace one value if its data key is active, append the event, and set the account's due time; see
-- _SCHEDULED and _WOKEN in statements.py. FOR SHARE keeps the data key active until the commit; a foreign key alone
-- would not. A value that replaces another sets last_refreshed_at, as a refresh does.
WITH guarded AS (
    SELECT {{now}} AS now
    FROM {{schema}}.data_key
    WHERE tenant_id = %(tenant_id)b AND data_key_id = %(data_key_id)b AND state = 'active'
    FOR SHARE),
stored AS (
    INSERT INTO {{schema}}.token AS t (
        tenant_id, provider, kind, identifier, id, value_id, data_key_id, blob, extra, status, expires_at, lifetime,
        scopes, generation, last_refreshed_at, created_at, updated_at, {{plain $name}})
    SELECT %(tenant_id)b, %(provider)b, %(kind)b, %(identifier)b, %(value_id)b, %(value_id)b, %(data_key_id)b, %(blob)b,
        %(extra)b::bytea, 'valid',
        coalesce(%(expires_at)b::timestamptz, g.now + %(lifetime)b::bigint::float8 * interval '1 microsecond'),
        %(lifetime)b::bigint, %(scopes)b::text, 1, CASE WHEN %(refreshed)b::boolean THEN g.now END, g.now, g.now,
        {{plain %($name)b::$type}}
    FROM guarded g
    ON CONFLICT (tenant_id, provider, kind, identifier) DO UPDATE SET
        value_id = excluded.value_id, data_key_id = excluded.data_key_id, blob = excluded.blob, extra = excluded.extra,
        status = 'valid', error_code = NULL, suspect_since = NULL, rejected_at = NULL, {{plain $name = excluded.$name}},
        expires_at = excluded.expires_at, lifetime = excluded.lifetime, scopes = coalesce(excluded.scopes, t.scopes),
        generation = t.generation + 1,
        last_refreshed_at = excluded.updated_at, updated_at = excluded.updated_at
    RETURNING *, {{told_value}}),
{{scheduled}},
event AS (
    SELECT tenant_id, %(action)b::text AS action, updated_at AS occurred_at, provider, identifier, kind, generation,
        NULL::bigint AS credential_generation, %(actor)b::text AS actor, NULL::text AS code,
        {{schema}}.audit_place() AS xid
    FROM stored),
audited AS (
    {{appended}})
SELECT {{token_columns}}
FROM stored t
LEFT JOIN {{schema}}.token_use u USING (tenant_id, provider, kind, identifier)

-- name: store_tokens
-- Store many values, which the caller gives in the order of their keys. Values whose data key is not active are neither
-- stored nor returned. If scheduling is false, no due time is set; then the transaction runs schedule_accounts when it
-- has stored its last value.
WITH guarded AS (
    SELECT s.*, {{now}} AS now
    FROM unnest(
        %(tenant_ids)b::text[], %(providers)b::text[], %(kinds)b::text[], %(identifiers)b::text[], %(value_ids)b::uuid[],
        %(data_key_ids)b::bytea[], %(blobs)b::bytea[], %(expires_at)b::timestamptz[], %(lifetimes)b::bigint[],
        %(scopes)b::text[], %(leads)b::bigint[], %(due_ins)b::bigint[], %(extras)b::bytea[], {{plain %($name)b::$type[]}}) WITH ORDINALITY s (
            tenant_id, provider, kind, identifier, value_id, data_key_id, blob, expires_at, lifetime, scopes, lead,
            due_in, extra, {{plain $name}}, ord)
    JOIN {{schema}}.data_key d ON d.tenant_id = s.tenant_id AND d.data_key_id = s.data_key_id AND d.state = 'active'
    ORDER BY s.ord
    FOR SHARE OF d),
stored AS (
    INSERT INTO {{schema}}.token AS t (
        tenant_id, provider, kind, identifier, id, value_id, data_key_id, blob, extra, status, expires_at, lifetime,
        scopes, generation, last_refreshed_at, created_at, updated_at, {{plain $name}})
    SELECT tenant_id, provider, kind, identifier, value_id, value_id, data_key_id, blob, extra, 'valid',
        coalesce(expires_at, now + lifetime::float8 * interval '1 microsecond'),
        lifetime, scopes, 1, CASE WHEN %(refreshed)b::boolean THEN now END, now, now, {{plain $name}}
    FROM guarded
    ORDER BY ord
    ON CONFLICT (tenant_id, provider, kind, identifier) DO UPDATE SET
        value_id = excluded.value_id, data_key_id = excluded.data_key_id, blob = excluded.blob, extra = excluded.extra,
        status = 'valid', error_code = NULL, suspect_since = NULL, rejected_at = NULL, {{plain $name = excluded.$name}},
        expires_at = excluded.expires_at, lifetime = excluded.lifetime, scopes = coalesce(excluded.scopes, t.scopes),
        generation = t.generation + 1,
        last_refreshed_at = excluded.updated_at, updated_at = excluded.updated_at
    RETURNING *),
timed AS (
    -- This statement sees the accounts as they were before it waited for locks of tokens. So it must lock each of them.
    SELECT g.*, false AS is_replaced
    FROM guarded g
    -- This count makes the statement lock tokens before accounts, the order in which all transactions lock them.
    WHERE %(scheduling)b::boolean AND (SELECT count(*) FROM stored) > 0),
scheduled AS (
    {{schedule_timed}}),
told AS MATERIALIZED (
    {{told_values}}),
event AS (
    SELECT tenant_id, %(action)b::text AS action, updated_at AS occurred_at, provider, identifier, kind, generation,
        NULL::bigint AS credential_generation, %(actor)b::text AS actor, NULL::text AS code,
        -- This subquery computes the place once, when all rows are locked.
        (SELECT CASE WHEN count(*) > 0 THEN {{schema}}.audit_place() END FROM stored) AS xid
    FROM stored),
audited AS (
    {{appended}})
SELECT {{token_columns}}
FROM stored t
LEFT JOIN {{schema}}.token_use u USING (tenant_id, provider, kind, identifier)
WHERE (SELECT count(*) FROM told) >= 0  -- always true; makes Postgres run told, which sends notifications

-- name: schedule_accounts
-- Set the due times of the accounts of values that store_tokens has stored without scheduling, in this transaction.
-- stored_at is the time of the first of these values.
WITH timed AS (
    SELECT s.*, %(stored_at)b::timestamptz AS now
    FROM unnest(
        %(tenant_ids)b::text[], %(providers)b::text[], %(identifiers)b::text[], %(expires_at)b::timestamptz[],
        %(lifetimes)b::bigint[], %(leads)b::bigint[], %(due_ins)b::bigint[], %(are_replaced)b::boolean[])
        s (tenant_id, provider, identifier, expires_at, lifetime, lead, due_in, is_replaced))
{{schedule_timed}}

-- name: page_of_tokens
-- One page of a list of tokens after a position. A part tells which tokens, and in which order.
SELECT {{token_columns}}, {{key_columns}}
FROM {{schema}}.token t
LEFT JOIN {{schema}}.token_use u
    ON u.tenant_id = t.tenant_id AND u.provider = t.provider AND u.kind = t.kind AND u.identifier = t.identifier
{{part}}
LIMIT %(limit)b::bigint

-- name: find_expiring_tokens of page_of_tokens
-- Find access tokens with status valid that expire within a given time or have expired, earliest first, after a
-- position. The query reads the index token_expiring.
WHERE t.status = 'valid' AND t.kind = 'access_token' AND t.expires_at IS NOT NULL
    AND t.expires_at <= {{now}} + %(within)b::bigint::float8 * interval '1 microsecond'
    AND (t.expires_at, t.tenant_id, t.id)
        > (%(after_expires_at)b::timestamptz, %(after_tenant_id)b::text, %(after_id)b::uuid)
    AND (%(provider)b::text IS NULL OR t.provider = %(provider)b)
ORDER BY t.expires_at, t.tenant_id, t.id

-- name: find_ending_tokens of page_of_tokens
-- Find refresh tokens that expire soon and of which no event has told this, earliest first, after a position. The query
-- reads the index token_ending.
WHERE t.kind = 'refresh_token' AND t.expires_at IS NOT NULL AND t.noted_value_id IS DISTINCT FROM t.value_id
    AND t.expires_at > {{now}} AND t.expires_at <= {{now}} + %(notice)b::bigint::float8 * interval '1 microsecond'
    AND t.expires_at - {{now}} <= least(%(notice)b::bigint, t.lifetime / 2)::float8 * interval '1 microsecond'
    AND t.status <> 'invalid'
    AND (t.expires_at, t.tenant_id, t.id)
        > (%(after_expires_at)b::timestamptz, %(after_tenant_id)b::text, %(after_id)b::uuid)
ORDER BY t.expires_at, t.tenant_id, t.id

-- name: find_condemned_tokens of page_of_tokens
-- Find credentials that a refresh has condemned, earliest first, after a position. The query reads the index
-- token_rejected. If an account has an endpoint, only the endpoint must be the given client. An empty client means that
-- the refresher names no client; then the tokens of all clients at the provider count. NULL excludes none.
LEFT JOIN {{schema}}.account a
    ON a.tenant_id = t.tenant_id AND a.provider = t.provider AND a.identifier = t.identifier
WHERE t.provider = %(provider)b AND t.rejected_at >= %(since)b::timestamptz
    AND t.rejected_at <= %(until)b::timestamptz AND t.status = 'invalid'
    AND (%(tenant_id)b::text IS NULL OR t.tenant_id = %(tenant_id)b)
    AND (t.created_at >= %(stored_since)b::timestamptz OR t.last_refreshed_at >= %(stored_since)b::timestamptz)
    AND (%(client)b::bytea IS NULL OR a.endpoint = %(client)b::bytea OR a.endpoint IS NULL
        AND (octet_length(%(client)b::bytea) = 0 OR t.client IS NULL OR t.client = %(client)b::bytea))
    AND (t.rejected_at, t.tenant_id, t.identifier, t.kind)
        > (%(since)b::timestamptz, %(after_tenant_id)b::text, %(after_identifier)b::text, %(after_kind)b::text)
ORDER BY t.rejected_at, t.tenant_id, t.identifier, t.kind

-- name: find_refreshed_tokens of page_of_tokens
-- Find access tokens of accounts whose latest attempt began after a time and was granted, earliest first, after a
-- position; see find_condemned_tokens. The query reads the index token_refreshed. A value that replaces another sets
-- last_refreshed_at too, so this time alone tells of no grant. coalesce keeps the planner from reading the accounts first.
LEFT JOIN {{schema}}.account a
    ON a.tenant_id = t.tenant_id AND a.provider = t.provider AND a.identifier = t.identifier
WHERE t.provider = %(provider)b AND t.kind = 'access_token' AND t.last_refreshed_at IS NOT NULL
    AND t.last_refreshed_at >= %(since)b::timestamptz
    AND coalesce(a.committed_attempt_id = a.attempt_id AND a.sent_at >= %(since)b::timestamptz, false)
    AND (a.endpoint = %(client)b::bytea OR a.endpoint IS NULL
        AND (octet_length(%(client)b::bytea) = 0 OR t.client = %(client)b::bytea))
    AND (t.last_refreshed_at, t.tenant_id, t.identifier, t.kind)
        > (%(since)b::timestamptz, %(after_tenant_id)b::text, %(after_identifier)b::text, %(after_kind)b::text)
ORDER BY t.last_refreshed_at, t.tenant_id, t.identifier, t.kind

-- name: list_tokens of page_of_tokens
-- List a tenant's tokens after a position.
WHERE t.tenant_id = %(tenant_id)b
    AND (t.provider, t.identifier, t.kind) > (%(after_provider)b::text, %(after_identifier)b::text, %(after_kind)b::text)
    AND (%(provider)b::text IS NULL OR t.provider = %(provider)b)
ORDER BY t.provider, t.identifier, t.kind

-- name: record_uses
-- Store the time of each last use, unless a later use is stored or the key now holds a token with another id. The
-- statement locks the tokens before the uses, as deletions do.
WITH held AS MATERIALIZED (
    SELECT k.*
    FROM unnest(
        %(tenant_ids)b::text[], %(providers)b::text[], %(kinds)b::text[], %(identifiers)b::text[], %(ids)b::uuid[],
        %(used_at)b::timestamptz[]) WITH ORDINALITY k (tenant_id, provider, kind, identifier, id, used_at, ord)
    JOIN {{schema}}.token t
        ON t.tenant_id = k.tenant_id AND t.provider = k.provider AND t.kind = k.kind AND t.identifier = k.identifier
        AND t.id = k.id
    ORDER BY k.ord
    FOR KEY SHARE OF t)
INSERT INTO {{schema}}.token_use AS u (tenant_id, provider, kind, identifier, last_used_at)
SELECT tenant_id, provider, kind, identifier, used_at FROM held ORDER BY ord
ON CONFLICT (tenant_id, provider, kind, identifier) DO UPDATE SET last_used_at = excluded.last_used_at
    WHERE u.last_used_at < excluded.last_used_at

-- name: count_health
-- Count tokens by provider and health. The buffer and the notice are at most half of the lifetime; least() ignores a
-- lifetime that is NULL. If percent is less than 100, the query estimates the number of valid tokens from a sample of
-- the table's blocks, and counts invalid tokens in their index. Unknown tokens are so few that all are read.
SELECT provider,
    CASE
        WHEN status = 'invalid' THEN 'invalid'
        WHEN expires_at <= {{now}} THEN 'expired'
        WHEN status = 'unknown' THEN 'unknown'
        WHEN {{now}} - suspect_since BETWEEN interval '0' AND %(suspicion)b::bigint::float8 * interval '1 microsecond'
            THEN 'suspect'
        WHEN expires_at - {{now}}
            <= least(
                CASE WHEN kind = 'refresh_token' THEN greatest(%(buffer)b::bigint, %(notice)b::bigint)
                    ELSE %(buffer)b::bigint END,
                lifetime / 2)::float8 * interval '1 microsecond' THEN 'expiring'
        ELSE 'fresh'
    END AS health,
    round(sum(weight))::bigint,
    bool_or(weight > 1::float8)
FROM (
    SELECT provider, kind, status, expires_at, lifetime, suspect_since, 1::float8 AS weight
    FROM {{schema}}.token
    WHERE %(percent)b::float8 >= 100::float8 AND (%(tenant_id)b::text IS NULL OR tenant_id = %(tenant_id)b)
    UNION ALL
    SELECT provider, kind, status, expires_at, lifetime, suspect_since, 100::float8 / %(percent)b::float8
    FROM {{schema}}.token TABLESAMPLE SYSTEM (%(percent)b::float8::real)
    WHERE %(percent)b::float8 < 100::float8 AND status = 'valid'
    UNION ALL
    SELECT provider, kind, status, expires_at, lifetime, suspect_since, 1
    FROM {{schema}}.token
    WHERE %(percent)b::float8 < 100::float8 AND status <> 'valid' AND status = 'unknown'
    UNION ALL
    SELECT provider, NULL, status, NULL, NULL, NULL, 1
    FROM {{schema}}.token
    WHERE %(percent)b::float8 < 100::float8 AND status <> 'valid' AND status = 'invalid') t
GROUP BY 1, 2

-- name: measure_tokens
-- Return the number of blocks of the token table; no row if the table is empty.
SELECT pg_catalog.pg_relation_size(c.oid) / pg_catalog.current_setting('block_size')::bigint
FROM pg_catalog.pg_class c
WHERE c.oid = (SELECT t.tableoid FROM {{schema}}.token t LIMIT 1)

-- name: count_migrations
-- Count the applied migrations that this release knows.
SELECT count(*) FROM {{schema}}.migration WHERE number <= %(known)b::bigint
