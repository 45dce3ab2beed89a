-- name: get_account_values
-- An account's tokens with their sealed values, each with the account's label and refresh state; a row in any case,
-- for the time.
SELECT t.id, t.status, t.error_code, t.expires_at, t.scopes, t.generation, u.last_used_at, t.last_refreshed_at,
       t.lifetime, t.created_at, t.updated_at, t.tenant_id, t.provider, t.kind, t.identifier,
       coalesce(%(now)b::timestamptz, statement_timestamp()),
       a.label, a.credential_id, a.credential_generation, a.attempt_id, a.lease_until, a.sent_at, a.failures,
       a.next_attempt_at, a.unknown_since, a.error_code, t.data_key_id, t.blob
FROM (SELECT) one
LEFT JOIN {{schema}}.token t
    ON t.tenant_id = %(tenant_id)b AND t.provider = %(provider)b AND t.identifier = %(identifier)b
    AND t.kind IN ('access_token', 'refresh_token', 'api_key', 'webhook_secret')
LEFT JOIN {{schema}}.token_use u
    ON u.tenant_id = t.tenant_id AND u.provider = t.provider AND u.kind = t.kind AND u.identifier = t.identifier
LEFT JOIN {{schema}}.account a
    ON a.tenant_id = t.tenant_id AND a.provider = t.provider AND a.identifier = t.identifier

-- name: claim_account
-- Take the lease for one credential. What is known of that credential stays: failures, and an unknown outcome, to
-- which a lease that ran out is added; what is known of another credential goes.
INSERT INTO {{schema}}.account AS a (
    tenant_id, provider, identifier, credential_id, credential_generation, attempt_id, sent_at, lease_until)
SELECT t.tenant_id, t.provider, t.identifier, t.id, t.generation, %(attempt_id)b::uuid, c.now,
    c.now + %(lease)b::bigint * interval '1 microsecond'
FROM {{schema}}.token t, (SELECT coalesce(%(now)b::timestamptz, statement_timestamp()) AS now) c
WHERE t.tenant_id = %(tenant_id)b AND t.provider = %(provider)b AND t.kind = %(kind)b
    AND t.identifier = %(identifier)b AND t.id = %(credential_id)b::uuid
    AND t.generation = %(credential_generation)b::bigint AND t.status <> 'invalid'
ON CONFLICT (tenant_id, provider, identifier) DO UPDATE SET
    sent_at = CASE
        WHEN a.credential_id = excluded.credential_id AND a.credential_generation = excluded.credential_generation
            AND num_nonnulls(a.unknown_since, a.lease_until) > 0 THEN a.sent_at
        ELSE excluded.sent_at END,
    unknown_since = CASE
        WHEN a.credential_id = excluded.credential_id AND a.credential_generation = excluded.credential_generation
        THEN greatest(a.unknown_since, a.lease_until) END,
    failures = CASE
        WHEN a.credential_id = excluded.credential_id AND a.credential_generation = excluded.credential_generation
        THEN a.failures ELSE 0 END,
    error_code = CASE
        WHEN a.credential_id = excluded.credential_id AND a.credential_generation = excluded.credential_generation
        THEN a.error_code END,
    next_attempt_at = NULL,
    credential_id = excluded.credential_id,
    credential_generation = excluded.credential_generation,
    attempt_id = excluded.attempt_id,
    lease_until = excluded.lease_until
WHERE a.attempt_id IS NOT DISTINCT FROM %(seen)b::uuid
    AND (a.lease_until IS NULL OR a.lease_until <= coalesce(%(now)b::timestamptz, statement_timestamp())
        OR a.credential_id IS DISTINCT FROM excluded.credential_id
        OR a.credential_generation IS DISTINCT FROM excluded.credential_generation)
RETURNING a.lease_until - %(lease)b::bigint * interval '1 microsecond'

