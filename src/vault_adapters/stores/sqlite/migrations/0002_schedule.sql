-- When an account is due for a sweep; NULL: never. It is computed by the domain, and never later than the time at which
-- its rules would refresh the account. What is stored already is due at once: a sweep then schedules it by the rules.
ALTER TABLE token_vault_account ADD COLUMN due_at INTEGER;
INSERT INTO token_vault_account (tenant_id, provider, identifier, due_at)
SELECT tenant_id, provider, identifier, 0
FROM token_vault_token
WHERE kind = 'access_token' AND expires_at IS NOT NULL
ON CONFLICT (tenant_id, provider, identifier) DO UPDATE SET due_at = excluded.due_at;
CREATE INDEX token_vault_account_due ON token_vault_account (provider, due_at) WHERE due_at IS NOT NULL;
