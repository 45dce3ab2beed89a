-- due_at: when an account is due for a sweep; NULL: never. It is never later than the time at which the domain's rules
-- would refresh the account. An account that already has an access token with an expiry is due at once; a sweep then
-- schedules it by the rules.
ALTER TABLE token_vault_account ADD COLUMN due_at INTEGER;
INSERT INTO token_vault_account (tenant_id, provider, identifier, due_at)
SELECT tenant_id, provider, identifier, 0
FROM token_vault_token
WHERE kind = 'access_token' AND expires_at IS NOT NULL
ON CONFLICT (tenant_id, provider, identifier) DO UPDATE SET due_at = excluded.due_at;
CREATE INDEX token_vault_account_due ON token_vault_account (provider, due_at) WHERE due_at IS NOT NULL;

-- Used states of authorization requests, until they expire, because each state works once.
CREATE TABLE token_vault_used_state (
    state_id BLOB NOT NULL PRIMARY KEY CHECK (length(state_id) = 32),
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX token_vault_used_state_expires ON token_vault_used_state (expires_at);
-- find_tenant_of_data_key reads from here.
CREATE INDEX token_vault_data_key_id ON token_vault_data_key (data_key_id);
