-- needs: 0002
-- Events that confirm the states of keys, or record an erasure or a pruning, are neither changed nor deleted. SQLite has
-- no roles, so this stops a mistake, and nobody who may change the schema of the file.
-- An erasure takes the tenant's id out of the event of a replacement. That is allowed once the data key is destroyed,
-- because a later event then confirms the destruction.
-- Without an event of the destruction, somebody has changed the log. The event then stays as it is, because an erasure
-- must not fail.
CREATE TRIGGER token_vault_keep_lasting_event_update BEFORE UPDATE ON token_vault_audit_event
WHEN OLD.action IN (
        'tenant_erased', 'data_key_replaced', 'data_key_destroyed', 'master_key_introduced', 'master_key_activated',
        'master_key_retired', 'audit_pruned')
    AND (OLD.action <> 'data_key_replaced' OR NOT EXISTS (
        SELECT 1 FROM token_vault_audit_event e
        WHERE e.tenant_id = OLD.tenant_id AND e.code = OLD.code AND e.action = 'data_key_destroyed'))
BEGIN
    SELECT CASE OLD.action WHEN 'data_key_replaced' THEN RAISE(IGNORE) ELSE
        RAISE(ABORT, 'token-vault: an event that confirms the state of a key is neither changed nor deleted') END;
END;
CREATE TRIGGER token_vault_keep_lasting_event_delete BEFORE DELETE ON token_vault_audit_event
WHEN OLD.action IN (
        'tenant_erased', 'data_key_replaced', 'data_key_destroyed', 'master_key_introduced', 'master_key_activated',
        'master_key_retired', 'audit_pruned')
    AND (OLD.action <> 'data_key_replaced' OR NOT EXISTS (
        SELECT 1 FROM token_vault_audit_event e
        WHERE e.tenant_id = OLD.tenant_id AND e.code = OLD.code AND e.action = 'data_key_destroyed'))
BEGIN
    SELECT CASE OLD.action WHEN 'data_key_replaced' THEN RAISE(IGNORE) ELSE
        RAISE(ABORT, 'token-vault: an event that confirms the state of a key is neither changed nor deleted') END;
END;
