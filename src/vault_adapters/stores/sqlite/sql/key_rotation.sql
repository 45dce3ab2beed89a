-- name: count_data_keys
-- Count data keys by state.
SELECT state, count(*) FROM token_vault_data_key
WHERE :tenant_id IS NULL OR tenant_id = :tenant_id
GROUP BY state

-- name: count_wraps
-- Count the data keys that each master key wraps.
SELECT master_key_id, count(*) FROM token_vault_data_key_wrap
WHERE :tenant_id IS NULL OR tenant_id = :tenant_id
GROUP BY master_key_id

-- name: count_rows_to_reseal
-- Count tokens under decrypt_only data keys. Emptied data keys are skipped, because each of them would make the query
-- read all tokens of its tenant again.
SELECT count(*)
FROM token_vault_data_key d
JOIN token_vault_token t ON t.tenant_id = d.tenant_id AND t.data_key_id = d.data_key_id
WHERE d.state = 'decrypt_only' AND d.emptied_at IS NULL AND (:tenant_id IS NULL OR d.tenant_id = :tenant_id)

-- name: count_resurrected_data_keys
-- Count the resurrected data keys. States have the order active, decrypt_only, destroyed. A data key is resurrected if
-- the audit log confirms a later state than the stored one.
SELECT count(*) FROM (
    SELECT d.state, {{confirmed_data_key}} AS confirmed
    FROM token_vault_data_key d
    WHERE d.state != 'destroyed' AND (:tenant_id IS NULL OR d.tenant_id = :tenant_id))
WHERE confirmed = 'destroyed' OR (confirmed = 'decrypt_only' AND state = 'active')

-- name: find_active_master_key
-- Find the id of the active master key, unless the audit log contradicts its state.
SELECT m.master_key_id FROM token_vault_master_key m
WHERE m.state = 'active' AND coalesce({{confirmed_master_key}}, 'active') = 'active'

-- name: count_data_keys_to_rotate
-- Count the active data keys that were created no later than a given time.
SELECT count(*) FROM token_vault_data_key WHERE state = 'active' AND created_at <= :until

-- name: count_tokens_to_rotate
-- Count the tokens, of all tenants or of one, under active data keys that were created no later than a given time.
SELECT count(*)
FROM token_vault_data_key d
JOIN token_vault_token t ON t.tenant_id = d.tenant_id AND t.data_key_id = d.data_key_id
WHERE d.state = 'active' AND d.created_at <= :until AND (:tenant_id IS NULL OR d.tenant_id = :tenant_id)

-- name: find_data_keys_to_rotate
-- Find the active data keys that were created no later than a given time; begin after a given tenant.
SELECT tenant_id, data_key_id FROM token_vault_data_key
WHERE state = 'active' AND tenant_id > :after AND created_at <= :until
ORDER BY tenant_id
LIMIT :limit

-- name: demote_data_key
-- Make a tenant's active data key decrypt_only.
UPDATE token_vault_data_key SET state = 'decrypt_only'
WHERE tenant_id = :tenant_id AND data_key_id = :replaced AND state = 'active'

-- name: find_rows_to_reseal
-- After a position, find tokens under decrypt_only data keys. CROSS JOIN fixes the order of the loops, because the
-- other order would read and sort all remaining tokens for every page.
SELECT t.tenant_id, t.provider, t.kind, t.identifier, {{value_columns}}
FROM token_vault_token t
CROSS JOIN token_vault_data_key d ON d.tenant_id = t.tenant_id AND d.data_key_id = t.data_key_id AND d.state = 'decrypt_only'
WHERE (t.tenant_id, t.provider, t.identifier, t.kind)
    > (:after_tenant_id, :after_provider, :after_identifier, :after_kind)
ORDER BY t.tenant_id, t.provider, t.identifier, t.kind
LIMIT :limit

-- name: find_tenant_rows_to_reseal
-- After a position, find one tenant's tokens under decrypt_only data keys.
SELECT t.tenant_id, t.provider, t.kind, t.identifier, {{value_columns}}
FROM token_vault_token t
CROSS JOIN token_vault_data_key d ON d.tenant_id = t.tenant_id AND d.data_key_id = t.data_key_id AND d.state = 'decrypt_only'
WHERE t.tenant_id = :tenant_id
    AND (t.provider, t.identifier, t.kind) > (:after_provider, :after_identifier, :after_kind)
ORDER BY t.provider, t.identifier, t.kind
LIMIT :limit

-- name: reseal_token
-- Replace a sealed value, if the row still holds exactly the value that was opened; the rest of the row stays.
UPDATE token_vault_token SET data_key_id = :data_key_id, blob = :blob, extra = :extra
WHERE tenant_id = :tenant_id AND provider = :provider AND kind = :kind AND identifier = :identifier
    AND data_key_id = :before_data_key_id AND blob = :before

-- name: mark_emptied
-- Set emptied_at on decrypt_only data keys that no token uses.
UPDATE token_vault_data_key SET emptied_at = :now
WHERE state = 'decrypt_only' AND emptied_at IS NULL AND (:tenant_id IS NULL OR tenant_id = :tenant_id)
    AND NOT EXISTS (
        SELECT 1 FROM token_vault_token t
        WHERE t.tenant_id = token_vault_data_key.tenant_id AND t.data_key_id = token_vault_data_key.data_key_id)

