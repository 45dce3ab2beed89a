-- name: get_account_values
-- Get an account's tokens with their sealed values, each with the account's label and refresh state. Every row also
-- holds the time, the start of the server, its timeline, and when a vault first met this timeline; an account without
-- tokens gives one row that holds nothing else. The start is NULL if a clock replaces the database's time.
SELECT {{token_columns}}, {{key_columns}}, {{account_columns}}, {{value_columns}}, {{now}},
    CASE WHEN %(now)b::timestamptz IS NULL THEN pg_postmaster_start_time() END,
    {{timeline}}, (SELECT l.met_at FROM {{schema}}.timeline l WHERE l.timeline = {{timeline}})
FROM (SELECT) one
LEFT JOIN {{schema}}.token t
    ON t.tenant_id = %(tenant_id)b AND t.provider = %(provider)b AND t.identifier = %(identifier)b
LEFT JOIN {{schema}}.token_use u
    ON u.tenant_id = t.tenant_id AND u.provider = t.provider AND u.kind = t.kind AND u.identifier = t.identifier
LEFT JOIN {{schema}}.account a
    ON a.tenant_id = t.tenant_id AND a.provider = t.provider AND a.identifier = t.identifier

-- name: claim_account
-- Take the lease for one credential. If the stored refresh state belongs to this credential, failures and unknown
-- outcome stay, and an expired lease counts as an unknown outcome. The state of another credential is cleared. A lease
-- counts as over if it ends further away than the longest lease, because it was taken before the clock was set back.
INSERT INTO {{schema}}.account AS a (
    tenant_id, provider, identifier, credential_value_id, attempt_id, sent_at, lease_until, due_at, endpoint)
SELECT t.tenant_id, t.provider, t.identifier, t.value_id, %(attempt_id)b::uuid, c.now,
    c.now + %(lease)b::bigint::float8 * interval '1 microsecond', c.now + %(lease)b::bigint::float8 * interval '1 microsecond',
    %(endpoint)b::bytea
FROM {{schema}}.token t, (SELECT {{now}} AS now, {{durable}}) c
WHERE t.tenant_id = %(tenant_id)b AND t.provider = %(provider)b AND t.kind = %(kind)b
    AND t.identifier = %(identifier)b AND t.value_id = %(credential_value_id)b::uuid
    AND t.status <> 'invalid'
ON CONFLICT (tenant_id, provider, identifier) DO UPDATE SET
    sent_at = CASE
        WHEN a.credential_value_id = excluded.credential_value_id
            AND pg_catalog.num_nonnulls(a.unknown_since, a.lease_until) > 0 THEN a.sent_at
        ELSE excluded.sent_at END,
    unknown_since = CASE
        WHEN a.credential_value_id = excluded.credential_value_id
        THEN greatest(
            CASE WHEN a.unknown_since - {{now}} > {{longest_lease}} THEN 'epoch' ELSE a.unknown_since END,
            CASE WHEN a.lease_until - {{now}} > {{longest_lease}} THEN 'epoch' ELSE a.lease_until END) END,
    failures = CASE
        WHEN a.credential_value_id = excluded.credential_value_id
        THEN a.failures ELSE 0 END,
    error_code = CASE
        WHEN a.credential_value_id = excluded.credential_value_id
        THEN a.error_code END,
    refused_since = CASE
        WHEN a.credential_value_id = excluded.credential_value_id
        THEN a.refused_since END,
    refused_for = CASE
        WHEN a.credential_value_id = excluded.credential_value_id
        THEN a.refused_for ELSE 0 END,
    next_attempt_at = NULL,
    credential_value_id = excluded.credential_value_id,
    attempt_id = excluded.attempt_id,
    lease_until = excluded.lease_until,
    due_at = excluded.due_at,
    endpoint = excluded.endpoint
WHERE a.attempt_id IS NOT DISTINCT FROM %(seen)b::uuid
    AND (a.lease_until IS NULL OR a.lease_until <= {{now}}
        OR a.lease_until - {{now}} > {{longest_lease}}
        OR a.credential_value_id IS DISTINCT FROM excluded.credential_value_id)
RETURNING a.lease_until - %(lease)b::bigint::float8 * interval '1 microsecond'

-- name: renew_account
-- Let the attempt's own lease end later, even if it has run out, as long as no other attempt began. The account's
-- due_at moves to the new end of the lease, unless another write has changed due_at.
UPDATE {{schema}}.account a SET
    lease_until = c.now + %(lease)b::bigint::float8 * interval '1 microsecond',
    due_at = CASE
        WHEN a.due_at = a.lease_until THEN c.now + %(lease)b::bigint::float8 * interval '1 microsecond'
        ELSE a.due_at END
