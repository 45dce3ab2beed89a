-- name: destroy_tenant_data_keys
-- Turn a tenant's data keys into tombstones, and return their ids; later writes under these data keys fail.
UPDATE token_vault_data_key SET state = 'destroyed' WHERE tenant_id = :tenant_id AND state IN ('active', 'decrypt_only')
RETURNING data_key_id

-- name: count_tenant_accounts
-- Count a tenant's accounts. Only an account that holds a token counts.
SELECT count(*) FROM (SELECT DISTINCT provider, identifier FROM token_vault_token WHERE tenant_id = :tenant_id)

-- name: delete_tenant_wraps
-- Delete all wraps of a tenant's data keys.
DELETE FROM token_vault_data_key_wrap WHERE tenant_id = :tenant_id

-- name: delete_tenant_accounts
-- Delete a tenant's labels and refresh states.
DELETE FROM token_vault_account WHERE tenant_id = :tenant_id

-- name: delete_tenant_tokens
-- Delete a tenant's tokens and the times of their last use.
DELETE FROM token_vault_token WHERE tenant_id = :tenant_id

-- name: empty_tenant_audit_events
-- Remove tenant and identifier from a tenant's audit events. Events of erasures and of destroyed data keys keep the
-- tenant, because they confirm the tombstones.
UPDATE token_vault_audit_event SET tenant_id = NULL, identifier = NULL
WHERE tenant_id = :tenant_id AND action NOT IN ('tenant_erased', 'data_key_destroyed')
