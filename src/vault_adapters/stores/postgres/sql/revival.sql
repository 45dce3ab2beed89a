-- name: find_condemned
-- Find condemned credentials, earliest first, after a position. Return with each credential whether the credential may
-- be revived, and the store's time. The query reads the index token_rejected. The condition on the client is that of
-- count_client; a client of NULL excludes none.
SELECT t.rejected_at, t.tenant_id, t.kind, t.identifier, t.value_id, coalesce(t.expires_at > {{now}}, true), {{now}}
FROM {{schema}}.token t
LEFT JOIN {{schema}}.account a
    ON a.tenant_id = t.tenant_id AND a.provider = t.provider AND a.identifier = t.identifier
WHERE t.provider = %(provider)b AND t.rejected_at >= %(since)b::timestamptz
    AND t.rejected_at <= coalesce(%(until)b::timestamptz, {{now}}) AND t.status = 'invalid'
    AND (%(tenant_id)b::text IS NULL OR t.tenant_id = %(tenant_id)b)
    AND (t.created_at >= %(stored_since)b::timestamptz OR t.last_refreshed_at >= %(stored_since)b::timestamptz)
    AND (%(client)b::bytea IS NULL OR a.endpoint = %(client)b::bytea OR a.endpoint IS NULL
        AND (octet_length(%(client)b::bytea) = 0 OR t.client IS NULL OR t.client = %(client)b::bytea))
    AND (t.rejected_at, t.tenant_id, t.identifier, t.kind)
        > (%(after_rejected_at)b::timestamptz, %(after_tenant_id)b::text, %(after_identifier)b::text, %(after_kind)b::text)
ORDER BY t.rejected_at, t.tenant_id, t.identifier, t.kind
LIMIT %(limit)b::bigint

-- name: lock_condemned
-- Lock the given credentials in the order of their keys. Return each with its place in the given arrays, from 1.
-- Credentials that were changed meanwhile are left out.
SELECT t.tenant_id, t.kind, t.identifier, t.value_id, t.generation, t.error_code, k.ord
FROM unnest(%(tenant_ids)b::text[], %(kinds)b::text[], %(identifiers)b::text[], %(value_ids)b::uuid[])
    WITH ORDINALITY k (tenant_id, kind, identifier, value_id, ord)
JOIN {{schema}}.token t
    ON t.tenant_id = k.tenant_id AND t.provider = %(provider)b AND t.kind = k.kind AND t.identifier = k.identifier
    AND t.value_id = k.value_id
WHERE t.status = 'invalid' AND t.rejected_at IS NOT NULL
ORDER BY t.tenant_id, t.identifier, t.kind
FOR UPDATE OF t

-- name: revive_credentials
-- Make locked credentials valid again, and append an event account_revived for each. The
-- code of the event is the error code that the credential had.
WITH revived AS (
    UPDATE {{schema}}.token t SET status = 'valid', error_code = NULL, rejected_at = NULL, updated_at = {{now}}
    FROM unnest(
        %(tenant_ids)b::text[], %(kinds)b::text[], %(identifiers)b::text[], %(value_ids)b::uuid[], %(codes)b::text[])
        k (tenant_id, kind, identifier, value_id, code)
    WHERE t.tenant_id = k.tenant_id AND t.provider = %(provider)b AND t.kind = k.kind AND t.identifier = k.identifier
        AND t.value_id = k.value_id
    RETURNING t.tenant_id, t.updated_at, t.provider, t.identifier, t.kind, t.generation, k.code)
INSERT INTO {{schema}}.audit_event (
    tenant_id, action, occurred_at, provider, identifier, kind, generation, actor, code)
SELECT tenant_id, 'account_revived', updated_at, provider, identifier, kind, generation, %(actor)b::text, code
FROM revived
ORDER BY tenant_id, identifier, kind
RETURNING occurred_at

-- name: revive_accounts
-- Lock accounts in the order of their keys, clear their backoff, unknown outcome and refusals, and make them due after
-- the given delays. A running attempt keeps its lease.
WITH held AS (
    SELECT a.tenant_id, a.identifier, k.delay
    FROM unnest(%(tenant_ids)b::text[], %(identifiers)b::text[], %(delays)b::bigint[]) k (tenant_id, identifier, delay)
    JOIN {{schema}}.account a
        ON a.tenant_id = k.tenant_id AND a.provider = %(provider)b AND a.identifier = k.identifier
    ORDER BY a.tenant_id, a.identifier
    FOR UPDATE OF a)
UPDATE {{schema}}.account a SET
    failures = 0, next_attempt_at = NULL, unknown_since = NULL, error_code = NULL, refused_since = NULL, refused_for = 0,
    lease_until = {{running_lease}},
    due_at = {{now}} + h.delay::float8 * interval '1 microsecond'
FROM held h
WHERE a.tenant_id = h.tenant_id AND a.provider = %(provider)b AND a.identifier = h.identifier
