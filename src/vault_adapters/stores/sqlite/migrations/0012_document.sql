-- needs: 0002
-- What providers publish about themselves, sealed, one row for each issuer; it serves while an issuer is down.
CREATE TABLE token_vault_document (
    name BLOB NOT NULL PRIMARY KEY CHECK (length(name) = 32),
    data_key_id BLOB NOT NULL CHECK (length(data_key_id) = 16),
    blob BLOB NOT NULL CHECK (length(blob) <= 66560)
) STRICT, WITHOUT ROWID;
