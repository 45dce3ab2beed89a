-- name: count_data_keys
-- How many data keys are in which state.
SELECT state, count(*) FROM token_vault_data_key
WHERE :tenant_id IS NULL OR tenant_id = :tenant_id
GROUP BY state

-- name: count_wraps
-- How many data keys each master key wraps.
SELECT master_key_id, count(*) FROM token_vault_data_key_wrap
WHERE :tenant_id IS NULL OR tenant_id = :tenant_id
GROUP BY master_key_id

-- name: count_rows_to_reseal
-- How many tokens are under data keys that only decrypt. Those that were emptied are passed over: with each of them
-- all tokens of its tenant would be read again.
SELECT count(*)
FROM token_vault_data_key d
JOIN token_vault_token t ON t.tenant_id = d.tenant_id AND t.data_key_id = d.data_key_id
WHERE d.state = 'decrypt_only' AND d.emptied_at IS NULL AND (:tenant_id IS NULL OR d.tenant_id = :tenant_id)

-- name: list_live_master_keys
-- The ids of master keys that are not retired.
SELECT master_key_id FROM token_vault_master_key WHERE state != 'retired'

-- name: count_data_keys_to_rotate
-- How many active data keys were made before a time.
SELECT count(*) FROM token_vault_data_key WHERE state = 'active' AND created_at <= :until

-- name: find_data_keys_to_rotate
-- Those data keys, behind a tenant.
SELECT tenant_id, data_key_id FROM token_vault_data_key
WHERE state = 'active' AND tenant_id > :after AND created_at <= :until
ORDER BY tenant_id
LIMIT :limit

-- name: demote_data_key
-- A tenant's active data key only decrypts from now on.
UPDATE token_vault_data_key SET state = 'decrypt_only'
WHERE tenant_id = :tenant_id AND data_key_id = :replaced AND state = 'active'

-- name: find_rows_to_reseal
-- Tokens under data keys that only decrypt, behind a position. CROSS JOIN fixes the order of the loops: the other way
-- round every page would read and sort all that is left.
SELECT t.tenant_id, t.provider, t.kind, t.identifier, {{value_columns}}
FROM token_vault_token t
CROSS JOIN token_vault_data_key d ON d.tenant_id = t.tenant_id AND d.data_key_id = t.data_key_id AND d.state = 'decrypt_only'
WHERE (t.tenant_id, t.provider, t.kind, t.identifier)
    > (:after_tenant_id, :after_provider, :after_kind, :after_identifier)
ORDER BY t.tenant_id, t.provider, t.kind, t.identifier
LIMIT :limit

-- name: find_tenant_rows_to_reseal
-- The same for one tenant.
SELECT t.tenant_id, t.provider, t.kind, t.identifier, {{value_columns}}
FROM token_vault_token t
CROSS JOIN token_vault_data_key d ON d.tenant_id = t.tenant_id AND d.data_key_id = t.data_key_id AND d.state = 'decrypt_only'
WHERE t.tenant_id = :tenant_id
    AND (t.provider, t.kind, t.identifier) > (:after_provider, :after_kind, :after_identifier)
ORDER BY t.provider, t.kind, t.identifier
LIMIT :limit

-- name: reseal_token
-- Replace a sealed value, if the row still holds exactly the one that was opened; nothing else of it changes.
UPDATE token_vault_token SET data_key_id = :data_key_id, blob = :blob
WHERE tenant_id = :tenant_id AND provider = :provider AND kind = :kind AND identifier = :identifier
    AND data_key_id = :before_data_key_id AND blob = :before

-- name: mark_emptied
-- Note the time on data keys that only decrypt and that no token is under any more.
UPDATE token_vault_data_key SET emptied_at = :now
WHERE state = 'decrypt_only' AND emptied_at IS NULL AND (:tenant_id IS NULL OR tenant_id = :tenant_id)
    AND NOT EXISTS (
        SELECT 1 FROM token_vault_token t
        WHERE t.tenant_id = token_vault_data_key.tenant_id AND t.data_key_id = token_vault_data_key.data_key_id)

-- name: find_emptied
-- Data keys that were emptied before a time, and whether tokens are under them again.
SELECT tenant_id, data_key_id, EXISTS (
    SELECT 1 FROM token_vault_token t
    WHERE t.tenant_id = token_vault_data_key.tenant_id AND t.data_key_id = token_vault_data_key.data_key_id)
FROM token_vault_data_key
WHERE state = 'decrypt_only' AND emptied_at <= :until AND (:tenant_id IS NULL OR tenant_id = :tenant_id)
ORDER BY tenant_id, data_key_id

-- name: clear_emptied
-- A data key that has tokens again, from a backup that was restored in part, is to be emptied again.
UPDATE token_vault_data_key SET emptied_at = NULL WHERE tenant_id = :tenant_id AND data_key_id = :data_key_id

