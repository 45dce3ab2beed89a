-- name: find_condemned
-- Find credentials that a refresh has condemned, earliest first, after a position. The query reads the index
-- token_vault_token_rejected.
SELECT rejected_at, tenant_id, kind, identifier, value_id, expires_at, generation, error_code FROM token_vault_token
WHERE provider = :provider AND rejected_at BETWEEN :since AND :until AND status = 'invalid'
    AND (:tenant_id IS NULL OR tenant_id = :tenant_id)
    AND (rejected_at, tenant_id, identifier, kind)
        > (:after_rejected_at, :after_tenant_id, :after_identifier, :after_kind)
ORDER BY rejected_at, tenant_id, identifier, kind
LIMIT :limit

-- name: revive_credential
-- Make one credential valid again; compare-and-set on the value's id.
UPDATE token_vault_token SET status = 'valid', error_code = NULL, rejected_at = NULL, updated_at = :now
WHERE tenant_id = :tenant_id AND provider = :provider AND kind = :kind AND identifier = :identifier
    AND value_id = :value_id

-- name: revive_account
-- Clear an account's backoff, unknown outcome and refusals, and set the time at which it is due; a running attempt
-- keeps its lease.
UPDATE token_vault_account AS a SET
    failures = 0, next_attempt_at = NULL, unknown_since = NULL, error_code = NULL, refused_since = NULL, refused_for = 0,
    lease_until = {{running_lease}}, due_at = :due_at
WHERE tenant_id = :tenant_id AND provider = :provider AND identifier = :identifier
