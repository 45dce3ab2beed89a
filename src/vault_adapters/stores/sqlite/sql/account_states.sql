-- name: load_account
-- Get an account whole: a row for each token; an account without tokens gives one row.
SELECT {{token_columns}}, {{key_columns}}, {{account_columns}}, {{value_columns}},
    a.committed_attempt_id, a.endpoint, a.due_at, t.noted_value_id IS t.value_id, a.tenant_id IS NOT NULL, {{answer_columns}}
FROM (SELECT 1) one
LEFT JOIN token_vault_account a
    ON a.tenant_id = :tenant_id AND a.provider = :provider AND a.identifier = :identifier
LEFT JOIN token_vault_unread_answer n
    ON n.tenant_id = :tenant_id AND n.provider = :provider AND n.identifier = :identifier
LEFT JOIN token_vault_token t
    ON t.tenant_id = :tenant_id AND t.provider = :provider AND t.identifier = :identifier
LEFT JOIN token_vault_token_use u
    ON u.tenant_id = t.tenant_id AND u.provider = t.provider AND u.kind = t.kind AND u.identifier = t.identifier

-- name: put_token
-- Put a token in place of the one that is stored under its key, if any.
INSERT INTO token_vault_token (
    tenant_id, provider, kind, identifier, id, value_id, data_key_id, blob, extra, status, error_code, expires_at,
    lifetime, scopes, generation, last_refreshed_at, created_at, updated_at, suspect_since, rejected_at, noted_value_id,
    {{plain $name}})
VALUES (
    :tenant_id, :provider, :kind, :identifier, :id, :value_id, :data_key_id, :blob, :extra, :status, :error_code,
    :expires_at, :lifetime, :scopes, :generation, :last_refreshed_at, :created_at, :updated_at,
    :suspect_since, :rejected_at, :noted_value_id, {{plain :$name}})
ON CONFLICT (tenant_id, provider, kind, identifier) DO UPDATE SET
    id = excluded.id, value_id = excluded.value_id, data_key_id = excluded.data_key_id, blob = excluded.blob,
    extra = excluded.extra, status = excluded.status, error_code = excluded.error_code,
    expires_at = excluded.expires_at, lifetime = excluded.lifetime, scopes = excluded.scopes,
    generation = excluded.generation, last_refreshed_at = excluded.last_refreshed_at,
    created_at = excluded.created_at, updated_at = excluded.updated_at, {{plain $name = excluded.$name}},
    suspect_since = excluded.suspect_since, rejected_at = excluded.rejected_at,
    noted_value_id = excluded.noted_value_id

-- name: put_account
-- Put an account's row in place of the one that is stored, if any.
INSERT INTO token_vault_account (
    tenant_id, provider, identifier, label, credential_value_id, attempt_id, committed_attempt_id, lease_until, sent_at,
    failures, next_attempt_at, unknown_since, error_code, refused_since, refused_for, endpoint,
    due_at, boot_id, clock_offset)
VALUES (
    :tenant_id, :provider, :identifier, :label, :credential_value_id, :attempt_id, :committed_attempt_id, :lease_until,
    :sent_at, :failures, :next_attempt_at, :unknown_since, :error_code, :refused_since, :refused_for, :endpoint, :due_at,
    vault_boot_id(), vault_clock_offset())
ON CONFLICT (tenant_id, provider, identifier) DO UPDATE SET
    label = excluded.label, credential_value_id = excluded.credential_value_id, attempt_id = excluded.attempt_id,
    committed_attempt_id = excluded.committed_attempt_id, lease_until = excluded.lease_until,
    sent_at = excluded.sent_at, failures = excluded.failures, next_attempt_at = excluded.next_attempt_at,
    unknown_since = excluded.unknown_since, error_code = excluded.error_code, refused_since = excluded.refused_since,
    refused_for = excluded.refused_for, endpoint = excluded.endpoint, due_at = excluded.due_at, boot_id = excluded.boot_id,
    clock_offset = excluded.clock_offset

-- name: put_answer
-- Keep an answer in place of the account's earlier one, if any.
INSERT INTO token_vault_unread_answer (tenant_id, provider, identifier, attempt_id, data_key_id, blob, kept_at)
VALUES (:tenant_id, :provider, :identifier, :attempt_id, :data_key_id, :blob, :kept_at)
ON CONFLICT (tenant_id, provider, identifier) DO UPDATE SET
    attempt_id = excluded.attempt_id, data_key_id = excluded.data_key_id, blob = excluded.blob, kept_at = excluded.kept_at

-- name: delete_answer
-- Delete an account's kept answer.
DELETE FROM token_vault_unread_answer
WHERE tenant_id = :tenant_id AND provider = :provider AND identifier = :identifier

-- name: delete_account
-- Delete the row of an account that has no token left.
DELETE FROM token_vault_account WHERE tenant_id = :tenant_id AND provider = :provider AND identifier = :identifier