FROM (SELECT {{now}} AS now, {{durable}}) c
WHERE a.tenant_id = %(tenant_id)b AND a.provider = %(provider)b AND a.identifier = %(identifier)b
    AND a.attempt_id = %(attempt_id)b::uuid AND a.lease_until IS NOT NULL
RETURNING true

-- name: reserve_due_accounts
-- Take due accounts of a provider, earliest first. Each account becomes due again when the time `hold` has passed.
-- Accounts that are locked now are skipped. The first row holds only the time; the accounts follow in any order.
WITH clock AS MATERIALIZED (SELECT {{now}} AS now),
picked AS (
    SELECT tenant_id, identifier, due_at FROM {{schema}}.account
    WHERE provider = %(provider)b AND due_at >= %(since)b::timestamptz
        AND due_at <= coalesce(%(until)b::timestamptz, {{now}})
    ORDER BY due_at
    LIMIT %(limit)b::bigint
    FOR UPDATE SKIP LOCKED),
taken AS (
    UPDATE {{schema}}.account a SET due_at = c.now + %(hold)b::bigint::float8 * interval '1 microsecond'
    FROM picked p, clock c
    WHERE a.tenant_id = p.tenant_id AND a.provider = %(provider)b AND a.identifier = p.identifier
    RETURNING a.tenant_id, a.identifier, p.due_at)
SELECT NULL, NULL, now FROM clock
UNION ALL
SELECT tenant_id, identifier, due_at FROM taken

-- name: schedule_account
-- Store the time at which an account is due next; NULL: never.
UPDATE {{schema}}.account SET due_at = %(due_at)b::timestamptz
WHERE tenant_id = %(tenant_id)b AND provider = %(provider)b AND identifier = %(identifier)b

-- name: wake_account
-- Make an existing account due now, because its access token was deleted.
UPDATE {{schema}}.account SET due_at = {{now}}
WHERE tenant_id = %(tenant_id)b AND provider = %(provider)b AND identifier = %(identifier)b
    AND (due_at IS NULL OR due_at > {{now}})

-- name: insert_missing_account
-- Insert the row of an account that has none. If another transaction has inserted the row, wait until that transaction
-- ends; return no row if it was committed.
INSERT INTO {{schema}}.account (tenant_id, provider, identifier)
VALUES (%(tenant_id)b, %(provider)b, %(identifier)b)
ON CONFLICT (tenant_id, provider, identifier) DO NOTHING
RETURNING true

-- name: delete_inserted_account
-- Delete the row that insert_missing_account has inserted in the same transaction.
DELETE FROM {{schema}}.account
WHERE tenant_id = %(tenant_id)b AND provider = %(provider)b AND identifier = %(identifier)b

-- name: release_account
-- End the attempt's own lease and make the account due now; failures and unknown outcome stay.
UPDATE {{schema}}.account SET lease_until = NULL, due_at = {{now}}
WHERE tenant_id = %(tenant_id)b AND provider = %(provider)b AND identifier = %(identifier)b
    AND attempt_id = %(attempt_id)b::uuid

-- name: fail_account
-- Record that the attempt failed; the first failure of a run of failures appends an event.
WITH failed AS (
    UPDATE {{schema}}.account SET
        lease_until = NULL, failures = failures + 1, error_code = %(error_code)b::text,
        next_attempt_at = {{now}} + %(retry_in)b::bigint::float8 * interval '1 microsecond',
        due_at = CASE
            WHEN due_at = lease_until THEN {{now}} + %(retry_in)b::bigint::float8 * interval '1 microsecond'
            ELSE least(due_at, {{now}} + %(retry_in)b::bigint::float8 * interval '1 microsecond') END,
        unknown_since = CASE
            WHEN %(unknown)b::boolean THEN {{now}}
            ELSE unknown_since END,
        refused_since = CASE
            WHEN NOT %(refused)b::boolean THEN refused_since
            WHEN refused_since IS NULL THEN {{now}}
            ELSE coalesce({{now}} - %(refused_for)b::bigint::float8 * interval '1 microsecond', refused_since) END,
        refused_for = CASE
            WHEN %(refused)b::boolean AND refused_since IS NOT NULL THEN coalesce(%(refused_for)b::bigint, refused_for)
            ELSE refused_for END
    WHERE tenant_id = %(tenant_id)b AND provider = %(provider)b AND identifier = %(identifier)b
        AND attempt_id = %(attempt_id)b::uuid
    RETURNING tenant_id, provider, identifier, failures)
