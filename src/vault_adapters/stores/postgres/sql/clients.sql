-- name: list_client_refusals
-- List the refusals of clients at a provider, or at all providers. One further row holds only the present time. Rows
-- with empty marks name no refused account. They have served only as locks, so they are left out.
SELECT NULL, NULL, NULL, NULL, {{now}}, NULL, NULL, NULL
UNION ALL
SELECT provider, client, reason, marks, since, refused_at, opened_at, probe_at FROM {{schema}}.client_refusal
WHERE marks <> '' AND (%(provider)b::text IS NULL OR provider = %(provider)b)

-- name: lock_client_refusal
-- Lock the row with the refusals of one scope (provider, client and reason) until the transaction ends. If there is no
-- row, insert one with empty `marks`, which name no refused account yet. The time of the latest refusal becomes now.
INSERT INTO {{schema}}.client_refusal AS r (provider, client, reason, marks, since, refused_at)
SELECT %(provider)b, %(client)b, %(reason)b, '', {{now}}, {{now}}
FROM (SELECT {{durable}} AS durable) d
ON CONFLICT (provider, client, reason) DO UPDATE SET refused_at = excluded.refused_at
RETURNING r.provider, r.client, r.reason, r.marks, r.since, r.refused_at, r.opened_at, r.probe_at, {{now}}

-- name: put_client_refusal
-- Store the refusals of one scope, whose row is locked.
UPDATE {{schema}}.client_refusal SET
    marks = %(marks)b::bytea, since = %(since)b::timestamptz, refused_at = %(refused_at)b::timestamptz,
    opened_at = %(opened_at)b::timestamptz, probe_at = %(probe_at)b::timestamptz
WHERE provider = %(provider)b AND client = %(client)b AND reason = %(reason)b

-- name: take_client_probe
-- Note the time of a probe, unless another process has noted one since the caller read the row.
UPDATE {{schema}}.client_refusal SET probe_at = {{now}}
WHERE provider = %(provider)b AND client = %(client)b AND reason = %(reason)b AND opened_at IS NOT NULL
    AND probe_at IS NOT DISTINCT FROM %(seen)b::timestamptz
RETURNING true

-- name: lock_client_turn
-- Lock a client's row until the transaction ends. The row holds the time from which all processes compute when they may
-- send the client's next token request; see `next_turn` in the module `rules.pacing` of the domain. If there is no row,
-- insert one with the present time.
INSERT INTO {{schema}}.client_turn AS t (provider, client, free_at)
VALUES (%(provider)b, %(client)b, {{now}})
ON CONFLICT (provider, client) DO UPDATE SET free_at = t.free_at
RETURNING t.free_at, t.reserved, {{now}}

-- name: put_client_turn
-- Store the time and the reserved turns in a client's locked row; see lock_client_turn.
UPDATE {{schema}}.client_turn SET free_at = %(free_at)b::timestamptz, reserved = %(reserved)b::bytea
WHERE provider = %(provider)b AND client = %(client)b

-- name: delete_client_refusal
-- Forget the refusals of one scope.
DELETE FROM {{schema}}.client_refusal
WHERE provider = %(provider)b AND client = %(client)b AND reason = %(reason)b
RETURNING opened_at IS NOT NULL, {{now}}

-- name: count_client_successes
-- Count the access tokens that a client got after the given time, up to a limit. The query reads the partial index
-- token_refreshed. If an account has an endpoint, only the endpoint must be the given client. An empty client means that
-- the refresher names no client. Then the query counts the tokens of all clients at the provider. The same holds for the
-- next statements.
SELECT count(*) FROM (
    SELECT 1 FROM {{schema}}.token t
    JOIN {{schema}}.account a
        ON a.tenant_id = t.tenant_id AND a.provider = t.provider AND a.identifier = t.identifier
    WHERE t.provider = %(provider)b AND t.kind = 'access_token' AND t.last_refreshed_at IS NOT NULL
        AND t.last_refreshed_at > %(after)b::timestamptz
        AND (a.endpoint = %(client)b::bytea OR a.endpoint IS NULL
            AND (octet_length(%(client)b::bytea) = 0 OR t.client = %(client)b::bytea))
    LIMIT %(limit)b::bigint) s

-- name: count_client_rejections
-- Count the credentials that the provider rejected after the given time, except those of the given account, up to a
-- limit.
SELECT count(*) FROM (
    SELECT 1 FROM {{schema}}.token t
    JOIN {{schema}}.account a
        ON a.tenant_id = t.tenant_id AND a.provider = t.provider AND a.identifier = t.identifier
    WHERE t.provider = %(provider)b AND t.status = 'invalid' AND t.rejected_at IS NOT NULL
        AND t.rejected_at > %(after)b::timestamptz
        AND greatest(t.created_at, t.last_refreshed_at) >= %(restored_at)b::timestamptz
        AND (a.endpoint = %(client)b::bytea OR a.endpoint IS NULL
            AND (octet_length(%(client)b::bytea) = 0 OR t.client IS NULL OR t.client = %(client)b::bytea))
        AND NOT (t.tenant_id = %(tenant_id)b AND t.identifier = %(identifier)b)
    LIMIT %(limit)b::bigint) r

