-- The rights of a service whose role creates nothing. Run it as the owner of the schema, after `token-vault init`.
GRANT USAGE ON SCHEMA token_vault TO app;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA token_vault TO app;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA token_vault TO app;
-- Tables of later releases, and new months of the audit log, if this role makes them.
ALTER DEFAULT PRIVILEGES IN SCHEMA token_vault GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO app;
ALTER DEFAULT PRIVILEGES IN SCHEMA token_vault GRANT USAGE ON SEQUENCES TO app;
