-- name: find_kept_answer
-- Find the attempt whose answer is kept for an account, and since when.
SELECT attempt_id, kept_at FROM {{schema}}.unread_answer
WHERE tenant_id = %(tenant_id)b AND provider = %(provider)b AND identifier = %(identifier)b

-- name: keep_answer
-- Keep an answer in place of an earlier one of its account, if the credential is still stored.
INSERT INTO {{schema}}.unread_answer AS u (
    tenant_id, provider, identifier, attempt_id, data_key_id, blob, kept_at)
SELECT t.tenant_id, t.provider, t.identifier, %(attempt_id)b::uuid, %(data_key_id)b::bytea, %(blob)b::bytea,
    coalesce(%(kept_at)b::timestamptz, {{now}})
FROM {{schema}}.token t
JOIN {{schema}}.account a ON a.tenant_id = t.tenant_id AND a.provider = t.provider AND a.identifier = t.identifier
WHERE t.tenant_id = %(tenant_id)b AND t.provider = %(provider)b AND t.identifier = %(identifier)b
    AND t.kind = %(kind)b AND t.value_id = %(value_id)b::uuid
ON CONFLICT (tenant_id, provider, identifier) DO UPDATE SET
    attempt_id = excluded.attempt_id, data_key_id = excluded.data_key_id, blob = excluded.blob, kept_at = excluded.kept_at
RETURNING u.kept_at

-- name: list_kept_answers
-- List kept answers after a position, oldest first.
SELECT tenant_id, provider, identifier, attempt_id, data_key_id, blob, kept_at FROM {{schema}}.unread_answer
WHERE (kept_at, attempt_id) > (%(kept_at)b::timestamptz, %(attempt_id)b::uuid)
ORDER BY kept_at, attempt_id
LIMIT %(limit)b::bigint

-- name: count_kept_answers
-- Count the kept answers of each provider.
SELECT provider, count(*) FROM {{schema}}.unread_answer GROUP BY provider

-- name: drop_kept_answer
-- Delete the kept answer of an attempt.
DELETE FROM {{schema}}.unread_answer
WHERE tenant_id = %(tenant_id)b AND provider = %(provider)b AND identifier = %(identifier)b
    AND attempt_id = %(attempt_id)b::uuid
