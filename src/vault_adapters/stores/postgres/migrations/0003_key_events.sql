-- needs: 0002
-- Events that confirm the states of keys, or record an erasure or a pruning, are neither changed nor deleted, so that a
-- role without rights of the tables' owner cannot bring a destroyed data key back. The trigger passes updates of the
-- other columns, because the events of a restored dump get new numbers of transactions.
-- An erasure takes the tenant's id out of the event of a replacement. That is allowed once the data key is destroyed,
-- because a later event then confirms the destruction.
CREATE FUNCTION {{schema}}.keep_lasting_event() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF OLD.action = 'data_key_replaced' AND EXISTS (
        SELECT FROM {{schema}}.audit_event e
        WHERE e.tenant_id = OLD.tenant_id AND e.code = OLD.code AND e.action = 'data_key_destroyed')
    THEN
        IF TG_OP = 'DELETE' THEN
            RETURN OLD;
        END IF;
        RETURN NEW;
    END IF;
    -- Without an event of the destruction, somebody has changed the log. The event then stays as it is, because an
    -- erasure must not fail.
    IF OLD.action = 'data_key_replaced' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'token-vault: an event that confirms the state of a key is neither changed nor deleted'
        USING ERRCODE = 'insufficient_privilege';
END
$$;
-- Citus refuses triggers on tables that it distributes.
DO $$
BEGIN
    IF to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL THEN
        PERFORM FROM pg_catalog.pg_dist_partition WHERE logicalrelid = '{{schema}}.audit_event'::regclass;
        IF FOUND THEN
            RETURN;
        END IF;
    END IF;
    CREATE TRIGGER keep_lasting_event_update BEFORE UPDATE ON {{schema}}.audit_event FOR EACH ROW
        WHEN (OLD.action IN (
                'tenant_erased', 'data_key_replaced', 'data_key_destroyed', 'master_key_introduced',
                'master_key_activated', 'master_key_retired', 'audit_pruned')
            AND (OLD.tenant_id, OLD.seq, OLD.action, OLD.occurred_at, OLD.code)
                IS DISTINCT FROM (NEW.tenant_id, NEW.seq, NEW.action, NEW.occurred_at, NEW.code))
        EXECUTE FUNCTION {{schema}}.keep_lasting_event();
    CREATE TRIGGER keep_lasting_event_delete BEFORE DELETE ON {{schema}}.audit_event FOR EACH ROW
        WHEN (OLD.action IN (
            'tenant_erased', 'data_key_replaced', 'data_key_destroyed', 'master_key_introduced',
            'master_key_activated', 'master_key_retired', 'audit_pruned'))
        EXECUTE FUNCTION {{schema}}.keep_lasting_event();
END
$$;
