-- name: use_state
-- Record that a state was used, unless it was used before.
INSERT INTO token_vault_used_state (state_id, expires_at) VALUES (:state_id, :expires_at)
ON CONFLICT (state_id) DO NOTHING

-- name: delete_expired_states
-- Delete the records of states that have expired.
DELETE FROM token_vault_used_state WHERE expires_at <= :now