-- name: claim_due_accounts
-- Claim accounts whose access token is due, whose credential is usable, and which nobody holds or must leave alone. An
-- account that has no row yet gets one; those whose row another worker is claiming now are skipped. One row in any
-- case: how many were picked, which is more than were claimed where others were faster. The tokens are walked in the
-- order of their index, and LIMIT 1 says what the keys say already: joined as tables, all that is due would be read and
-- sorted for each batch.
WITH clock AS MATERIALIZED (SELECT coalesce(%(now)b::timestamptz, statement_timestamp()) AS now),
due AS MATERIALIZED (
    SELECT t.tenant_id, t.provider, t.identifier, t.expires_at, t.id AS access_id, t.generation AS access_generation,
        c.kind, c.id AS credential_id, c.generation AS credential_generation, a.attempt_id AS seen,
        a.tenant_id IS NOT NULL AS has_row, clock.now, clock.now + r.lease * interval '1 microsecond' AS lease_until
    FROM clock
    CROSS JOIN {{schema}}.token t
    CROSS JOIN LATERAL (
        SELECT * FROM unnest(
            %(spends)b::text[], %(rotations)b::text[], %(graces)b::bigint[], %(quiescences)b::bigint[],
            %(deadlines)b::bigint[], %(leases)b::bigint[], %(providers)b::text[]) rules (
                spends, rotation, grace, quiescence, deadline, lease, provider)
        WHERE rules.provider = t.provider
        LIMIT 1) r
    CROSS JOIN LATERAL (
        SELECT kind, id, generation, status, expires_at FROM {{schema}}.token
        WHERE tenant_id = t.tenant_id AND provider = t.provider AND kind = r.spends AND identifier = t.identifier
        LIMIT 1) c
    LEFT JOIN LATERAL (
        SELECT * FROM {{schema}}.account
        WHERE tenant_id = t.tenant_id AND provider = t.provider AND identifier = t.identifier
        LIMIT 1) a ON true
    WHERE t.status = 'valid' AND t.kind = 'access_token' AND t.expires_at IS NOT NULL
        AND (t.expires_at, t.tenant_id, t.id)
            > (%(after)b::timestamptz, %(after_tenant_id)b::text, %(after_id)b::uuid)
        AND t.expires_at <= coalesce(%(now)b::timestamptz, statement_timestamp())
            + %(horizon)b::bigint * interval '1 microsecond'
        AND t.expires_at <= clock.now + least(%(horizon)b::bigint, t.lifetime / 2) * interval '1 microsecond'
        AND c.status <> 'invalid' AND (c.expires_at IS NULL OR c.expires_at > clock.now)
        AND (a.credential_id IS NULL OR a.credential_id <> c.id OR a.credential_generation <> c.generation
            OR ((a.lease_until IS NULL OR a.lease_until <= clock.now)
                AND (a.next_attempt_at IS NULL OR a.next_attempt_at <= clock.now)
                AND (num_nonnulls(a.unknown_since, a.lease_until) = 0
                    OR r.rotation = 'non_rotating'
                    OR (r.rotation = 'grace' AND clock.now + r.deadline * interval '1 microsecond'
                        < a.sent_at + r.grace * interval '1 microsecond')
                    OR (t.expires_at <= clock.now
                        AND clock.now >= greatest(a.unknown_since, a.lease_until)
                            + r.quiescence * interval '1 microsecond'))))
    ORDER BY t.expires_at, t.tenant_id, t.id
    LIMIT 4 * %(limit)b::bigint),
free AS MATERIALIZED (
    SELECT a.tenant_id, a.provider, a.identifier
    FROM (SELECT * FROM due WHERE has_row ORDER BY expires_at, tenant_id, access_id LIMIT %(limit)b::bigint) d
    JOIN {{schema}}.account a USING (tenant_id, provider, identifier)
    FOR UPDATE OF a SKIP LOCKED),
picked AS MATERIALIZED (
    SELECT d.*, gen_random_uuid() AS attempt_id FROM due d
    WHERE NOT d.has_row OR (d.tenant_id, d.provider, d.identifier) IN (SELECT * FROM free)
    ORDER BY d.expires_at, d.tenant_id, d.access_id
    LIMIT %(limit)b::bigint),
