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
SELECT free_at, reserved FROM token_vault_client_turn WHERE provider = :provider AND client = :client

-- name: put_client_turn
-- Store the time and the reserved turns that get_client_turn gets.
INSERT INTO token_vault_client_turn (provider, client, free_at, reserved)
VALUES (:provider, :client, :free_at, :reserved)
ON CONFLICT (provider, client) DO UPDATE SET free_at = excluded.free_at, reserved = excluded.reserved

-- name: delete_client_refusal
-- Forget the refusals of one scope.
DELETE FROM token_vault_client_refusal WHERE provider = :provider AND client = :client AND reason = :reason

-- name: count_client_successes
-- Count the access tokens that a client got after the given time, up to a limit. The query reads the partial index
-- token_vault_token_refreshed. If an account has an endpoint, only the endpoint must be the given client. An empty client
-- means that the refresher names no client. Then the query counts the tokens of all clients at the provider. The same
-- holds for the next statements.
SELECT count(*) FROM (
    SELECT 1 FROM token_vault_token t
    JOIN token_vault_account a
        ON a.tenant_id = t.tenant_id AND a.provider = t.provider AND a.identifier = t.identifier
    WHERE t.provider = :provider AND t.kind = 'access_token' AND t.last_refreshed_at IS NOT NULL
        AND t.last_refreshed_at > :after
        AND (a.endpoint = :client OR a.endpoint IS NULL AND (length(:client) = 0 OR t.client = :client))
    LIMIT :limit)

-- name: count_client_rejections
-- Count the credentials that the provider rejected after the given time, except those of one account, up to a limit.
SELECT count(*) FROM (
    SELECT 1 FROM token_vault_token t
    JOIN token_vault_account a
        ON a.tenant_id = t.tenant_id AND a.provider = t.provider AND a.identifier = t.identifier
    WHERE t.provider = :provider AND t.status = 'invalid' AND t.rejected_at IS NOT NULL AND t.rejected_at > :after
        AND max(t.created_at, coalesce(t.last_refreshed_at, 0)) >= :restored_at
        AND (a.endpoint = :client
            OR a.endpoint IS NULL AND (length(:client) = 0 OR t.client IS NULL OR t.client = :client))
        AND NOT (t.tenant_id = :tenant_id AND t.identifier = :identifier)
    LIMIT :limit)

-- name: count_rejections_of_others
-- Count the credentials of other tenants that the provider rejected after the given time, up to a limit.
SELECT count(*) FROM (
    SELECT 1 FROM token_vault_token t
    JOIN token_vault_account a
        ON a.tenant_id = t.tenant_id AND a.provider = t.provider AND a.identifier = t.identifier
    WHERE t.provider = :provider AND t.status = 'invalid' AND t.rejected_at IS NOT NULL AND t.rejected_at > :after
        AND max(t.created_at, coalesce(t.last_refreshed_at, 0)) >= :restored_at
        AND (a.endpoint = :client
            OR a.endpoint IS NULL AND (length(:client) = 0 OR t.client IS NULL OR t.client = :client))
        AND t.tenant_id != :tenant_id
    LIMIT :limit)

-- name: count_other_tenants
-- Count other tenants with tokens: 0 if there are none, else 1 or 2.
SELECT EXISTS (SELECT 1 FROM token_vault_token WHERE tenant_id < :tenant_id)
    + EXISTS (SELECT 1 FROM token_vault_token WHERE tenant_id > :tenant_id)

-- name: find_rejections
-- Find the credentials that the provider rejected after the given time.
SELECT t.tenant_id, t.kind, t.identifier, t.generation, t.error_code FROM token_vault_token t
JOIN token_vault_account a
    ON a.tenant_id = t.tenant_id AND a.provider = t.provider AND a.identifier = t.identifier
WHERE t.provider = :provider AND t.status = 'invalid' AND t.rejected_at IS NOT NULL AND t.rejected_at > :after
        AND max(t.created_at, coalesce(t.last_refreshed_at, 0)) >= :restored_at
    AND (a.endpoint = :client
        OR a.endpoint IS NULL AND (length(:client) = 0 OR t.client IS NULL OR t.client = :client))
ORDER BY t.tenant_id, t.identifier, t.kind

-- name: wake_rejected_accounts
-- Make due the accounts of the credentials that find_rejections finds.
UPDATE token_vault_account SET due_at = :now
WHERE provider = :provider AND (tenant_id, identifier) IN (
    SELECT t.tenant_id, t.identifier FROM token_vault_token t
    JOIN token_vault_account a
        ON a.tenant_id = t.tenant_id AND a.provider = t.provider AND a.identifier = t.identifier
    WHERE t.provider = :provider AND t.status = 'invalid' AND t.rejected_at IS NOT NULL AND t.rejected_at > :after
        AND max(t.created_at, coalesce(t.last_refreshed_at, 0)) >= :restored_at
        AND (a.endpoint = :client
            OR a.endpoint IS NULL AND (length(:client) = 0 OR t.client IS NULL OR t.client = :client)))

-- name: take_back_rejections
-- Make valid again the credentials that find_rejections finds.
UPDATE token_vault_token SET status = 'valid', error_code = NULL, rejected_at = NULL, updated_at = :now
WHERE provider = :provider AND (tenant_id, kind, identifier) IN (
    SELECT t.tenant_id, t.kind, t.identifier FROM token_vault_token t
    JOIN token_vault_account a
        ON a.tenant_id = t.tenant_id AND a.provider = t.provider AND a.identifier = t.identifier
    WHERE t.provider = :provider AND t.status = 'invalid' AND t.rejected_at IS NOT NULL AND t.rejected_at > :after
        AND max(t.created_at, coalesce(t.last_refreshed_at, 0)) >= :restored_at
        AND (a.endpoint = :client
            OR a.endpoint IS NULL AND (length(:client) = 0 OR t.client IS NULL OR t.client = :client)))

-- name: get_restored_at
-- Get the latest time at which a backup went into use; NULL: never.
SELECT max(restored_at) FROM token_vault_restoration

-- name: put_restored_at
-- Store a time at which a backup went into use.
INSERT INTO token_vault_restoration (restored_at) VALUES (:restored_at) ON CONFLICT (restored_at) DO NOTHING

-- name: list_mass_rejections
-- List the providers with mass rejections, each with whether the client is paused.
SELECT provider, opened_at IS NOT NULL FROM token_vault_client_refusal WHERE reason = 'mass_rejection' ORDER BY provider

-- name: delete_mass_rejections
-- Forget the mass rejections of all clients.
DELETE FROM token_vault_client_refusal WHERE reason = 'mass_rejection'

-- name: wake_spared_accounts
-- Make due, without a backoff, the accounts whose latest failure was a rejection that condemned nothing.
UPDATE token_vault_account SET due_at = :now, next_attempt_at = NULL
WHERE failures > 0 AND error_code = 'mass_rejection'