-- name: count_rejections_of_others
-- Count the credentials of other tenants that the provider rejected after the given time, up to a limit.
SELECT count(*) FROM (
    SELECT 1 FROM {{schema}}.token t
    JOIN {{schema}}.account a
        ON a.tenant_id = t.tenant_id AND a.provider = t.provider AND a.identifier = t.identifier
    WHERE t.provider = %(provider)b AND t.status = 'invalid' AND t.rejected_at IS NOT NULL
        AND t.rejected_at > %(after)b::timestamptz
        AND greatest(t.created_at, t.last_refreshed_at) >= %(restored_at)b::timestamptz
        AND (a.endpoint = %(client)b::bytea OR a.endpoint IS NULL
            AND (octet_length(%(client)b::bytea) = 0 OR t.client IS NULL OR t.client = %(client)b::bytea))
        AND t.tenant_id <> %(tenant_id)b
    LIMIT %(limit)b::bigint) r

-- name: count_other_tenants
-- Count other tenants with tokens: 0 if there are none, else 1 or 2.
SELECT count(*) FROM (
    (SELECT 1 FROM {{schema}}.token WHERE tenant_id < %(tenant_id)b ORDER BY tenant_id DESC LIMIT 1)
    UNION ALL
    (SELECT 1 FROM {{schema}}.token WHERE tenant_id > %(tenant_id)b ORDER BY tenant_id LIMIT 1)) t

-- name: take_back_rejections
-- Make valid again the credentials that the provider rejected after the given time, make their accounts due, and append
-- an event account_revived for each credential. The code of the event is the error code that the credential had. Tokens
-- are locked before accounts, both in the order of their keys.
WITH doomed AS (
    SELECT t.tenant_id, t.provider, t.kind, t.identifier, t.value_id, t.error_code FROM {{schema}}.token t
    JOIN {{schema}}.account a
        ON a.tenant_id = t.tenant_id AND a.provider = t.provider AND a.identifier = t.identifier
    WHERE t.provider = %(provider)b AND t.status = 'invalid' AND t.rejected_at IS NOT NULL
        AND t.rejected_at > %(after)b::timestamptz
        AND greatest(t.created_at, t.last_refreshed_at) >= %(restored_at)b::timestamptz
        AND (a.endpoint = %(client)b::bytea OR a.endpoint IS NULL
            AND (octet_length(%(client)b::bytea) = 0 OR t.client IS NULL OR t.client = %(client)b::bytea))
    ORDER BY t.tenant_id, t.provider, t.identifier, t.kind
    FOR UPDATE OF t),
freed AS (
    UPDATE {{schema}}.token t SET status = 'valid', error_code = NULL, rejected_at = NULL, updated_at = {{now}}
    FROM doomed d
    WHERE t.tenant_id = d.tenant_id AND t.provider = d.provider AND t.kind = d.kind AND t.identifier = d.identifier
        AND t.value_id = d.value_id AND t.status = 'invalid' AND t.rejected_at > %(after)b::timestamptz
    RETURNING t.tenant_id, t.updated_at, t.provider, t.identifier, t.kind, t.generation, d.error_code),
waking AS (
    SELECT a.tenant_id, a.provider, a.identifier
    FROM {{schema}}.account a JOIN freed f USING (tenant_id, provider, identifier)
    ORDER BY a.tenant_id, a.provider, a.identifier
    FOR UPDATE OF a),
woken AS (
    UPDATE {{schema}}.account a SET due_at = {{now}}
    FROM waking w
    WHERE a.tenant_id = w.tenant_id AND a.provider = w.provider AND a.identifier = w.identifier)
INSERT INTO {{schema}}.audit_event (
    tenant_id, action, occurred_at, provider, identifier, kind, generation, actor, code)
SELECT tenant_id, 'account_revived', updated_at, provider, identifier, kind, generation, %(actor)b::text, error_code
FROM freed
ORDER BY tenant_id, identifier, kind
RETURNING tenant_id, occurred_at, provider, identifier, kind, generation, code

-- name: append_client_event
-- Append an event about a client in the transaction of the change that it reports.
INSERT INTO {{schema}}.audit_event (action, occurred_at, provider, code)
VALUES (%(action)b::text, %(occurred_at)b::timestamptz, %(provider)b::text, %(reason)b::text)

-- name: get_restored_at
-- Get the latest time at which a backup went into use; NULL: never.
SELECT max(restored_at) FROM {{schema}}.restoration

-- name: put_restored_at
-- Store a time at which a backup went into use. Return it, and the present time.
INSERT INTO {{schema}}.restoration (restored_at) VALUES (coalesce(%(since)b::timestamptz, {{now}}))
ON CONFLICT (restored_at) DO UPDATE SET restored_at = excluded.restored_at
RETURNING restored_at, {{now}}

-- name: delete_mass_rejections
-- Forget the mass rejections of all clients.
DELETE FROM {{schema}}.client_refusal WHERE reason = 'mass_rejection'
RETURNING provider, opened_at IS NOT NULL

-- name: wake_spared_accounts
-- Make due, without a backoff, the accounts whose latest failure was a rejection that condemned nothing.
UPDATE {{schema}}.account SET due_at = {{now}}, next_attempt_at = NULL
WHERE failures > 0 AND error_code = 'mass_rejection'

-- name: append_restore_event
-- Append the event about a restore in the transaction that notes it.
INSERT INTO {{schema}}.audit_event (action, occurred_at, actor)
VALUES (%(action)b::text, %(occurred_at)b::timestamptz, %(actor)b::text)
