-- Gives the role `app` the rights that a service needs, but not the right to create tables. Run this as the owner of
-- the schema, after each `token-vault init`, because a new release may have new tables.
GRANT USAGE ON SCHEMA token_vault TO app;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA token_vault TO app;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA token_vault TO app;
-- The audit log is for adding and reading. An erasure also takes the tenant out of earlier events. Rights of single
-- partitions are not needed, because the vault names the whole table.
DO $$
DECLARE
    part regclass;
BEGIN
    FOR part IN SELECT relid FROM pg_partition_tree('token_vault.audit_event') LOOP
        EXECUTE format('REVOKE ALL ON %s FROM app', part);
    END LOOP;
END
$$;
GRANT SELECT, INSERT, UPDATE (tenant_id, identifier) ON token_vault.audit_event TO app;