-- name: find_emptied
-- Find data keys that were emptied no later than a given time, and whether tokens use them again. A damaged data key is
-- left out, because tokens may need it once its id is repaired.
SELECT tenant_id, data_key_id, EXISTS (
    SELECT 1 FROM token_vault_token t
    WHERE t.tenant_id = token_vault_data_key.tenant_id AND t.data_key_id = token_vault_data_key.data_key_id)
FROM token_vault_data_key
WHERE state = 'decrypt_only' AND emptied_at <= :until AND (:tenant_id IS NULL OR tenant_id = :tenant_id)
    AND typeof(tenant_id) = 'text' AND typeof(data_key_id) = 'blob' AND length(data_key_id) = 16
ORDER BY tenant_id, data_key_id
LIMIT :limit

-- name: clear_emptied
-- Clear emptied_at of a data key that tokens use again, for example after a backup was restored in part.
UPDATE token_vault_data_key SET emptied_at = NULL WHERE tenant_id = :tenant_id AND data_key_id = :data_key_id

-- name: destroy_data_key
-- Make a data key a tombstone, after its wraps were deleted.
UPDATE token_vault_data_key SET state = 'destroyed'
WHERE tenant_id = :tenant_id AND data_key_id = :data_key_id AND state = 'decrypt_only'

-- name: delete_data_key_wraps
-- Delete all wraps of a data key.
DELETE FROM token_vault_data_key_wrap WHERE tenant_id = :tenant_id AND data_key_id = :data_key_id

-- name: find_data_keys_without_wrap
-- Find data keys that are not destroyed and have no wrap under the given master key, after a position. Each comes with
-- its wraps, except for wraps under retired master keys.
WITH page AS (
    SELECT tenant_id, data_key_id, state, emptied_at, {{confirmed_data_key}} AS confirmed FROM token_vault_data_key d
    WHERE state != 'destroyed' AND (tenant_id, data_key_id) > (:after_tenant_id, :after_data_key_id)
        AND NOT EXISTS (
            SELECT 1 FROM token_vault_data_key_wrap w
            WHERE w.tenant_id = d.tenant_id AND w.data_key_id = d.data_key_id AND w.master_key_id = :master_key_id)
    ORDER BY tenant_id, data_key_id
    LIMIT :limit)
SELECT p.tenant_id, p.data_key_id, p.state, p.emptied_at, p.confirmed, w.master_key_id, {{wrapped}}
FROM page p
LEFT JOIN token_vault_data_key_wrap w ON w.tenant_id = p.tenant_id AND w.data_key_id = p.data_key_id AND {{usable_wrap}}
ORDER BY p.tenant_id, p.data_key_id, w.master_key_id

-- name: find_data_keys_with_wrap
-- Find data keys that the given master key wraps, after a position, with all their wraps.
WITH page AS (
    SELECT d.tenant_id, d.data_key_id, d.state, d.emptied_at, {{confirmed_data_key}} AS confirmed
    FROM token_vault_data_key d
    JOIN token_vault_data_key_wrap w ON w.tenant_id = d.tenant_id AND w.data_key_id = d.data_key_id AND w.master_key_id = :master_key_id
    WHERE (d.tenant_id, d.data_key_id) > (:after_tenant_id, :after_data_key_id)
    ORDER BY d.tenant_id, d.data_key_id
    LIMIT :limit)
SELECT p.tenant_id, p.data_key_id, p.state, p.emptied_at, p.confirmed, w.master_key_id, {{wrapped}}
FROM page p
JOIN token_vault_data_key_wrap w USING (tenant_id, data_key_id)
ORDER BY p.tenant_id, p.data_key_id, w.master_key_id

-- name: add_wrap
-- Store a missing wrap under the active master key, unless the data key is destroyed. A master key does not count as
-- active if the audit log contradicts its state.
INSERT INTO token_vault_data_key_wrap (tenant_id, data_key_id, master_key_id, wrapped)
SELECT d.tenant_id, d.data_key_id, m.master_key_id, :wrapped
FROM token_vault_data_key d
JOIN token_vault_master_key m ON m.master_key_id = :master_key_id AND m.state = 'active'
    AND coalesce({{confirmed_master_key}}, 'active') = 'active'
WHERE d.tenant_id = :tenant_id AND d.data_key_id = :data_key_id AND d.state != 'destroyed'
ON CONFLICT (tenant_id, data_key_id, master_key_id) DO NOTHING

-- name: delete_wrap
-- Delete a data key's wrap under the replaced master key. The caller gives another wrap of this data key. The delete
-- requires that this other wrap is stored unchanged, and that its master key is active.
DELETE FROM token_vault_data_key_wrap
WHERE tenant_id = :tenant_id AND data_key_id = :data_key_id AND master_key_id = :replaced AND :replaced != :master_key_id
    AND EXISTS (SELECT 1 FROM token_vault_master_key WHERE master_key_id = :master_key_id AND state = 'active')
    AND EXISTS (
        SELECT 1 FROM token_vault_data_key_wrap k
        WHERE k.tenant_id = :tenant_id AND k.data_key_id = :data_key_id AND k.master_key_id = :master_key_id AND k.wrapped = :wrapped)