claimed AS (
    INSERT INTO {{schema}}.account AS a (
        tenant_id, provider, identifier, credential_id, credential_generation, attempt_id, sent_at, lease_until)
    SELECT tenant_id, provider, identifier, credential_id, credential_generation, attempt_id, now, lease_until
    FROM picked
    ORDER BY tenant_id, provider, identifier
    ON CONFLICT (tenant_id, provider, identifier) DO UPDATE SET
        sent_at = CASE
            WHEN a.credential_id = excluded.credential_id AND a.credential_generation = excluded.credential_generation
                AND num_nonnulls(a.unknown_since, a.lease_until) > 0 THEN a.sent_at
            ELSE excluded.sent_at END,
        unknown_since = CASE
            WHEN a.credential_id = excluded.credential_id AND a.credential_generation = excluded.credential_generation
            THEN greatest(a.unknown_since, a.lease_until) END,
        failures = CASE
            WHEN a.credential_id = excluded.credential_id AND a.credential_generation = excluded.credential_generation
            THEN a.failures ELSE 0 END,
        error_code = CASE
            WHEN a.credential_id = excluded.credential_id AND a.credential_generation = excluded.credential_generation
            THEN a.error_code END,
        next_attempt_at = NULL,
        credential_id = excluded.credential_id,
        credential_generation = excluded.credential_generation,
        attempt_id = excluded.attempt_id,
        lease_until = excluded.lease_until
    WHERE a.attempt_id IS NOT DISTINCT FROM (
            SELECT p.seen FROM picked p
            WHERE p.tenant_id = a.tenant_id AND p.provider = a.provider AND p.identifier = a.identifier)
        AND (a.lease_until IS NULL OR a.lease_until <= excluded.sent_at
            OR a.credential_id IS DISTINCT FROM excluded.credential_id
            OR a.credential_generation IS DISTINCT FROM excluded.credential_generation)
    RETURNING a.tenant_id, a.provider, a.identifier)
SELECT n.picked, p.tenant_id, p.provider, p.identifier, p.access_id, p.access_generation, p.expires_at, p.kind,
       p.credential_id, p.credential_generation, p.attempt_id, p.now
FROM (SELECT count(*) AS picked FROM picked) n
LEFT JOIN (picked p JOIN claimed USING (tenant_id, provider, identifier)) ON true
ORDER BY p.expires_at, p.tenant_id, p.access_id

-- name: release_account
-- Give an own lease back. The outcome is as it was before.
UPDATE {{schema}}.account SET lease_until = NULL
WHERE tenant_id = %(tenant_id)b AND provider = %(provider)b AND identifier = %(identifier)b
    AND attempt_id = %(attempt_id)b::uuid

-- name: fail_account
-- End an own attempt without tokens.
UPDATE {{schema}}.account SET
    lease_until = NULL, failures = failures + 1, error_code = %(error_code)b::text,
    next_attempt_at = coalesce(%(now)b::timestamptz, statement_timestamp())
        + %(retry_in)b::bigint * interval '1 microsecond',
    unknown_since = CASE
        WHEN %(unknown)b::boolean THEN coalesce(%(now)b::timestamptz, statement_timestamp())
        ELSE unknown_since END
WHERE tenant_id = %(tenant_id)b AND provider = %(provider)b AND identifier = %(identifier)b
    AND attempt_id = %(attempt_id)b::uuid

-- name: make_commit_durable
-- A rotated refresh token must outlive a crash of the server, even where the host lets its own commits be lost; for this
-- transaction only, and never weaker than what is set.
SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'

-- name: lock_data_keys
-- The active ones of a tenant's data keys, held until the transaction ends: the first of the locks.
SELECT data_key_id FROM {{schema}}.data_key
WHERE tenant_id = %(tenant_id)b AND data_key_id = ANY (%(data_key_ids)b::bytea[]) AND state = 'active'
ORDER BY data_key_id
FOR SHARE

-- name: lock_account_tokens
-- Which values an account's tokens are, held until the transaction ends.
SELECT kind, id, generation FROM {{schema}}.token
WHERE tenant_id = %(tenant_id)b AND provider = %(provider)b AND identifier = %(identifier)b
    AND kind IN ('access_token', 'refresh_token', 'api_key', 'webhook_secret')
ORDER BY kind
FOR UPDATE

-- name: find_commit
-- The attempt that was committed last. It needs no lock: whoever commits holds the tokens.
SELECT committed_attempt_id FROM {{schema}}.account
WHERE tenant_id = %(tenant_id)b AND provider = %(provider)b AND identifier = %(identifier)b

-- name: settle_account
-- An attempt was committed: failures and unknown outcome end, and the lease where it is this attempt's.
UPDATE {{schema}}.account SET
    failures = 0, next_attempt_at = NULL, unknown_since = NULL, error_code = NULL,
    committed_attempt_id = %(attempt_id)b::uuid,
    lease_until = CASE WHEN attempt_id = %(attempt_id)b::uuid THEN NULL ELSE lease_until END
WHERE tenant_id = %(tenant_id)b AND provider = %(provider)b AND identifier = %(identifier)b
