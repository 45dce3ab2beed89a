-- One row per account that has a label, or a refresh under way or failed: narrow, since leases and backoff
-- change often. The credential is named by id and generation; once another is stored, the row no longer speaks
-- of it.
CREATE TABLE token_vault_account (
    tenant_id TEXT NOT NULL,
    provider TEXT NOT NULL,
    identifier TEXT NOT NULL DEFAULT '',
    label TEXT CHECK (length(label) <= 255),
    credential_id BLOB CHECK (length(credential_id) = 16),
    credential_generation INTEGER,
    attempt_id BLOB CHECK (length(attempt_id) = 16),
    committed_attempt_id BLOB CHECK (length(committed_attempt_id) = 16),
    lease_until INTEGER,
    sent_at INTEGER,
    failures INTEGER NOT NULL DEFAULT 0 CHECK (failures >= 0),
    next_attempt_at INTEGER,
    unknown_since INTEGER,
    error_code TEXT CHECK (length(error_code) <= 64),
    PRIMARY KEY (tenant_id, provider, identifier)
);
