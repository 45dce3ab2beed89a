-- name: find_condemned
-- Find credentials that a refresh has condemned, earliest first, after a position. The query reads the index
-- token_vault_token_rejected. The condition on the client is that of count_client; a client of NULL excludes none.
SELECT t.rejected_at, t.tenant_id, t.kind, t.identifier, t.value_id, t.expires_at, t.generation, t.error_code
FROM token_vault_token t
LEFT JOIN token_vault_account a
    ON a.tenant_id = t.tenant_id AND a.provider = t.provider AND a.identifier = t.identifier
WHERE t.provider = :provider AND t.rejected_at BETWEEN :since AND :until AND t.status = 'invalid'
    AND (:tenant_id IS NULL OR t.tenant_id = :tenant_id)
    AND (t.created_at >= :stored_since OR t.last_refreshed_at >= :stored_since)
    AND (:client IS NULL OR a.endpoint = :client
        OR a.endpoint IS NULL AND (length(:client) = 0 OR t.client IS NULL OR t.client = :client))
    AND (t.rejected_at, t.tenant_id, t.identifier, t.kind)
        > (:after_rejected_at, :after_tenant_id, :after_identifier, :after_kind)
ORDER BY t.rejected_at, t.tenant_id, t.identifier, t.kind
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
