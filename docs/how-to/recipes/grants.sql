-- Gives the role `app` the rights that a service needs, but not the right to create tables. Run this as the owner of
-- the schema, after `token-vault init`.
GRANT USAGE ON SCHEMA token_vault TO app;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA token_vault TO app;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA token_vault TO app;
-- For the tables of later releases and the audit log's new partitions, which the owner makes.
ALTER DEFAULT PRIVILEGES IN SCHEMA token_vault GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO app;
ALTER DEFAULT PRIVILEGES IN SCHEMA token_vault GRANT USAGE ON SEQUENCES TO app;
