-- name: hold_active_data_key
-- Take the place of a tenant's active data key if it has none. The unique index makes this wait for a transaction that is
-- storing the tenant's first value, and later ones wait for the erasure.
INSERT INTO {{schema}}.data_key (tenant_id, data_key_id, state, created_at)
VALUES (%(tenant_id)b, %(place_holder)b, 'active', {{now}})
ON CONFLICT DO NOTHING

-- name: release_active_data_key
-- Delete what hold_active_data_key has stored.
DELETE FROM {{schema}}.data_key WHERE tenant_id = %(tenant_id)b AND data_key_id = %(place_holder)b

-- name: destroy_tenant_data_keys
-- Mark a tenant's data keys as destroyed, and return their ids and the time. The statement waits for running writes under these data
-- keys, because such a write locks its data key's row FOR SHARE. Later writes under these data keys fail.
WITH doomed AS (
    SELECT tenant_id, data_key_id FROM {{schema}}.data_key
    WHERE tenant_id = %(tenant_id)b AND state IN ('active', 'decrypt_only')
    ORDER BY data_key_id
    FOR UPDATE)
UPDATE {{schema}}.data_key d SET state = 'destroyed' FROM doomed o
WHERE d.tenant_id = o.tenant_id AND d.data_key_id = o.data_key_id AND d.state IN ('active', 'decrypt_only')
RETURNING d.data_key_id, {{now}}

-- name: delete_tenant_wraps
-- Delete all wraps of a tenant's destroyed data keys.
DELETE FROM {{schema}}.data_key_wrap w USING {{schema}}.data_key d
WHERE w.tenant_id = %(tenant_id)b AND d.tenant_id = w.tenant_id AND d.data_key_id = w.data_key_id AND d.state = 'destroyed'

-- name: delete_tenant_accounts
-- Delete a tenant's labels and refresh states.
WITH doomed AS (
    SELECT tenant_id, provider, identifier FROM {{schema}}.account
    WHERE tenant_id = %(tenant_id)b
    ORDER BY provider, identifier
    FOR UPDATE)
DELETE FROM {{schema}}.account a USING doomed o
WHERE a.tenant_id = o.tenant_id AND a.provider = o.provider AND a.identifier = o.identifier

-- name: delete_tenant_tokens
-- Delete a tenant's tokens; ON DELETE CASCADE deletes the times of their last use. The tokens are locked in the order
-- of their keys. Returns their number, that of their accounts, and the time.
WITH doomed AS (
    SELECT provider, kind, identifier FROM {{schema}}.token
    WHERE tenant_id = %(tenant_id)b
    ORDER BY provider, identifier, kind
    FOR UPDATE),
gone AS (
    DELETE FROM {{schema}}.token t USING doomed o
    WHERE t.tenant_id = %(tenant_id)b AND t.provider = o.provider AND t.kind = o.kind AND t.identifier = o.identifier
    RETURNING t.provider, t.identifier)
SELECT count(*), count(DISTINCT (provider, identifier)), {{now}} FROM gone

-- name: tell_erasure
-- Tell other processes that a tenant's rows are gone.
SELECT {{told_tenant}}
FROM (SELECT %(tenant_id)b::text AS tenant_id) t

-- name: empty_tenant_audit_events
-- Remove tenant and identifier from a tenant's audit events. Events of erasures and of destroyed data keys keep the
-- tenant, because they confirm the tombstones.
UPDATE {{schema}}.audit_event SET tenant_id = '', identifier = NULL
WHERE tenant_id = %(tenant_id)b AND action NOT IN ('tenant_erased', 'data_key_destroyed')
