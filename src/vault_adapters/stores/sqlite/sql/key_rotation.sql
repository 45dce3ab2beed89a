-- name: count_data_keys
-- How many data keys are in which state.
SELECT state, count(*) FROM token_vault_dek
WHERE :tenant_id IS NULL OR tenant_id = :tenant_id
GROUP BY state

-- name: count_wraps
-- How many data keys each master key wraps.
SELECT kek_id, count(*) FROM token_vault_dek_wrap
WHERE :tenant_id IS NULL OR tenant_id = :tenant_id
GROUP BY kek_id

-- name: count_rows_to_reseal
-- How many tokens are under data keys that only decrypt. Those that were swept are passed over: with each of them
-- all tokens of its tenant would be read again.
SELECT count(*)
FROM token_vault_dek d
JOIN token_vault_token t ON t.tenant_id = d.tenant_id AND t.dek_id = d.dek_id
WHERE d.state = 'decrypt_only' AND d.swept_at IS NULL AND (:tenant_id IS NULL OR d.tenant_id = :tenant_id)

-- name: list_live_master_keys
-- The ids of master keys that are not retired.
SELECT kek_id FROM token_vault_kek WHERE state != 'retired'

-- name: count_data_keys_to_rotate
-- How many active data keys were made before a time.
SELECT count(*) FROM token_vault_dek WHERE state = 'active' AND created_at <= :until

-- name: find_data_keys_to_rotate
-- Those data keys, behind a tenant.
SELECT tenant_id, dek_id FROM token_vault_dek
WHERE state = 'active' AND tenant_id > :after AND created_at <= :until
ORDER BY tenant_id
LIMIT :limit

-- name: demote_data_key
-- A tenant's active data key only decrypts from now on.
UPDATE token_vault_dek SET state = 'decrypt_only'
WHERE tenant_id = :tenant_id AND dek_id = :replaced AND state = 'active'

-- name: find_rows_to_reseal
-- Tokens under data keys that only decrypt, behind a position. CROSS JOIN fixes the order of the loops: the other way
-- round every page would read and sort all that is left.
SELECT t.tenant_id, t.provider, t.kind, t.identifier, t.dek_id, CAST(t.blob AS BLOB)
FROM token_vault_token t
CROSS JOIN token_vault_dek d ON d.tenant_id = t.tenant_id AND d.dek_id = t.dek_id AND d.state = 'decrypt_only'
WHERE (t.tenant_id, t.provider, t.kind, t.identifier)
    > (:after_tenant_id, :after_provider, :after_kind, :after_identifier)
ORDER BY t.tenant_id, t.provider, t.kind, t.identifier
LIMIT :limit

-- name: find_tenant_rows_to_reseal
-- The same for one tenant.
SELECT t.tenant_id, t.provider, t.kind, t.identifier, t.dek_id, CAST(t.blob AS BLOB)
FROM token_vault_token t
CROSS JOIN token_vault_dek d ON d.tenant_id = t.tenant_id AND d.dek_id = t.dek_id AND d.state = 'decrypt_only'
WHERE t.tenant_id = :tenant_id
    AND (t.provider, t.kind, t.identifier) > (:after_provider, :after_kind, :after_identifier)
ORDER BY t.provider, t.kind, t.identifier
LIMIT :limit

-- name: reseal_token
-- Replace a sealed value, if the row still holds exactly the one that was opened; nothing else of it changes.
UPDATE token_vault_token SET dek_id = :dek_id, blob = :blob
WHERE tenant_id = :tenant_id AND provider = :provider AND kind = :kind AND identifier = :identifier
    AND dek_id = :before_dek_id AND blob = :before

-- name: mark_swept
-- Note the time on data keys that only decrypt and that no token is under any more.
UPDATE token_vault_dek SET swept_at = :now
WHERE state = 'decrypt_only' AND swept_at IS NULL AND (:tenant_id IS NULL OR tenant_id = :tenant_id)
    AND NOT EXISTS (
        SELECT 1 FROM token_vault_token t
        WHERE t.tenant_id = token_vault_dek.tenant_id AND t.dek_id = token_vault_dek.dek_id)

-- name: find_swept
-- Data keys that were swept before a time, and whether tokens are under them again.
SELECT tenant_id, dek_id, EXISTS (
    SELECT 1 FROM token_vault_token t
    WHERE t.tenant_id = token_vault_dek.tenant_id AND t.dek_id = token_vault_dek.dek_id)
FROM token_vault_dek
WHERE state = 'decrypt_only' AND swept_at <= :until AND (:tenant_id IS NULL OR tenant_id = :tenant_id)
ORDER BY tenant_id, dek_id

