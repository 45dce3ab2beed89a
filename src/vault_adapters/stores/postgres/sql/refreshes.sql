-- name: get_account_values
-- An account's tokens with their sealed values, each with the account's label and refresh state; a row in any case,
-- for the time.
SELECT {{token_columns}}, {{key_columns}}, {{account_columns}}, {{value_columns}}, {{now}}
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
    tenant_id, provider, identifier, credential_id, credential_generation, attempt_id, sent_at, lease_until, due_at)
SELECT t.tenant_id, t.provider, t.identifier, t.id, t.generation, %(attempt_id)b::uuid, c.now,
    c.now + %(lease)b::bigint * interval '1 microsecond', c.now + %(lease)b::bigint * interval '1 microsecond'
FROM {{schema}}.token t, (SELECT {{now}} AS now) c
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
    lease_until = excluded.lease_until,
    due_at = excluded.due_at
WHERE a.attempt_id IS NOT DISTINCT FROM %(seen)b::uuid
    AND (a.lease_until IS NULL OR a.lease_until <= {{now}}
        OR a.credential_id IS DISTINCT FROM excluded.credential_id
        OR a.credential_generation IS DISTINCT FROM excluded.credential_generation)
RETURNING a.lease_until - %(lease)b::bigint * interval '1 microsecond'

-- name: reserve_due_accounts
-- Take accounts of a provider that are due, soonest first, and let them be due again after a while. Those that others
-- are taking now are skipped. The first row has the time alone; the others come in any order.
WITH clock AS MATERIALIZED (SELECT {{now}} AS now),
picked AS (
    SELECT tenant_id, identifier, due_at FROM {{schema}}.account
    WHERE provider = %(provider)b AND due_at >= %(since)b::timestamptz
        AND due_at <= coalesce(%(until)b::timestamptz, {{now}})
    ORDER BY due_at
    LIMIT %(limit)b::bigint
    FOR UPDATE SKIP LOCKED),
taken AS (
    UPDATE {{schema}}.account a SET due_at = c.now + %(hold)b::bigint * interval '1 microsecond'
    FROM picked p, clock c
    WHERE a.tenant_id = p.tenant_id AND a.provider = %(provider)b AND a.identifier = p.identifier
    RETURNING a.tenant_id, a.identifier, p.due_at)
SELECT NULL, NULL, now FROM clock
UNION ALL
SELECT tenant_id, identifier, due_at FROM taken

-- name: schedule_account
-- Keep when an account is due next; NULL: never.
UPDATE {{schema}}.account SET due_at = %(due_at)b::timestamptz
WHERE tenant_id = %(tenant_id)b AND provider = %(provider)b AND identifier = %(identifier)b

-- name: release_account
-- Give an own lease back. The outcome is as it was before.
UPDATE {{schema}}.account SET lease_until = NULL, due_at = {{now}}
WHERE tenant_id = %(tenant_id)b AND provider = %(provider)b AND identifier = %(identifier)b
    AND attempt_id = %(attempt_id)b::uuid

-- name: fail_account
-- End an own attempt without tokens.
UPDATE {{schema}}.account SET
    lease_until = NULL, failures = failures + 1, error_code = %(error_code)b::text,
    next_attempt_at = {{now}} + %(retry_in)b::bigint * interval '1 microsecond',
    due_at = {{now}} + %(retry_in)b::bigint * interval '1 microsecond',
    unknown_since = CASE
        WHEN %(unknown)b::boolean THEN {{now}}
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
    due_at = CASE WHEN %(wake)b::boolean THEN {{now}} ELSE %(due_at)b::timestamptz END,
    lease_until = CASE WHEN attempt_id = %(attempt_id)b::uuid THEN NULL ELSE lease_until END
WHERE tenant_id = %(tenant_id)b AND provider = %(provider)b AND identifier = %(identifier)b