INSERT INTO {{schema}}.audit_event (tenant_id, action, occurred_at, provider, identifier, actor, code)
SELECT tenant_id, 'refresh_failing', {{now}}, provider, identifier, %(actor)b::text, %(cause)b::text
FROM failed
WHERE failures = 1
RETURNING occurred_at

-- name: make_commit_durable
-- Make this transaction's commit durable; see `_DURABLE` in statements.py.
SELECT {{durable}}

-- name: lock_data_keys
-- Lock those of the given data keys that are active, until the transaction ends. This is the transaction's first lock.
SELECT data_key_id FROM {{schema}}.data_key
WHERE tenant_id = %(tenant_id)b AND data_key_id = ANY (%(data_key_ids)b::bytea[]) AND state = 'active'
ORDER BY data_key_id
FOR SHARE

-- name: lock_account_tokens
-- Lock an account's tokens until the transaction ends; return their kinds, ids, generations and value ids, and the
-- error codes of those that are invalid.
SELECT kind, CASE WHEN status = 'invalid' THEN coalesce(error_code, 'invalid_grant') END, id, generation, value_id FROM {{schema}}.token
WHERE tenant_id = %(tenant_id)b AND provider = %(provider)b AND identifier = %(identifier)b
ORDER BY kind
FOR UPDATE

-- name: find_commit
-- Find the attempt that was committed last. The query needs no lock, because each transaction that commits an attempt,
-- this one included, locks the account's tokens first.
SELECT committed_attempt_id FROM {{schema}}.account
WHERE tenant_id = %(tenant_id)b AND provider = %(provider)b AND identifier = %(identifier)b

-- name: settle_account
-- Record a committed attempt: clear failures and unknown outcome, end the lease if it is this attempt's, and append the
-- events. One event, token_refreshed, tells of all stored values. A generation of NULL means that no value was stored;
-- then this event is not appended. The last column tells whether the attempt ended a run of failures.
WITH was AS (
    SELECT failures FROM {{schema}}.account
    WHERE tenant_id = %(tenant_id)b AND provider = %(provider)b AND identifier = %(identifier)b
    FOR UPDATE),
settled AS (
    UPDATE {{schema}}.account a SET
        failures = 0, next_attempt_at = NULL, unknown_since = NULL, error_code = NULL,
        refused_since = NULL, refused_for = 0,
        committed_attempt_id = %(attempt_id)b::uuid,
        due_at = CASE WHEN %(wake)b::boolean THEN {{now}} ELSE %(due_at)b::timestamptz END,
        lease_until = CASE WHEN attempt_id = %(attempt_id)b::uuid THEN NULL ELSE lease_until END
    FROM was
    WHERE a.tenant_id = %(tenant_id)b AND a.provider = %(provider)b AND a.identifier = %(identifier)b
    RETURNING was.failures),
audited AS (
    INSERT INTO {{schema}}.audit_event (
        tenant_id, action, occurred_at, provider, identifier, kind, generation, credential_generation, actor)
    SELECT %(tenant_id)b::text, 'token_refreshed', {{now}}, %(provider)b::text, %(identifier)b::text, %(kind)b::text,
        %(generation)b::bigint, %(credential_generation)b::bigint, %(actor)b::text
    WHERE %(generation)b::bigint IS NOT NULL
    UNION ALL
    SELECT %(tenant_id)b::text, 'refresh_recovered', {{now}}, %(provider)b::text, %(identifier)b::text, NULL,
        NULL, NULL, %(actor)b::text
    FROM settled
    WHERE failures > 0)
SELECT {{now}}, EXISTS (SELECT 1 FROM settled WHERE failures > 0)

-- name: note_rejection
-- Record the time at which a refresh condemned a credential, and append the event reauthorization_required. If a host
-- itself marks a credential invalid, no time is recorded.
WITH noted AS (
    UPDATE {{schema}}.token SET rejected_at = updated_at
    WHERE tenant_id = %(tenant_id)b AND provider = %(provider)b AND kind = %(kind)b AND identifier = %(identifier)b
        AND value_id = %(value_id)b
    RETURNING tenant_id, provider, identifier, updated_at)
INSERT INTO {{schema}}.audit_event (tenant_id, action, occurred_at, provider, identifier, actor, code)
SELECT tenant_id, 'reauthorization_required', updated_at, provider, identifier, %(actor)b::text, %(error_code)b::text
FROM noted
