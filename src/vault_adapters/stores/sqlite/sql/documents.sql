-- name: get_document
-- Get a sealed document by its name; one that is longer than a value can be is left out.
SELECT data_key_id, blob FROM token_vault_document WHERE name = :name AND length(blob) <= 66560

-- name: put_document
-- Keep a sealed document in place of the one with its name.
INSERT INTO token_vault_document (name, data_key_id, blob) VALUES (:name, :data_key_id, :blob)
ON CONFLICT (name) DO UPDATE SET data_key_id = excluded.data_key_id, blob = excluded.blob
