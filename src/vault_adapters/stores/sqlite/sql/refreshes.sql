-- name: find_due_accounts
-- Find due accounts of a provider, earliest first.
SELECT tenant_id, identifier, due_at FROM token_vault_account
WHERE provider = :provider AND due_at BETWEEN :since AND :until
ORDER BY due_at
LIMIT :limit

-- name: schedule_account
-- Store the time at which an account is due next; NULL: never.
UPDATE token_vault_account SET due_at = :due_at
WHERE tenant_id = :tenant_id AND provider = :provider AND identifier = :identifier

-- name: schedule_value
-- Make an account due no later than a stored value requires. If the value requires no time, only an account that has a
-- row is due.
INSERT INTO token_vault_account AS a (tenant_id, provider, identifier, due_at)
SELECT :tenant_id, :provider, :identifier, :due_at
WHERE :is_required OR EXISTS (
    SELECT 1 FROM token_vault_account
    WHERE tenant_id = :tenant_id AND provider = :provider AND identifier = :identifier)
ON CONFLICT (tenant_id, provider, identifier) DO UPDATE SET due_at = excluded.due_at
WHERE a.due_at IS NULL OR a.due_at > excluded.due_at
