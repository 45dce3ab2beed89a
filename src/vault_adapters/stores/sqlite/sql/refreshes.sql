-- name: get_account_values
-- Get an account's tokens with their sealed values, each with the account's label and refresh state.
SELECT {{token_columns}}, {{key_columns}}, {{account_columns}}, {{value_columns}}
FROM token_vault_token t
LEFT JOIN token_vault_token_use u USING (tenant_id, provider, kind, identifier)
LEFT JOIN token_vault_account a USING (tenant_id, provider, identifier)
WHERE t.tenant_id = :tenant_id AND t.provider = :provider AND t.identifier = :identifier

-- name: claim_account
-- Take the lease for one credential. If the stored refresh state belongs to this credential, failures and unknown
-- outcome stay, and an expired lease counts as an unknown outcome. The state of another credential is cleared. A lease
-- counts as over if it ends further away than the longest lease, because it was taken before the clock was set back.
INSERT INTO token_vault_account AS a (
    tenant_id, provider, identifier, credential_value_id, attempt_id, lease_until, sent_at, due_at, endpoint,
    boot_id, clock_offset)
SELECT tenant_id, provider, identifier, value_id, :attempt_id, :now + :lease, :now, :now + :lease, :endpoint,
    vault_boot_id(), vault_clock_offset()
FROM token_vault_token
WHERE tenant_id = :tenant_id AND provider = :provider AND kind = :kind AND identifier = :identifier
    AND value_id = :credential_value_id AND status != 'invalid'
ON CONFLICT (tenant_id, provider, identifier) DO UPDATE SET
    sent_at = CASE
        WHEN a.credential_value_id IS excluded.credential_value_id
            AND (a.unknown_since IS NOT NULL OR a.lease_until IS NOT NULL) THEN a.sent_at + {{step}}
        ELSE excluded.sent_at END,
    unknown_since = CASE
        WHEN a.credential_value_id IS excluded.credential_value_id
        THEN (
            SELECT max(CASE WHEN m.at > :now + {{longest_lease}} THEN 0 ELSE m.at END)
            FROM (SELECT a.unknown_since + {{step}} AS at UNION ALL SELECT a.lease_until + {{step}}) m) END,
    failures = CASE
        WHEN a.credential_value_id IS excluded.credential_value_id THEN a.failures
        ELSE 0 END,
    error_code = CASE
        WHEN a.credential_value_id IS excluded.credential_value_id THEN a.error_code END,
    refused_since = CASE
        WHEN a.credential_value_id IS excluded.credential_value_id THEN a.refused_since + {{step}} END,
    refused_for = CASE
        WHEN a.credential_value_id IS excluded.credential_value_id THEN a.refused_for ELSE 0 END,
    next_attempt_at = NULL,
    credential_value_id = excluded.credential_value_id,
    attempt_id = excluded.attempt_id,
    lease_until = excluded.lease_until,
    due_at = excluded.due_at,
    endpoint = excluded.endpoint,
    boot_id = excluded.boot_id,
    clock_offset = excluded.clock_offset
WHERE a.attempt_id IS :seen
    AND (a.lease_until IS NULL OR a.lease_until + {{step}} NOT BETWEEN :now + 1 AND :now + {{longest_lease}}
        OR a.credential_value_id IS NOT excluded.credential_value_id)

-- name: renew_account
-- Let the attempt's own lease end later, even if it has run out, as long as no other attempt began. The account stays
-- due at the end of the lease, unless another write made it due earlier.
UPDATE token_vault_account AS a SET
    lease_until = :now + :lease,
    due_at = CASE WHEN due_at = lease_until THEN :now + :lease ELSE due_at END,
    sent_at = sent_at + {{step}}, unknown_since = unknown_since + {{step}}, refused_since = refused_since + {{step}},
    boot_id = vault_boot_id(), clock_offset = vault_clock_offset()
WHERE tenant_id = :tenant_id AND provider = :provider AND identifier = :identifier AND attempt_id = :attempt_id
    AND lease_until IS NOT NULL

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
-- Make an account due no later than a stored value requires.
INSERT INTO token_vault_account AS a (tenant_id, provider, identifier, due_at)
VALUES (:tenant_id, :provider, :identifier, :due_at)
ON CONFLICT (tenant_id, provider, identifier) DO UPDATE SET due_at = excluded.due_at
WHERE a.due_at IS NULL OR a.due_at > excluded.due_at

-- name: wake_account
-- Make an existing account due now, because one of its values was stored, or its access token was deleted.
UPDATE token_vault_account SET due_at = :now
WHERE tenant_id = :tenant_id AND provider = :provider AND identifier = :identifier
    AND (due_at IS NULL OR due_at > :now)

-- name: release_account
-- End the attempt's own lease, and make the account due now; failures and unknown outcome stay.
UPDATE token_vault_account SET lease_until = NULL, due_at = :now
WHERE tenant_id = :tenant_id AND provider = :provider AND identifier = :identifier AND attempt_id = :attempt_id

-- name: fail_account
-- Record that the attempt failed.
UPDATE token_vault_account AS a SET
    lease_until = NULL, failures = failures + 1, next_attempt_at = :now + :retry_in,
    due_at = CASE
        WHEN due_at = lease_until THEN :now + :retry_in
        ELSE coalesce(min(due_at, :now + :retry_in), :now + :retry_in) END,
    error_code = :error_code, sent_at = sent_at + {{step}},
    boot_id = vault_boot_id(), clock_offset = vault_clock_offset(),
    unknown_since = CASE WHEN :unknown THEN :now ELSE unknown_since + {{step}} END,
    refused_since = CASE
        WHEN NOT :refused THEN refused_since + {{step}}
        WHEN refused_since IS NULL THEN :now
        ELSE coalesce(:now - :refused_for, refused_since + {{step}}) END,
    refused_for = CASE
        WHEN :refused AND refused_since IS NOT NULL THEN coalesce(:refused_for, refused_for) ELSE refused_for END
WHERE tenant_id = :tenant_id AND provider = :provider AND identifier = :identifier AND attempt_id = :attempt_id

-- name: get_commit
-- Get the attempt that was committed last.
SELECT committed_attempt_id FROM token_vault_account
WHERE tenant_id = :tenant_id AND provider = :provider AND identifier = :identifier

-- name: count_failures
-- Get the number of an account's failures since its last success.
SELECT failures FROM token_vault_account
WHERE tenant_id = :tenant_id AND provider = :provider AND identifier = :identifier

-- name: settle_account
-- Record a committed attempt: clear failures and unknown outcome, and end the lease if it is this attempt's.
UPDATE token_vault_account SET
    failures = 0, next_attempt_at = NULL, unknown_since = NULL, error_code = NULL, refused_since = NULL, refused_for = 0,
    committed_attempt_id = :attempt_id,
    due_at = CASE WHEN :wake THEN :now ELSE :due_at END,
    lease_until = CASE WHEN attempt_id = :attempt_id THEN NULL ELSE lease_until END
WHERE tenant_id = :tenant_id AND provider = :provider AND identifier = :identifier

-- name: note_rejection
-- Record the time at which a refresh condemned a credential. If the host itself marks a credential invalid, no time is
-- recorded.
UPDATE token_vault_token SET rejected_at = updated_at
WHERE tenant_id = :tenant_id AND provider = :provider AND kind = :kind AND identifier = :identifier
    AND value_id = :value_id
