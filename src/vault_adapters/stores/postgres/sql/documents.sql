-- name: get_document
-- Get a sealed document by its name; one that is longer than a value can be is left out.
SELECT data_key_id, blob FROM {{schema}}.document WHERE name = %(name)b::bytea AND octet_length(blob) <= 66560

-- name: put_document
-- Keep a sealed document in place of the one with its name.
INSERT INTO {{schema}}.document (name, data_key_id, blob)
VALUES (%(name)b::bytea, %(data_key_id)b::bytea, %(blob)b::bytea)
ON CONFLICT (name) DO UPDATE SET data_key_id = excluded.data_key_id, blob = excluded.blob
RETURNING name
