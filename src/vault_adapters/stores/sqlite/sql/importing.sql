-- name: get_import_state
-- For an import, get the rows of some keys. The keys are a JSON array of [tenant_id, provider, kind, identifier].
SELECT t.tenant_id, t.provider, t.kind, t.identifier, t.id, t.generation, t.updated_at
FROM json_each(:keys) k
CROSS JOIN token_vault_token t
    ON t.tenant_id = json_extract(k.value, '$[0]') AND t.provider = json_extract(k.value, '$[1]')
    AND t.kind = json_extract(k.value, '$[2]') AND t.identifier = json_extract(k.value, '$[3]')

-- name: import_token
-- Insert one imported value, or replace the stored value. In both cases, the token gets a new id and generation 1.
INSERT INTO token_vault_token (
    tenant_id, provider, kind, identifier, id, value_id, data_key_id, blob, extra, status, error_code, expires_at,
    lifetime, scopes, generation, last_refreshed_at, created_at, updated_at, {{plain $name}})
VALUES (
    :tenant_id, :provider, :kind, :identifier, :id, :id, :data_key_id, :blob, :extra, :status, :error_code, :expires_at,
    NULL, :scopes, 1, :last_refreshed_at, :created_at, :updated_at, {{plain :$name}})
ON CONFLICT (tenant_id, provider, kind, identifier) DO UPDATE SET
    id = excluded.id, value_id = excluded.value_id, data_key_id = excluded.data_key_id, blob = excluded.blob, extra = excluded.extra,
    status = excluded.status, error_code = excluded.error_code, expires_at = excluded.expires_at, lifetime = NULL,
    scopes = excluded.scopes, suspect_since = NULL, rejected_at = NULL, {{plain $name = excluded.$name}},
    generation = 1, created_at = excluded.created_at, updated_at = excluded.updated_at,
    last_refreshed_at = coalesce(excluded.last_refreshed_at, :replaced_at, token_vault_token.last_refreshed_at)
