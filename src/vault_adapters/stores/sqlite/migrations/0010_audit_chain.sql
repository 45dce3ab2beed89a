-- needs: 0002
-- The chain of the audit log. A seal covers the events that were appended since the seal before it; body_digest and
-- digest are keyed or hashed, so that no row can be made or changed without the vault's keys.
CREATE TABLE token_vault_audit_seal (
    number INTEGER NOT NULL PRIMARY KEY CHECK (number >= 0),
    until INTEGER NOT NULL,
    body BLOB,
    body_digest BLOB NOT NULL CHECK (length(body_digest) = 32),
    digest BLOB NOT NULL CHECK (length(digest) = 32)
) STRICT;
-- Where the chain of each tenant ends; an empty tenant_id stands for the events without a tenant. Only this row ties a
-- tenant to its chain, and the sealing of the tenant's erasure deletes it.
CREATE TABLE token_vault_audit_chain (
    tenant_id TEXT NOT NULL PRIMARY KEY CHECK (length(tenant_id) <= 255),
    secret BLOB NOT NULL CHECK (length(secret) = 16),
    events INTEGER NOT NULL CHECK (events >= 0),
    digest BLOB NOT NULL CHECK (length(digest) = 32)
) STRICT, WITHOUT ROWID;
