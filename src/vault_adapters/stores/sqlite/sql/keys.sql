-- name: list_master_keys
-- List all master key records.
SELECT m.master_key_id, m.provider, {{uri}}, {{kdf}}, m.check_value, m.state, m.created_at, {{confirmed_master_key}}
FROM token_vault_master_key m
ORDER BY m.created_at, m.master_key_id

-- name: has_data
-- Tell whether there are data keys or tokens.
SELECT EXISTS (SELECT 1 FROM token_vault_data_key) OR EXISTS (SELECT 1 FROM token_vault_token)

-- name: put_master_key
-- Store a master key, or the new state of one.
INSERT INTO token_vault_master_key (master_key_id, provider, uri, kdf, check_value, state, created_at)
VALUES (:master_key_id, :provider, :uri, :kdf, :check_value, :state, :created_at)
ON CONFLICT (master_key_id) DO UPDATE SET state = excluded.state

-- name: get_active_data_key
-- Get a tenant's active data key with its wraps. Wraps under retired master keys are left out.
SELECT d.tenant_id, d.data_key_id, d.state, d.emptied_at, {{confirmed_data_key}}, w.master_key_id, {{wrapped}}
FROM token_vault_data_key d
LEFT JOIN token_vault_data_key_wrap w ON w.tenant_id = d.tenant_id AND w.data_key_id = d.data_key_id AND {{usable_wrap}}
WHERE d.tenant_id = :tenant_id AND d.state = 'active'

-- name: get_data_key
-- Get one data key of a tenant with its wraps. Wraps under retired master keys are left out.
SELECT d.tenant_id, d.data_key_id, d.state, d.emptied_at, {{confirmed_data_key}}, w.master_key_id, {{wrapped}}
FROM token_vault_data_key d
LEFT JOIN token_vault_data_key_wrap w ON w.tenant_id = d.tenant_id AND w.data_key_id = d.data_key_id AND {{usable_wrap}}
WHERE d.tenant_id = :tenant_id AND d.data_key_id = :data_key_id

-- name: insert_data_key
-- Store a tenant's active data key, unless there is one.
INSERT INTO token_vault_data_key (tenant_id, data_key_id, state, created_at)
SELECT :tenant_id, :data_key_id, 'active', :now
WHERE NOT EXISTS (SELECT 1 FROM token_vault_data_key WHERE tenant_id = :tenant_id AND state = 'active')

-- name: insert_data_key_wrap
-- Store a data key's wrap under one master key.
INSERT INTO token_vault_data_key_wrap (tenant_id, data_key_id, master_key_id, wrapped)
VALUES (:tenant_id, :data_key_id, :master_key_id, :wrapped)
