-- Creates the owner of the vault's schema, and the role of the services. `vault` is the name of the database.
-- Run this script as a superuser.
CREATE ROLE vault_owner LOGIN;
CREATE ROLE app LOGIN;
GRANT CONNECT, CREATE ON DATABASE vault TO vault_owner;
GRANT CONNECT ON DATABASE vault TO app;
