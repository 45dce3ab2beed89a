-- needs: 0002
-- Answers of providers with the status 2xx that could not be read, sealed, one per account, until something can read
-- them. The foreign key deletes an answer with its account, and so when the tenant is erased.
CREATE TABLE token_vault_unread_answer (
    tenant_id TEXT NOT NULL,
    provider TEXT NOT NULL,
    identifier TEXT NOT NULL,
    attempt_id BLOB NOT NULL CHECK (length(attempt_id) = 16),
    data_key_id BLOB NOT NULL CHECK (length(data_key_id) = 16),
    blob BLOB NOT NULL,
    kept_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, provider, identifier),
    FOREIGN KEY (tenant_id, provider, identifier)
        REFERENCES token_vault_account (tenant_id, provider, identifier) ON DELETE CASCADE
) STRICT;
CREATE INDEX token_vault_unread_answer_order ON token_vault_unread_answer (kept_at, attempt_id);

-- Answers that nothing can read pause a client too. SQLite cannot change a check, so the small table is made anew.
CREATE TABLE token_vault_client_refusal_new (
    provider TEXT NOT NULL CHECK (length(provider) BETWEEN 1 AND 64),
    client BLOB NOT NULL CHECK (length(client) IN (0, 16)),
    reason TEXT NOT NULL CHECK (reason IN ('invalid_client', 'client_mismatch', 'mass_rejection', 'unreadable_answer')),
    marks BLOB NOT NULL CHECK (length(marks) <= 64),
    since INTEGER NOT NULL,
    refused_at INTEGER NOT NULL,
    opened_at INTEGER,
    probe_at INTEGER,
    PRIMARY KEY (provider, client, reason)
) STRICT, WITHOUT ROWID;
INSERT INTO token_vault_client_refusal_new SELECT * FROM token_vault_client_refusal;
DROP TABLE token_vault_client_refusal;
ALTER TABLE token_vault_client_refusal_new RENAME TO token_vault_client_refusal;