-- name: destroy_data_key
-- A data key becomes a tombstone, once its wraps are gone.
UPDATE token_vault_data_key SET state = 'destroyed' WHERE tenant_id = :tenant_id AND data_key_id = :data_key_id

-- name: delete_data_key_wraps
-- Delete all wraps of a data key.
DELETE FROM token_vault_data_key_wrap WHERE tenant_id = :tenant_id AND data_key_id = :data_key_id

-- name: demote_master_key
-- The active master key only unwraps from now on, if another may take its place.
UPDATE token_vault_master_key SET state = 'unwrap_only'
WHERE master_key_id = :replaced AND state = 'active'
    AND EXISTS (SELECT 1 FROM token_vault_master_key WHERE master_key_id = :master_key_id AND state = 'unwrap_only')

-- name: promote_master_key
-- A master key takes the place of the active one, which was demoted in the same transaction.
UPDATE token_vault_master_key SET state = 'active' WHERE master_key_id = :master_key_id

-- name: find_data_keys_without_wrap
-- Data keys that a master key does not wrap, behind a position, with the wraps that they have.
WITH page AS (
    SELECT tenant_id, data_key_id, state, emptied_at FROM token_vault_data_key d
    WHERE state != 'destroyed' AND (tenant_id, data_key_id) > (:after_tenant_id, :after_data_key_id)
        AND NOT EXISTS (
            SELECT 1 FROM token_vault_data_key_wrap w
            WHERE w.tenant_id = d.tenant_id AND w.data_key_id = d.data_key_id AND w.master_key_id = :master_key_id)
    ORDER BY tenant_id, data_key_id
    LIMIT :limit)
SELECT p.tenant_id, p.data_key_id, p.state, p.emptied_at, w.master_key_id, w.wrapped
FROM page p
LEFT JOIN token_vault_data_key_wrap w USING (tenant_id, data_key_id)
ORDER BY p.tenant_id, p.data_key_id, w.master_key_id

-- name: find_data_keys_with_wrap
-- Data keys that a master key wraps, behind a position, with all their wraps.
WITH page AS (
    SELECT d.tenant_id, d.data_key_id, d.state, d.emptied_at
    FROM token_vault_data_key d
    JOIN token_vault_data_key_wrap w ON w.tenant_id = d.tenant_id AND w.data_key_id = d.data_key_id AND w.master_key_id = :master_key_id
    WHERE (d.tenant_id, d.data_key_id) > (:after_tenant_id, :after_data_key_id)
    ORDER BY d.tenant_id, d.data_key_id
    LIMIT :limit)
SELECT p.tenant_id, p.data_key_id, p.state, p.emptied_at, w.master_key_id, w.wrapped
FROM page p
JOIN token_vault_data_key_wrap w USING (tenant_id, data_key_id)
ORDER BY p.tenant_id, p.data_key_id, w.master_key_id

-- name: add_wrap
-- A wrap of a data key, unless it has one, or was destroyed, or the master key was retired.
INSERT INTO token_vault_data_key_wrap (tenant_id, data_key_id, master_key_id, wrapped)
SELECT d.tenant_id, d.data_key_id, k.master_key_id, :wrapped
FROM token_vault_data_key d
JOIN token_vault_master_key k ON k.master_key_id = :master_key_id AND k.state != 'retired'
WHERE d.tenant_id = :tenant_id AND d.data_key_id = :data_key_id AND d.state != 'destroyed'
ON CONFLICT (tenant_id, data_key_id, master_key_id) DO NOTHING

-- name: delete_wrap
-- Delete a data key's wrap under one master key, where exactly this wrap under the active one is there.
DELETE FROM token_vault_data_key_wrap
WHERE tenant_id = :tenant_id AND data_key_id = :data_key_id AND master_key_id = :replaced AND :replaced != :master_key_id
    AND EXISTS (SELECT 1 FROM token_vault_master_key WHERE master_key_id = :master_key_id AND state = 'active')
    AND EXISTS (
        SELECT 1 FROM token_vault_data_key_wrap k
        WHERE k.tenant_id = :tenant_id AND k.data_key_id = :data_key_id AND k.master_key_id = :master_key_id AND k.wrapped = :wrapped)

-- name: retire_master_key
-- Retire a master key that is not active and wraps nothing.
UPDATE token_vault_master_key SET state = 'retired'
WHERE master_key_id = :master_key_id AND state = 'unwrap_only'
    AND NOT EXISTS (SELECT 1 FROM token_vault_data_key_wrap w WHERE w.master_key_id = :master_key_id)

-- name: is_retired
-- Whether a master key is retired.
SELECT count(*) FROM token_vault_master_key WHERE master_key_id = :master_key_id AND state = 'retired'
