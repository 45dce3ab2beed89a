-- name: list_clients
-- List the records of refused clients at a provider, or at all providers. One further row holds only the latest time at
-- which a backup went into use; NULL: never.
SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, (SELECT max(restored_at) FROM token_vault_restoration)
UNION ALL
SELECT provider, client, reason, {{bytes 64 marks}}, since, refused_at, opened_at, probe_at FROM token_vault_client_refusal
WHERE :provider IS NULL OR provider = :provider

-- name: put_client
-- Store the record of one scope.
INSERT INTO token_vault_client_refusal (provider, client, reason, marks, since, refused_at, opened_at, probe_at)
VALUES (:provider, :client, :reason, :marks, :since, :refused_at, :opened_at, :probe_at)
ON CONFLICT (provider, client, reason) DO UPDATE SET
    marks = excluded.marks, since = excluded.since, refused_at = excluded.refused_at,
    opened_at = excluded.opened_at, probe_at = excluded.probe_at

-- name: delete_client
-- Delete the record of one scope.
DELETE FROM token_vault_client_refusal WHERE provider = :provider AND client = :client AND reason = :reason

-- name: get_client_turn
-- Get the time from which all processes compute when a client's next token request may be sent; see `next_turn` in the
-- module `rules.pacing` of the domain.
SELECT free_at, reserved FROM token_vault_client_turn WHERE provider = :provider AND client = :client

-- name: put_client_turn
-- Store the time and the reserved turns that get_client_turn gets.
INSERT INTO token_vault_client_turn (provider, client, free_at, reserved)
VALUES (:provider, :client, :free_at, :reserved)
ON CONFLICT (provider, client) DO UPDATE SET free_at = excluded.free_at, reserved = excluded.reserved

-- name: put_restored_at
-- Store a time at which a backup went into use.
INSERT INTO token_vault_restoration (restored_at) VALUES (:restored_at) ON CONFLICT (restored_at) DO NOTHING
