-- needs: 0002
-- The chain of the audit log. A seal covers the events that were appended since the seal before it; body_digest and
-- digest are keyed or hashed, so that no row can be made or changed without the vault's keys.
CREATE TABLE {{schema}}.audit_seal (
    number bigint NOT NULL PRIMARY KEY CHECK (number >= 0),
    until bigint NOT NULL,
    body bytea,
    body_digest bytea NOT NULL CHECK (octet_length(body_digest) = 32),
    digest bytea NOT NULL CHECK (octet_length(digest) = 32)
);
ALTER TABLE {{schema}}.audit_seal ALTER COLUMN body SET STORAGE EXTERNAL;
-- Where the chain of each tenant ends; an empty tenant_id stands for the events without a tenant. Only this row ties a
-- tenant to its chain, and the sealing of the tenant's erasure deletes it.
CREATE TABLE {{schema}}.audit_chain (
    tenant_id text COLLATE "C" NOT NULL PRIMARY KEY CHECK (char_length(tenant_id) <= 255),
    secret bytea NOT NULL CHECK (octet_length(secret) = 16),
    events bigint NOT NULL CHECK (events >= 0),
    digest bytea NOT NULL CHECK (octet_length(digest) = 32)
) WITH (fillfactor = 70);
