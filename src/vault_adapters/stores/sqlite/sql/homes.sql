-- name: get_home
-- Get the recorded home, if there is one.
SELECT {{text 4096 places}}, {{text deployment}} FROM token_vault_home

-- name: record_home
-- Record the home, unless it is another one than the given one; without a given one, unless there is a record. With
-- `anyway`, record it in place of any other.
INSERT INTO token_vault_home (only_row, places, deployment, since) VALUES (1, :places, :deployment, :now)
ON CONFLICT (only_row) DO UPDATE SET
    places = excluded.places, deployment = excluded.deployment, since = excluded.since
    WHERE :anyway OR places = :instead_places AND deployment IS :instead_deployment
