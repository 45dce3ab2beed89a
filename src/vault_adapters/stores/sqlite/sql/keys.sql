-- name: list_master_keys
-- List all master key records, each with the last event about it, and with the last activation of any master key.
SELECT m.master_key_id, {{text m.provider}}, {{uri}}, {{kdf}}, {{bytes 64 m.check_value}}, {{text m.state}}, m.created_at, {{last_event}}, {{last_activated}}
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

-- name: get_data_key
-- Get one data key of a tenant, or its active one if no id is given, with its wraps. Wraps under retired master keys are
-- left out.
SELECT d.tenant_id, d.data_key_id, d.state, d.emptied_at, {{data_key_event}}, w.master_key_id, {{wrapped}}
FROM token_vault_data_key d
LEFT JOIN token_vault_data_key_wrap w ON w.tenant_id = d.tenant_id AND w.data_key_id = d.data_key_id AND {{usable_wrap}}
WHERE d.tenant_id = :tenant_id AND (d.data_key_id = :data_key_id OR :data_key_id IS NULL AND d.state = 'active')

-- name: list_data_keys
-- List data keys after a position, each with its wraps, and with whether a token uses it, if that is asked for. Wraps
-- under retired master keys are left out, unless data keys are asked for that a master key wraps.
WITH page AS (
    SELECT d.tenant_id, d.data_key_id, d.state, d.emptied_at, {{data_key_event}} AS action,
        :with_use AND EXISTS (
            SELECT 1 FROM token_vault_token t WHERE t.tenant_id = d.tenant_id AND t.data_key_id = d.data_key_id) AS is_used
    FROM token_vault_data_key d
    LEFT JOIN token_vault_data_key_wrap o
        ON o.tenant_id = d.tenant_id AND o.data_key_id = d.data_key_id AND o.master_key_id = :master_key_id
    WHERE (d.tenant_id, d.data_key_id) > (:after_tenant_id, :after_data_key_id)
        AND d.state IN (:state, :other_state)
        AND (:tenant_id IS NULL OR d.tenant_id = :tenant_id)
        AND (:data_key_id IS NULL OR d.data_key_id = :data_key_id)
        AND (:age IS NULL OR d.created_at <= :now - :age)
        AND (:empty_age IS NULL OR d.emptied_at <= :now - :empty_age)
        AND (:is_emptied IS NULL OR :is_emptied = (d.emptied_at IS NOT NULL))
        AND (:is_wrapped IS NULL OR :is_wrapped = (o.master_key_id IS NOT NULL))
    ORDER BY d.tenant_id, d.data_key_id
    LIMIT :limit)
SELECT p.tenant_id, p.data_key_id, p.state, p.emptied_at, p.action, p.is_used, w.master_key_id, {{wrapped}}
FROM page p
LEFT JOIN token_vault_data_key_wrap w
    ON w.tenant_id = p.tenant_id AND w.data_key_id = p.data_key_id AND (:is_wrapped OR {{usable_wrap}})
ORDER BY p.tenant_id, p.data_key_id, w.master_key_id

-- name: insert_data_key
-- Store a tenant's active data key.
INSERT INTO token_vault_data_key (tenant_id, data_key_id, state, created_at)
VALUES (:tenant_id, :data_key_id, 'active', :now)

-- name: put_data_key
-- Store what was decided about a data key.
UPDATE token_vault_data_key SET state = :state, emptied_at = :emptied_at
WHERE tenant_id = :tenant_id AND data_key_id = :data_key_id

-- name: count_data_keys
-- Count data keys by state, and by the event that confirms a state.
SELECT state, action, count(*)
FROM (
    SELECT d.state, {{data_key_event}} AS action
    FROM token_vault_data_key d
    WHERE d.state != 'destroyed'
        AND (:tenant_id IS NULL OR d.tenant_id = :tenant_id)
    )
GROUP BY state, action
UNION ALL
SELECT 'destroyed', NULL, count(*) FROM token_vault_data_key
WHERE state = 'destroyed' AND (:tenant_id IS NULL OR tenant_id = :tenant_id)

-- name: count_wraps
-- Count the data keys that each master key wraps.
SELECT master_key_id, count(*) FROM token_vault_data_key_wrap
WHERE :tenant_id IS NULL OR tenant_id = :tenant_id
GROUP BY master_key_id

-- name: count_tokens
-- Count data keys of a state and of at least the given age, and the tokens under them. Emptied
-- data keys are skipped, because each of them would make the query read all tokens of its tenant again.
SELECT 'data_keys', count(*) FROM token_vault_data_key d
WHERE d.state = :state AND d.emptied_at IS NULL AND d.created_at <= :now - :age
    AND (:tenant_id IS NULL OR d.tenant_id = :tenant_id)
UNION ALL
SELECT 'tokens', count(*)
FROM token_vault_data_key d
JOIN token_vault_token t ON t.tenant_id = d.tenant_id AND t.data_key_id = d.data_key_id
WHERE d.state = :state AND d.emptied_at IS NULL AND d.created_at <= :now - :age
    AND (:tenant_id IS NULL OR d.tenant_id = :tenant_id)

-- name: find_rows_to_reseal
-- After a position, find tokens under decrypt_only data keys, of all tenants or of one. CROSS JOIN fixes the order of
-- the loops, because the other order would read and sort all remaining tokens for every page. The position is of the
-- tenant, if one is given; with = instead of <=, SQLite would search the tenant's tokens for it from the first.
SELECT t.tenant_id, t.provider, t.kind, t.identifier, {{value_columns}}
FROM token_vault_token t
CROSS JOIN token_vault_data_key d ON d.tenant_id = t.tenant_id AND d.data_key_id = t.data_key_id AND d.state = 'decrypt_only'
WHERE (t.tenant_id, t.provider, t.identifier, t.kind)
    > (:after_tenant_id, :after_provider, :after_identifier, :after_kind)
    AND (:tenant_id IS NULL OR t.tenant_id <= :tenant_id)
ORDER BY t.tenant_id, t.provider, t.identifier, t.kind
LIMIT :limit

-- name: reseal_token
-- Replace a sealed value, if the row still holds exactly the value that was opened; the rest of the row stays.
UPDATE token_vault_token SET data_key_id = :data_key_id, blob = :blob, extra = :extra
WHERE tenant_id = :tenant_id AND provider = :provider AND kind = :kind AND identifier = :identifier
    AND data_key_id = :before_data_key_id AND blob = :before

-- name: add_wrap
-- Store a missing wrap, unless the data key is destroyed.
INSERT INTO token_vault_data_key_wrap (tenant_id, data_key_id, master_key_id, wrapped)
SELECT tenant_id, data_key_id, :master_key_id, :wrapped
FROM token_vault_data_key
WHERE tenant_id = :tenant_id AND data_key_id = :data_key_id AND state != 'destroyed'
ON CONFLICT (tenant_id, data_key_id, master_key_id) DO NOTHING

-- name: delete_wraps
-- Delete a data key's wrap under the replaced master key, if the wrap to keep is stored unchanged; or all its wraps.
DELETE FROM token_vault_data_key_wrap
WHERE tenant_id = :tenant_id AND data_key_id = :data_key_id AND (:replaced IS NULL OR master_key_id = :replaced AND EXISTS (
    SELECT 1 FROM token_vault_data_key_wrap k
    WHERE k.tenant_id = :tenant_id AND k.data_key_id = :data_key_id AND k.master_key_id = :master_key_id AND k.wrapped = :wrapped))
