-- name: list_client_refusals
-- List the refusals of clients at a provider, or at all providers.
SELECT provider, client, reason, marks, since, refused_at, opened_at, probe_at FROM token_vault_client_refusal
WHERE :provider IS NULL OR provider = :provider
ORDER BY provider, client, reason

-- name: get_client_refusal
-- Get the refusals of one scope (provider, client and reason).
SELECT provider, client, reason, marks, since, refused_at, opened_at, probe_at FROM token_vault_client_refusal
WHERE provider = :provider AND client = :client AND reason = :reason

-- name: put_client_refusal
-- Store the refusals of one scope.
INSERT INTO token_vault_client_refusal (provider, client, reason, marks, since, refused_at, opened_at, probe_at)
VALUES (:provider, :client, :reason, :marks, :since, :refused_at, :opened_at, :probe_at)
ON CONFLICT (provider, client, reason) DO UPDATE SET
    marks = excluded.marks, since = excluded.since, refused_at = excluded.refused_at,
    opened_at = excluded.opened_at, probe_at = excluded.probe_at

-- name: take_client_probe
-- Note the time of a probe, unless another process has noted one since the caller read the row.
UPDATE token_vault_client_refusal SET probe_at = :now
WHERE provider = :provider AND client = :client AND reason = :reason AND opened_at IS NOT NULL AND probe_at IS :seen

-- name: get_client_turn
-- Get the time from which all processes compute when a client's next token request may be sent; see `next_turn` in the
-- module `rules.pacing` of the domain.
SELECT free_at FROM token_vault_client_turn WHERE provider = :provider AND client = :client

-- name: put_client_turn
-- Store the time that get_client_turn gets.
INSERT INTO token_vault_client_turn (provider, client, free_at) VALUES (:provider, :client, :free_at)
ON CONFLICT (provider, client) DO UPDATE SET free_at = excluded.free_at

-- name: delete_client_refusal
-- Forget the refusals of one scope.
DELETE FROM token_vault_client_refusal WHERE provider = :provider AND client = :client AND reason = :reason

-- name: count_client_successes
-- Count the access tokens that a client got after the given time, up to a limit. The query reads the partial index
-- token_vault_token_refreshed. An empty client means that the refresher names no client. Then the query counts the
-- tokens of all clients at the provider. In that case, the statements below also apply to all clients at the provider.
SELECT count(*) FROM (
    SELECT 1 FROM token_vault_token
    WHERE provider = :provider AND kind = 'access_token' AND last_refreshed_at IS NOT NULL
        AND last_refreshed_at > :after AND (length(:client) = 0 OR client = :client)
    LIMIT :limit)

-- name: count_client_rejections
-- Count the credentials that the provider rejected after the given time, except those of one account, up to a limit.
SELECT count(*) FROM (
    SELECT 1 FROM token_vault_token
    WHERE provider = :provider AND status = 'invalid' AND rejected_at IS NOT NULL AND rejected_at > :after
        AND (length(:client) = 0 OR client IS NULL OR client = :client)
        AND NOT (tenant_id = :tenant_id AND identifier = :identifier)
    LIMIT :limit)

-- name: wake_rejected_accounts
-- Make due the accounts of the credentials that take_back_rejections makes valid again.
UPDATE token_vault_account AS a SET due_at = :now
WHERE a.provider = :provider AND (a.tenant_id, a.identifier) IN (
    SELECT tenant_id, identifier FROM token_vault_token
    WHERE provider = :provider AND status = 'invalid' AND rejected_at IS NOT NULL AND rejected_at > :after
        AND (length(:client) = 0 OR client IS NULL OR client = :client))

-- name: find_rejections
-- Find the credentials that the provider rejected after the given time.
SELECT tenant_id, kind, identifier, generation, error_code FROM token_vault_token
WHERE provider = :provider AND status = 'invalid' AND rejected_at IS NOT NULL AND rejected_at > :after
    AND (length(:client) = 0 OR client IS NULL OR client = :client)
ORDER BY tenant_id, identifier, kind

-- name: take_back_rejections
-- Make valid again the credentials that the provider rejected after the given time.
UPDATE token_vault_token SET status = 'valid', error_code = NULL, rejected_at = NULL, updated_at = :now
WHERE provider = :provider AND status = 'invalid' AND rejected_at IS NOT NULL AND rejected_at > :after
    AND (length(:client) = 0 OR client IS NULL OR client = :client)
