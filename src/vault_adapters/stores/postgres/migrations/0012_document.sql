-- needs: 0002
-- What providers publish about themselves, sealed, one row for each issuer; it serves while an issuer is down.
CREATE TABLE {{schema}}.document (
    name bytea NOT NULL PRIMARY KEY CHECK (octet_length(name) = 32),
    data_key_id bytea NOT NULL CHECK (octet_length(data_key_id) = 16),
    blob bytea NOT NULL CHECK (octet_length(blob) <= 66560)
);
