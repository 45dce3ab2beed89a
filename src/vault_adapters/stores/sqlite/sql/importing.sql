-- name: get_import_state
-- For an import, get the rows of some keys. The keys are a JSON array of [tenant_id, provider, kind, identifier].
SELECT t.tenant_id, t.provider, t.kind, t.identifier, t.id, t.generation, t.updated_at, t.last_refreshed_at
FROM json_each(:keys) k
CROSS JOIN token_vault_token t
    ON t.tenant_id = json_extract(k.value, '$[0]') AND t.provider = json_extract(k.value, '$[1]')
    AND t.kind = json_extract(k.value, '$[2]') AND t.identifier = json_extract(k.value, '$[3]')
