-- Master keys: the parameters and check values that show whether a secret is the right one. The table holds no key.
CREATE TABLE {{schema}}.master_key (
    master_key_id bytea NOT NULL PRIMARY KEY CHECK (octet_length(master_key_id) = 16),
    provider text NOT NULL CHECK (char_length(provider) BETWEEN 1 AND 64),
    uri text NOT NULL DEFAULT '' CHECK (octet_length(uri) <= 4096),
    kdf text NOT NULL DEFAULT '' CHECK (octet_length(kdf) <= 4096),
    check_value bytea NOT NULL DEFAULT '' CHECK (octet_length(check_value) <= 64),
    state text NOT NULL CHECK (state IN ('unwrap_only', 'active', 'retired')),
    created_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX master_key_active ON {{schema}}.master_key (state) WHERE state = 'active';

-- Data keys: one active key per tenant. A destroyed key stays as a tombstone, so that its id is never used again.
CREATE TABLE {{schema}}.data_key (
    tenant_id text COLLATE "C" NOT NULL CHECK (char_length(tenant_id) BETWEEN 1 AND 255),
    data_key_id bytea NOT NULL CHECK (octet_length(data_key_id) = 16),
    state text NOT NULL CHECK (state IN ('active', 'decrypt_only', 'destroyed')),
    created_at timestamptz NOT NULL,
    emptied_at timestamptz,
    PRIMARY KEY (tenant_id, data_key_id)
);
CREATE UNIQUE INDEX data_key_active ON {{schema}}.data_key (tenant_id) WHERE state = 'active';

CREATE TABLE {{schema}}.data_key_wrap (
    tenant_id text COLLATE "C" NOT NULL,
    data_key_id bytea NOT NULL,
    master_key_id bytea NOT NULL REFERENCES {{schema}}.master_key (master_key_id),
    wrapped bytea NOT NULL CHECK (octet_length(wrapped) <= 8192),
    PRIMARY KEY (tenant_id, data_key_id, master_key_id),
    FOREIGN KEY (tenant_id, data_key_id) REFERENCES {{schema}}.data_key (tenant_id, data_key_id)
);

-- Lifetimes are in microseconds, because an interval of days depends on the session's time zone. Scopes are a JSON
-- array; NULL means that no scopes were given, and [] that there are none.
-- The storage of blobs is EXTERNAL (never compressed), because sealed values cannot be compressed.
-- The limits of sizes are those of the byte format and of the vault's arguments.
CREATE TABLE {{schema}}.token (
    tenant_id text COLLATE "C" NOT NULL CHECK (char_length(tenant_id) BETWEEN 1 AND 255),
    provider text COLLATE "C" NOT NULL CHECK (char_length(provider) BETWEEN 1 AND 64),
    kind text COLLATE "C" NOT NULL CHECK (kind IN ('access_token', 'refresh_token', 'api_key', 'webhook_secret')),
    identifier text COLLATE "C" NOT NULL DEFAULT '' CHECK (char_length(identifier) <= 255),
    id uuid NOT NULL,
    value_id uuid NOT NULL,
    data_key_id bytea NOT NULL CHECK (octet_length(data_key_id) = 16),
    blob bytea NOT NULL CHECK (octet_length(blob) <= 65664),
    status text NOT NULL CHECK (status IN ('valid', 'invalid', 'unknown')),
    error_code text CHECK (char_length(error_code) <= 64),
    expires_at timestamptz CHECK (isfinite(expires_at)),
    lifetime bigint CHECK (lifetime >= 0),
    scopes text CHECK (
        octet_length(scopes) <= 1048576 AND jsonb_typeof(scopes::jsonb) = 'array'
        AND NOT jsonb_path_exists(scopes::jsonb, '$[*] ? (@.type() != "string")')),
    generation bigint NOT NULL CHECK (generation >= 1),
    last_refreshed_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    client bytea CHECK (octet_length(client) = 16),
    suspect_since timestamptz,
    rejected_at timestamptz,
    PRIMARY KEY (tenant_id, provider, kind, identifier)
) WITH (fillfactor = 85);
ALTER TABLE {{schema}}.token ALTER COLUMN blob SET STORAGE EXTERNAL;
-- find_expiring reads its pages from here; the literals must stand in the query as they do here.
CREATE INDEX token_expiring ON {{schema}}.token (expires_at, tenant_id, id)
    WHERE status = 'valid' AND kind = 'access_token' AND expires_at IS NOT NULL;

CREATE TABLE {{schema}}.token_use (
    tenant_id text COLLATE "C" NOT NULL,
    provider text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    identifier text COLLATE "C" NOT NULL,
    last_used_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, provider, kind, identifier),
    FOREIGN KEY (tenant_id, provider, kind, identifier)
        REFERENCES {{schema}}.token (tenant_id, provider, kind, identifier) ON DELETE CASCADE
) WITH (fillfactor = 70);

