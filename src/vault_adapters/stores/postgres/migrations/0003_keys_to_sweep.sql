-- Re-encryption walks the data keys that are to be swept tenant by tenant; without an index of its own each of its
-- pages would read and sort all of them.
CREATE INDEX dek_to_sweep ON {{schema}}.dek (tenant_id, dek_id) WHERE state = 'decrypt_only' AND swept_at IS NULL;
