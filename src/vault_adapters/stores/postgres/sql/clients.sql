-- name: list_clients
-- List the records of refused clients at a provider, or at all providers. One further row holds only the latest time at
-- which a backup went into use (NULL: never), and the present time. Rows with empty marks, of earlier releases, stand for
-- no record.
SELECT NULL AS provider, NULL AS client, NULL AS reason, NULL AS marks, NULL::timestamptz AS since,
    NULL::timestamptz AS refused_at, NULL::timestamptz AS opened_at,
    (SELECT max(restored_at) FROM {{schema}}.restoration) AS probe_at, {{now}} AS now
UNION ALL
SELECT provider, client, reason, {{bytes 64 marks}}, since, refused_at, opened_at, probe_at, NULL FROM {{schema}}.client_refusal
WHERE marks <> '' AND (%(provider)b::text IS NULL OR provider = %(provider)b)

-- name: lock_client
-- Lock the record of one scope (provider, client and reason) until the transaction ends, and get it. If there is no row,
-- insert one with empty marks.
INSERT INTO {{schema}}.client_refusal AS r (provider, client, reason, marks, since, refused_at)
VALUES (%(provider)b, %(client)b, %(reason)b, '', {{now}}, {{now}})
ON CONFLICT (provider, client, reason) DO UPDATE SET marks = r.marks
RETURNING r.provider, r.client, r.reason, pg_catalog.substr(r.marks, 1, 65), r.since, r.refused_at, r.opened_at, r.probe_at, {{now}}

-- name: put_client
-- Store the record of one scope, whose row is locked.
UPDATE {{schema}}.client_refusal SET
    marks = %(marks)b::bytea, since = %(since)b::timestamptz, refused_at = %(refused_at)b::timestamptz,
    opened_at = %(opened_at)b::timestamptz, probe_at = %(probe_at)b::timestamptz
WHERE provider = %(provider)b AND client = %(client)b AND reason = %(reason)b

-- name: delete_client
-- Delete the record of one scope.
DELETE FROM {{schema}}.client_refusal WHERE provider = %(provider)b AND client = %(client)b AND reason = %(reason)b

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

-- name: put_restored_at
-- Store a time at which a backup went into use. Return it, and the present time.
INSERT INTO {{schema}}.restoration (restored_at) VALUES (coalesce(%(since)b::timestamptz, {{now}}))
ON CONFLICT (restored_at) DO UPDATE SET restored_at = excluded.restored_at
RETURNING restored_at, {{now}}
