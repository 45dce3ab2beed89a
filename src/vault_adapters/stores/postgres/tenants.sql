-- Erase a tenant in the vault when the host deletes it: its tokens, labels, refresh states and key wraps go, its data
-- keys become tombstones, and its audit events lose tenant and identifier, except for those that confirm the tombstones
-- or record an erasure.
-- As with any deletion, files, replicas and backups of the database keep deleted rows for a while.
BEGIN;

CREATE OR REPLACE FUNCTION {{schema}}.erase_tenants(ids text[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    known text[] := '{}';
    holder bytea := uuid_send(gen_random_uuid());
    found text[];
BEGIN
    -- All transactions lock data keys first, then tokens in the order of tenant, provider, identifier and kind, then
    -- accounts.
    -- A transaction that is storing a tenant's first value has made a data key that nobody else sees yet. A row in its
    -- place waits for it, by the unique index.
    INSERT INTO {{schema}}.data_key (tenant_id, data_key_id, state, created_at)
        SELECT id, holder, 'active', statement_timestamp() FROM unnest(ids) id ORDER BY id
        ON CONFLICT DO NOTHING;
    DELETE FROM {{schema}}.data_key WHERE tenant_id = ANY (ids) AND data_key_id = holder;
    -- To lock a data key, this statement waits for running writes of values under this data key. Later writes fail,
    -- because the data key is destroyed. The loop repeats, because a statement that waited for a key rotation does not
    -- see the new data key that the rotation committed.
    LOOP
        PERFORM FROM {{schema}}.data_key WHERE tenant_id = ANY (ids) AND state IN ('active', 'decrypt_only')
            ORDER BY tenant_id, data_key_id FOR UPDATE;
        WITH destroyed AS (
            UPDATE {{schema}}.data_key SET state = 'destroyed'
            WHERE tenant_id = ANY (ids) AND state IN ('active', 'decrypt_only')
            RETURNING tenant_id, data_key_id),
        audited AS (
            INSERT INTO {{schema}}.audit_event (tenant_id, action, occurred_at, actor, code)
            SELECT tenant_id, 'data_key_destroyed', statement_timestamp(), 'database:' || session_user,
                encode(data_key_id, 'hex')
            FROM destroyed
            ORDER BY tenant_id, data_key_id)
        SELECT array_agg(tenant_id) INTO found FROM destroyed;
        EXIT WHEN found IS NULL;
        known := known || found;
    END LOOP;
    PERFORM FROM {{schema}}.token WHERE tenant_id = ANY (ids)
        ORDER BY tenant_id, provider, identifier, kind FOR UPDATE;
    PERFORM FROM {{schema}}.account WHERE tenant_id = ANY (ids) ORDER BY tenant_id, provider, identifier FOR UPDATE;
    known := ARRAY(
        SELECT unnest(known)
        UNION SELECT tenant_id FROM {{schema}}.token WHERE tenant_id = ANY (ids)
        UNION SELECT tenant_id FROM {{schema}}.account WHERE tenant_id = ANY (ids)
        ORDER BY 1);
    -- An erasure is durable, even if the host's setting allows commits to be lost.
    PERFORM set_config('synchronous_commit', 'on', true)
        WHERE cardinality(known) > 0 AND current_setting('synchronous_commit') IN ('off', 'local');
    DELETE FROM {{schema}}.data_key_wrap WHERE tenant_id = ANY (ids);
    DELETE FROM {{schema}}.token WHERE tenant_id = ANY (ids);
    DELETE FROM {{schema}}.account WHERE tenant_id = ANY (ids);
    UPDATE {{schema}}.audit_event SET tenant_id = '', identifier = NULL
        WHERE tenant_id = ANY (ids) AND action NOT IN ('tenant_erased', 'data_key_destroyed');
    INSERT INTO {{schema}}.audit_event (tenant_id, action, occurred_at, actor)
        SELECT tenant_id, 'tenant_erased', statement_timestamp(), 'database:' || session_user
        FROM unnest(known) tenant_id;
    -- Tell processes that cache these tenants' rows; see notifying.py.
    PERFORM pg_notify('{{channel}}', 't' || left(encode(sha256(convert_to(tenant_id, 'UTF8')), 'hex'), 6))
        FROM unnest(known) tenant_id;
END
$body$;

-- The next two functions run with the rights of their owner, so only the triggers below may call them.
CREATE OR REPLACE FUNCTION {{schema}}.erase_deleted_tenants() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    PERFORM {{schema}}.erase_tenants(ids) FROM (
        SELECT array_agg(DISTINCT gone.{{column}}::text) AS ids FROM gone WHERE gone.{{column}} IS NOT NULL) g
    WHERE ids IS NOT NULL;
    RETURN NULL;
END
$body$;

CREATE OR REPLACE FUNCTION {{schema}}.erase_all_tenants() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    PERFORM {{schema}}.erase_tenants(ids) FROM (
        SELECT array_agg(DISTINCT host.{{column}}::text) AS ids FROM {{table}} host
        WHERE host.{{column}} IS NOT NULL) h
    WHERE ids IS NOT NULL;
    RETURN NULL;
END
$body$;

-- The vault compares this version with its own when it is opened.
COMMENT ON FUNCTION {{schema}}.erase_tenants(text[]) IS 'token-vault tenants trigger, version {{version}}';

REVOKE ALL ON FUNCTION {{schema}}.erase_tenants(text[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION {{schema}}.erase_deleted_tenants() FROM PUBLIC;
REVOKE ALL ON FUNCTION {{schema}}.erase_all_tenants() FROM PUBLIC;

-- The triggers run once per statement, so that tenants deleted together are locked in one order, whatever the order of
-- their rows.
DROP TRIGGER IF EXISTS token_vault_erase_deleted ON {{table}};
CREATE TRIGGER token_vault_erase_deleted AFTER DELETE ON {{table}}
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION {{schema}}.erase_deleted_tenants();

DROP TRIGGER IF EXISTS token_vault_erase_all ON {{table}};
CREATE TRIGGER token_vault_erase_all BEFORE TRUNCATE ON {{table}}
    FOR EACH STATEMENT EXECUTE FUNCTION {{schema}}.erase_all_tenants();

COMMIT;
