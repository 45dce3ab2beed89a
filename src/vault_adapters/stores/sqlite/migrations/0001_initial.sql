-- Master keys: the parameters and check values that show whether a secret is the right one. The table holds no key.
CREATE TABLE token_vault_master_key (
    master_key_id BLOB NOT NULL PRIMARY KEY CHECK (length(master_key_id) = 16),
    provider TEXT NOT NULL CHECK (length(provider) BETWEEN 1 AND 64),
    uri TEXT NOT NULL DEFAULT '' CHECK (length(uri) <= 4096),
    kdf TEXT NOT NULL DEFAULT '' CHECK (length(kdf) <= 4096),
    check_value BLOB NOT NULL DEFAULT x'' CHECK (length(check_value) <= 64),
    state TEXT NOT NULL CHECK (state IN ('unwrap_only', 'active', 'retired')),
    created_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX token_vault_master_key_active ON token_vault_master_key (state) WHERE state = 'active';

-- Data keys: one active key per tenant. A destroyed key stays as a tombstone, so that its id is never used again.
CREATE TABLE token_vault_data_key (
    tenant_id TEXT NOT NULL CHECK (length(tenant_id) BETWEEN 1 AND 255),
    data_key_id BLOB NOT NULL CHECK (length(data_key_id) = 16),
    state TEXT NOT NULL CHECK (state IN ('active', 'decrypt_only', 'destroyed')),
    created_at INTEGER NOT NULL,
    emptied_at INTEGER,
    PRIMARY KEY (tenant_id, data_key_id)
) STRICT;
CREATE UNIQUE INDEX token_vault_data_key_active ON token_vault_data_key (tenant_id) WHERE state = 'active';

CREATE TABLE token_vault_data_key_wrap (
    tenant_id TEXT NOT NULL,
    data_key_id BLOB NOT NULL,
    master_key_id BLOB NOT NULL REFERENCES token_vault_master_key (master_key_id),
    wrapped BLOB NOT NULL CHECK (length(wrapped) <= 8192),
    PRIMARY KEY (tenant_id, data_key_id, master_key_id),
    FOREIGN KEY (tenant_id, data_key_id) REFERENCES token_vault_data_key (tenant_id, data_key_id)
) STRICT;

-- Times are microseconds since 1970, UTC.
-- The limits of sizes are those of the byte format and of the vault's arguments.
CREATE TABLE token_vault_token (
    tenant_id TEXT NOT NULL CHECK (length(tenant_id) BETWEEN 1 AND 255),
    provider TEXT NOT NULL CHECK (length(provider) BETWEEN 1 AND 64),
    kind TEXT NOT NULL CHECK (kind IN ('access_token', 'refresh_token', 'api_key', 'webhook_secret')),
    identifier TEXT NOT NULL DEFAULT '' CHECK (length(identifier) <= 255),
    id BLOB NOT NULL CHECK (length(id) = 16),
    value_id BLOB NOT NULL CHECK (length(value_id) = 16),
    data_key_id BLOB NOT NULL CHECK (length(data_key_id) = 16),
    blob BLOB NOT NULL CHECK (length(blob) <= 65664),
    extra BLOB CHECK (length(extra) <= 17504),
    status TEXT NOT NULL CHECK (status IN ('valid', 'invalid', 'unknown')),
    error_code TEXT CHECK (length(error_code) <= 64),
    expires_at INTEGER,
    lifetime INTEGER CHECK (lifetime >= 0),
    scopes TEXT NOT NULL DEFAULT '[]' CHECK (
        length(scopes) <= 1048576 AND json_valid(scopes) AND json_type(scopes) = 'array'),
    generation INTEGER NOT NULL CHECK (generation >= 1),
    last_refreshed_at INTEGER,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    client BLOB CHECK (length(client) = 16),
    suspect_since INTEGER,
    rejected_at INTEGER,
    noted_value_id BLOB,
    PRIMARY KEY (tenant_id, provider, identifier, kind)
) STRICT;
-- find_expiring reads its pages from here. A query must repeat the condition of a partial index with the same literals,
-- because otherwise the database may not use the index. This holds for all partial indexes below.
CREATE INDEX token_vault_token_expiring ON token_vault_token (expires_at, tenant_id, id)
    WHERE status = 'valid' AND kind = 'access_token' AND expires_at IS NOT NULL;
-- has_sibling reads from here.
CREATE INDEX token_vault_token_sibling ON token_vault_token (provider, identifier)
    WHERE kind IN ('access_token', 'refresh_token');
-- Lists of one provider's accounts of all tenants read their pages from here.
CREATE INDEX token_vault_token_provider ON token_vault_token (provider, tenant_id, identifier);
-- Lists of accounts to be connected again read from the next two indexes.
CREATE INDEX token_vault_token_doubtful ON token_vault_token (status, tenant_id, provider, identifier) WHERE status != 'valid';
CREATE INDEX token_vault_token_lapsing ON token_vault_token (expires_at)
    WHERE kind IN ('refresh_token', 'api_key') AND expires_at IS NOT NULL;
-- note_ending finds here the refresh tokens for which no event of their coming expiry was written yet.
CREATE INDEX token_vault_token_ending ON token_vault_token (expires_at)
    WHERE kind = 'refresh_token' AND expires_at IS NOT NULL AND noted_value_id IS NOT value_id;

CREATE TABLE token_vault_token_use (
    tenant_id TEXT NOT NULL,
    provider TEXT NOT NULL,
    kind TEXT NOT NULL,
    identifier TEXT NOT NULL,
    last_used_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, provider, identifier, kind),
    FOREIGN KEY (tenant_id, provider, identifier, kind)
        REFERENCES token_vault_token (tenant_id, provider, identifier, kind) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- AUTOINCREMENT: SQLite never uses a number again, so cursors stay valid when rows are deleted.
CREATE TABLE token_vault_audit_event (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    action TEXT NOT NULL CHECK (length(action) BETWEEN 1 AND 64),
    occurred_at INTEGER NOT NULL,
    tenant_id TEXT CHECK (length(tenant_id) BETWEEN 1 AND 255),
    provider TEXT CHECK (length(provider) BETWEEN 1 AND 64),
    identifier TEXT CHECK (length(identifier) <= 255),
    kind TEXT CHECK (kind IN ('access_token', 'refresh_token', 'api_key', 'webhook_secret')),
    generation INTEGER CHECK (generation >= 1),
    actor TEXT CHECK (length(actor) <= 255),
    code TEXT CHECK (length(code) <= 64),
    credential_generation INTEGER CHECK (credential_generation >= 1)
) STRICT;
-- A value that does not decrypt gets at most one event an hour; this index finds the last one.
CREATE INDEX token_vault_audit_event_unreadable ON token_vault_audit_event (tenant_id, occurred_at)
    WHERE action = 'decryption_failed';
CREATE INDEX token_vault_audit_event_tenant ON token_vault_audit_event (tenant_id, seq);
-- Reading a key asks the audit log whether the key was replaced, destroyed or retired.
CREATE INDEX token_vault_audit_event_data_key ON token_vault_audit_event (tenant_id, code)
    WHERE action IN ('data_key_replaced', 'data_key_destroyed');
CREATE INDEX token_vault_audit_event_master_key ON token_vault_audit_event (code, seq)
    WHERE action IN ('master_key_introduced', 'master_key_activated', 'master_key_retired');
-- One row per account that has a label or a refresh state. It is narrow, because leases and backoff change often.
-- The refresh state belongs to the credential whose value id is credential_value_id; it no longer applies once another
-- credential is stored.
CREATE TABLE token_vault_account (
    tenant_id TEXT NOT NULL CHECK (length(tenant_id) BETWEEN 1 AND 255),
    provider TEXT NOT NULL CHECK (length(provider) BETWEEN 1 AND 64),
    identifier TEXT NOT NULL DEFAULT '' CHECK (length(identifier) <= 255),
    label TEXT CHECK (length(label) <= 255),
    credential_value_id BLOB CHECK (length(credential_value_id) = 16),
    attempt_id BLOB CHECK (length(attempt_id) = 16),
    committed_attempt_id BLOB CHECK (length(committed_attempt_id) = 16),
    lease_until INTEGER,
    sent_at INTEGER,
    failures INTEGER NOT NULL DEFAULT 0 CHECK (failures >= 0),
    next_attempt_at INTEGER,
    unknown_since INTEGER,
    error_code TEXT CHECK (length(error_code) <= 64),
    refused_since INTEGER,
    refused_for INTEGER NOT NULL DEFAULT 0 CHECK (refused_for >= 0),
    -- Both are written with the row's times: boot_id is the id of the machine's boot, and clock_offset is the clock
    -- minus the time since boot, in microseconds. Another clock_offset in the same boot shows that the clock was set.
    boot_id TEXT CHECK (length(boot_id) <= 64),
    clock_offset INTEGER,
    PRIMARY KEY (tenant_id, provider, identifier)
) STRICT;
-- Lists of accounts whose refreshes fail read from here.
CREATE INDEX token_vault_account_troubled ON token_vault_account (tenant_id, provider, identifier)
    WHERE failures > 0 OR unknown_since IS NOT NULL OR lease_until IS NOT NULL;
-- The refusals of an OAuth client, one row per reason; few rows. An empty client means that the refresher names none.
-- marks: two bytes of a hash for each account that was refused last. They tell a few accounts apart, and are too short
-- to tell which accounts they are.
CREATE TABLE token_vault_client_refusal (
    provider TEXT NOT NULL CHECK (length(provider) BETWEEN 1 AND 64),
    client BLOB NOT NULL CHECK (length(client) IN (0, 16)),
    reason TEXT NOT NULL CHECK (reason IN ('invalid_client', 'client_mismatch', 'mass_rejection')),
    marks BLOB NOT NULL CHECK (length(marks) <= 64),
    since INTEGER NOT NULL,
    refused_at INTEGER NOT NULL,
    opened_at INTEGER,
    probe_at INTEGER,
    PRIMARY KEY (provider, client, reason)
) STRICT, WITHOUT ROWID;
-- free_at: the shared time of a client's token requests, which next_turn computes for a request limit; few rows.
CREATE TABLE token_vault_client_turn (
    provider TEXT NOT NULL CHECK (length(provider) BETWEEN 1 AND 64),
    client BLOB NOT NULL CHECK (length(client) IN (0, 16)),
    free_at INTEGER NOT NULL,
    PRIMARY KEY (provider, client)
) STRICT, WITHOUT ROWID;
-- To detect a mass rejection, the rejections and successes of the last minutes are counted with the next two indexes.
-- Reviving finds rejected credentials with the first.
CREATE INDEX token_vault_token_rejected ON token_vault_token (provider, rejected_at)
    WHERE status = 'invalid' AND rejected_at IS NOT NULL;
CREATE INDEX token_vault_token_refreshed ON token_vault_token (provider, last_refreshed_at)
    WHERE kind = 'access_token' AND last_refreshed_at IS NOT NULL;
