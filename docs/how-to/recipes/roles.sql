-- The owner of the vault's schema, and the role of the services. Run it as a superuser; `vault` is the database's name.
CREATE ROLE vault_owner LOGIN;
CREATE ROLE app LOGIN;
GRANT CONNECT, CREATE ON DATABASE vault TO vault_owner;
GRANT CONNECT ON DATABASE vault TO app;