-- An event's place in the pages: its transaction's number, or the highest number of a transaction that has ended, if
-- that is higher. A transaction gets its number before it waits for a row, so a later writer of the row may have the
-- lower number; but when it writes its event, the earlier writer has ended. Each query of a volatile PL/pgSQL function
-- takes a new snapshot; an SQL function would be inlined and show the transactions that had ended before the wait.
CREATE FUNCTION {{schema}}.audit_place() RETURNS xid8 LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE AS $$
BEGIN
    RETURN greatest(
        pg_catalog.pg_current_xact_id(),
        (pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::pg_catalog.text::pg_catalog.int8
            OPERATOR(pg_catalog.-) 1)::pg_catalog.text::pg_catalog.xid8);
END
$$;

-- Pages are sorted by (xid, seq), which for one key is the order of its generations. They end before the oldest
-- transaction of this database, because it may still write events. Its events' places are not lower than its number.
-- An empty tenant_id means no tenant, because a column of the primary key cannot be NULL.
CREATE TABLE {{schema}}.audit_event (
    tenant_id text COLLATE "C" NOT NULL DEFAULT '' CHECK (char_length(tenant_id) <= 255),
    xid xid8 NOT NULL DEFAULT {{schema}}.audit_place(),
    seq bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    action text NOT NULL CHECK (char_length(action) BETWEEN 1 AND 64),
    occurred_at timestamptz NOT NULL,
    provider text CHECK (char_length(provider) BETWEEN 1 AND 64),
    identifier text CHECK (char_length(identifier) <= 255),
    kind text CHECK (kind IN ('access_token', 'refresh_token', 'api_key', 'webhook_secret')),
    generation bigint CHECK (generation >= 1),
    actor text CHECK (char_length(actor) <= 255),
    code text CHECK (char_length(code) <= 64),
    PRIMARY KEY (tenant_id, xid, seq)
);
CREATE INDEX audit_event_order ON {{schema}}.audit_event (xid, seq);
-- Reading a key asks the audit log whether the key was replaced, destroyed or retired. The literals must stand in the
-- queries as they do here.
CREATE INDEX audit_event_data_key ON {{schema}}.audit_event (tenant_id, code)
    WHERE action IN ('data_key_replaced', 'data_key_destroyed');
CREATE INDEX audit_event_master_key ON {{schema}}.audit_event (code, seq)
    WHERE action IN ('master_key_introduced', 'master_key_activated', 'master_key_retired');
-- One row per account that has a label or a refresh state. It is narrow, because leases and backoff change often.
-- The refresh state belongs to the credential with this value id; it no longer applies once another
-- credential is stored.
CREATE TABLE {{schema}}.account (
    tenant_id text COLLATE "C" NOT NULL CHECK (char_length(tenant_id) BETWEEN 1 AND 255),
    provider text COLLATE "C" NOT NULL CHECK (char_length(provider) BETWEEN 1 AND 64),
    identifier text COLLATE "C" NOT NULL DEFAULT '' CHECK (char_length(identifier) <= 255),
    label text CHECK (char_length(label) <= 255),
    credential_value_id uuid,
    attempt_id uuid,
    committed_attempt_id uuid,
    lease_until timestamptz,
    sent_at timestamptz,
    failures bigint NOT NULL DEFAULT 0 CHECK (failures >= 0),
    next_attempt_at timestamptz,
    unknown_since timestamptz,
    error_code text CHECK (char_length(error_code) <= 64),
    refused_since timestamptz,
    PRIMARY KEY (tenant_id, provider, identifier)
) WITH (fillfactor = 70);
-- Re-encryption reads, tenant by tenant, the data keys that are to be emptied. Without this index, each page of a
-- re-encryption would read and sort all of these data keys.
CREATE INDEX data_key_to_empty ON {{schema}}.data_key (tenant_id, data_key_id) WHERE state = 'decrypt_only' AND emptied_at IS NULL;