-- name: clear_swept
-- A data key that has tokens again, from a backup that was restored in part, is to be swept again.
UPDATE token_vault_dek SET swept_at = NULL WHERE tenant_id = :tenant_id AND dek_id = :dek_id

-- name: destroy_data_key
-- A data key becomes a tombstone, once its wraps are gone.
UPDATE token_vault_dek SET state = 'destroyed' WHERE tenant_id = :tenant_id AND dek_id = :dek_id

-- name: delete_data_key_wraps
-- Delete all wraps of a data key.
DELETE FROM token_vault_dek_wrap WHERE tenant_id = :tenant_id AND dek_id = :dek_id

-- name: demote_master_key
-- The active master key only unwraps from now on, if another may take its place.
UPDATE token_vault_kek SET state = 'unwrap_only'
WHERE kek_id = :replaced AND state = 'active'
    AND EXISTS (SELECT 1 FROM token_vault_kek WHERE kek_id = :kek_id AND state = 'unwrap_only')

-- name: promote_master_key
-- A master key takes the place of the active one, which was demoted in the same transaction.
UPDATE token_vault_kek SET state = 'active' WHERE kek_id = :kek_id

-- name: find_data_keys_without_wrap
-- Data keys that a master key does not wrap, behind a position, with the wraps that they have.
WITH page AS (
    SELECT tenant_id, dek_id, state, swept_at FROM token_vault_dek d
    WHERE state != 'destroyed' AND (tenant_id, dek_id) > (:after_tenant_id, :after_dek_id)
        AND NOT EXISTS (
            SELECT 1 FROM token_vault_dek_wrap w
            WHERE w.tenant_id = d.tenant_id AND w.dek_id = d.dek_id AND w.kek_id = :kek_id)
    ORDER BY tenant_id, dek_id
    LIMIT :limit)
SELECT p.tenant_id, p.dek_id, p.state, p.swept_at, w.kek_id, w.wrapped
FROM page p
LEFT JOIN token_vault_dek_wrap w USING (tenant_id, dek_id)
ORDER BY p.tenant_id, p.dek_id, w.kek_id

-- name: find_data_keys_with_wrap
-- Data keys that a master key wraps, behind a position, with all their wraps.
WITH page AS (
    SELECT d.tenant_id, d.dek_id, d.state, d.swept_at
    FROM token_vault_dek d
    JOIN token_vault_dek_wrap w ON w.tenant_id = d.tenant_id AND w.dek_id = d.dek_id AND w.kek_id = :kek_id
    WHERE (d.tenant_id, d.dek_id) > (:after_tenant_id, :after_dek_id)
    ORDER BY d.tenant_id, d.dek_id
    LIMIT :limit)
SELECT p.tenant_id, p.dek_id, p.state, p.swept_at, w.kek_id, w.wrapped
FROM page p
JOIN token_vault_dek_wrap w USING (tenant_id, dek_id)
ORDER BY p.tenant_id, p.dek_id, w.kek_id

-- name: add_wrap
-- A wrap of a data key, unless it has one, or was destroyed, or the master key was retired.
INSERT INTO token_vault_dek_wrap (tenant_id, dek_id, kek_id, wrapped)
SELECT d.tenant_id, d.dek_id, k.kek_id, :wrapped
FROM token_vault_dek d
JOIN token_vault_kek k ON k.kek_id = :kek_id AND k.state != 'retired'
WHERE d.tenant_id = :tenant_id AND d.dek_id = :dek_id AND d.state != 'destroyed'
ON CONFLICT (tenant_id, dek_id, kek_id) DO NOTHING

-- name: delete_wrap
-- Delete a data key's wrap under one master key, where exactly this wrap under the active one is there.
DELETE FROM token_vault_dek_wrap
WHERE tenant_id = :tenant_id AND dek_id = :dek_id AND kek_id = :replaced AND :replaced != :kek_id
    AND EXISTS (SELECT 1 FROM token_vault_kek WHERE kek_id = :kek_id AND state = 'active')
    AND EXISTS (
        SELECT 1 FROM token_vault_dek_wrap k
        WHERE k.tenant_id = :tenant_id AND k.dek_id = :dek_id AND k.kek_id = :kek_id AND k.wrapped = :wrapped)

-- name: retire_master_key
-- Retire a master key that is not active and wraps nothing.
UPDATE token_vault_kek SET state = 'retired'
WHERE kek_id = :kek_id AND state = 'unwrap_only'
    AND NOT EXISTS (SELECT 1 FROM token_vault_dek_wrap w WHERE w.kek_id = :kek_id)

-- name: is_retired
-- Whether a master key is retired.
SELECT count(*) FROM token_vault_kek WHERE kek_id = :kek_id AND state = 'retired'
