-- name: get_account_values
-- An account's tokens with their sealed values, each with the account's label and refresh state.
SELECT t.tenant_id, t.provider, t.kind, t.identifier, t.id, t.status, t.error_code, t.expires_at, t.scopes,
       t.generation, u.last_used_at, t.last_refreshed_at, t.lifetime, t.created_at, t.updated_at,
       a.label, a.credential_id, a.credential_generation, a.attempt_id, a.lease_until, a.sent_at, a.failures,
       a.next_attempt_at, a.unknown_since, a.error_code, t.data_key_id, CAST(t.blob AS BLOB)
FROM token_vault_token t
LEFT JOIN token_vault_token_use u USING (tenant_id, provider, kind, identifier)
LEFT JOIN token_vault_account a USING (tenant_id, provider, identifier)
WHERE t.tenant_id = :tenant_id AND t.provider = :provider AND t.identifier = :identifier
    AND t.kind IN ('access_token', 'refresh_token', 'api_key', 'webhook_secret')

-- name: claim_account
-- Take the lease for one credential. What is known of that credential stays: failures, and an unknown outcome, to
-- which a lease that ran out is added; what is known of another credential goes.
INSERT INTO token_vault_account AS a (
    tenant_id, provider, identifier, credential_id, credential_generation, attempt_id, lease_until, sent_at)
SELECT tenant_id, provider, identifier, id, generation, :attempt_id, :now + :lease, :now
FROM token_vault_token
WHERE tenant_id = :tenant_id AND provider = :provider AND kind = :kind AND identifier = :identifier
    AND id = :credential_id AND generation = :credential_generation AND status != 'invalid'
ON CONFLICT (tenant_id, provider, identifier) DO UPDATE SET
    sent_at = CASE
        WHEN a.credential_id IS excluded.credential_id
            AND a.credential_generation IS excluded.credential_generation
            AND (a.unknown_since IS NOT NULL OR a.lease_until IS NOT NULL) THEN a.sent_at
        ELSE excluded.sent_at END,
    unknown_since = CASE
        WHEN a.credential_id IS excluded.credential_id
            AND a.credential_generation IS excluded.credential_generation
        THEN coalesce(max(a.unknown_since, a.lease_until), a.unknown_since, a.lease_until) END,
    failures = CASE
        WHEN a.credential_id IS excluded.credential_id
            AND a.credential_generation IS excluded.credential_generation THEN a.failures
        ELSE 0 END,
    error_code = CASE
        WHEN a.credential_id IS excluded.credential_id
            AND a.credential_generation IS excluded.credential_generation THEN a.error_code END,
    next_attempt_at = NULL,
    credential_id = excluded.credential_id,
    credential_generation = excluded.credential_generation,
    attempt_id = excluded.attempt_id,
    lease_until = excluded.lease_until
WHERE a.attempt_id IS :seen
    AND (a.lease_until IS NULL OR a.lease_until <= :now
        OR a.credential_id IS NOT excluded.credential_id
        OR a.credential_generation IS NOT excluded.credential_generation)

-- name: find_due_accounts
-- Accounts whose access token is due, whose credential is usable, and which nobody holds or must leave alone; the
-- rules are a JSON array of [provider, kind spent, rotation, grace period, quiescence, deadline], in microseconds. CROSS
-- JOIN fixes the order of the loops: the tokens by their index, so that a batch ends where it is full.
SELECT t.tenant_id, t.provider, t.identifier, t.id, t.generation, t.expires_at,
       c.kind, c.id, c.generation, a.attempt_id
FROM token_vault_token t
CROSS JOIN json_each(:rules) r ON json_extract(r.value, '$[0]') = t.provider
CROSS JOIN token_vault_token c
    ON c.tenant_id = t.tenant_id AND c.provider = t.provider AND c.identifier = t.identifier
    AND c.kind = json_extract(r.value, '$[1]')
LEFT JOIN token_vault_account a
    ON a.tenant_id = t.tenant_id AND a.provider = t.provider AND a.identifier = t.identifier
WHERE t.status = 'valid' AND t.kind = 'access_token' AND t.expires_at IS NOT NULL
    AND (t.expires_at, t.tenant_id, t.id) > (:after, :after_tenant_id, :after_id)
    AND t.expires_at <= :now + :horizon
    AND t.expires_at <= :now + coalesce(min(:horizon, t.lifetime / 2), :horizon)
    AND c.status != 'invalid' AND (c.expires_at IS NULL OR c.expires_at > :now)
    AND (a.credential_id IS NULL OR a.credential_id IS NOT c.id OR a.credential_generation IS NOT c.generation
        OR ((a.lease_until IS NULL OR a.lease_until <= :now)
            AND (a.next_attempt_at IS NULL OR a.next_attempt_at <= :now)
            AND (coalesce(a.unknown_since, a.lease_until) IS NULL
                OR json_extract(r.value, '$[2]') = 'non_rotating'
                OR (json_extract(r.value, '$[2]') = 'grace'
                    AND :now + json_extract(r.value, '$[5]') < a.sent_at + json_extract(r.value, '$[3]'))
                OR (t.expires_at <= :now
                    AND :now >= max(coalesce(a.unknown_since, 0), coalesce(a.lease_until, 0))
                        + json_extract(r.value, '$[4]')))))
ORDER BY t.expires_at, t.tenant_id, t.id
LIMIT :limit

-- name: release_account
-- Give an own lease back. The outcome is as it was before.
UPDATE token_vault_account SET lease_until = NULL
WHERE tenant_id = :tenant_id AND provider = :provider AND identifier = :identifier AND attempt_id = :attempt_id

-- name: fail_account
-- End an own attempt without tokens.
UPDATE token_vault_account SET
    lease_until = NULL, failures = failures + 1, next_attempt_at = :now + :retry_in, error_code = :error_code,
    unknown_since = CASE WHEN :unknown THEN :now ELSE unknown_since END
WHERE tenant_id = :tenant_id AND provider = :provider AND identifier = :identifier AND attempt_id = :attempt_id

-- name: get_commit
-- The attempt that was committed last.
SELECT committed_attempt_id FROM token_vault_account
WHERE tenant_id = :tenant_id AND provider = :provider AND identifier = :identifier

-- name: settle_account
-- An attempt was committed: failures and unknown outcome end, and the lease where it is this attempt's.
UPDATE token_vault_account SET
    failures = 0, next_attempt_at = NULL, unknown_since = NULL, error_code = NULL,
    committed_attempt_id = :attempt_id,
    lease_until = CASE WHEN attempt_id = :attempt_id THEN NULL ELSE lease_until END
WHERE tenant_id = :tenant_id AND provider = :provider AND identifier = :identifier
