-- name: find_kept_answer
-- Find the attempt whose answer is kept for an account, and since when.
SELECT attempt_id, kept_at FROM token_vault_unread_answer
WHERE tenant_id = :tenant_id AND provider = :provider AND identifier = :identifier

-- name: keep_answer
-- Keep an answer in place of an earlier one of its account, if the credential is still stored.
INSERT INTO token_vault_unread_answer AS u (
    tenant_id, provider, identifier, attempt_id, data_key_id, blob, kept_at)
SELECT t.tenant_id, t.provider, t.identifier, :attempt_id, :data_key_id, :blob, :kept_at
FROM token_vault_token t
JOIN token_vault_account a ON a.tenant_id = t.tenant_id AND a.provider = t.provider AND a.identifier = t.identifier
WHERE t.tenant_id = :tenant_id AND t.provider = :provider AND t.identifier = :identifier
    AND t.kind = :kind AND t.value_id = :value_id
ON CONFLICT (tenant_id, provider, identifier) DO UPDATE SET
    attempt_id = excluded.attempt_id, data_key_id = excluded.data_key_id, blob = excluded.blob, kept_at = excluded.kept_at

-- name: list_kept_answers
-- List kept answers after a position, oldest first.
SELECT tenant_id, provider, identifier, attempt_id, data_key_id, blob, kept_at FROM token_vault_unread_answer
WHERE (kept_at, attempt_id) > (:kept_at, :attempt_id)
ORDER BY kept_at, attempt_id
LIMIT :limit

-- name: count_kept_answers
-- Count the kept answers of each provider.
SELECT provider, count(*) FROM token_vault_unread_answer GROUP BY provider

-- name: drop_kept_answer
-- Delete the kept answer of an attempt.
DELETE FROM token_vault_unread_answer
WHERE tenant_id = :tenant_id AND provider = :provider AND identifier = :identifier
    AND attempt_id = :attempt_id
