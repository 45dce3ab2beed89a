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

-- Tables that are written often take their checks from domains. A session parses a domain's check once; it would parse
-- a table's check for each statement, which took a quarter of the server's time to store a token. The domains' names
-- begin with vault_, because a host may have types of its own in the schema.
-- The limits of sizes are those of the byte format and of the vault's arguments.
CREATE DOMAIN {{schema}}.vault_tenant_id AS text COLLATE "C" CHECK (char_length(VALUE) BETWEEN 1 AND 255);
CREATE DOMAIN {{schema}}.vault_tenant_id_or_none AS text COLLATE "C" CHECK (char_length(VALUE) <= 255);
CREATE DOMAIN {{schema}}.vault_provider AS text COLLATE "C" CHECK (char_length(VALUE) BETWEEN 1 AND 64);
CREATE DOMAIN {{schema}}.vault_kind AS text COLLATE "C"
    CHECK (VALUE IN ('access_token', 'refresh_token', 'api_key', 'webhook_secret'));
CREATE DOMAIN {{schema}}.vault_identifier AS text COLLATE "C" CHECK (char_length(VALUE) <= 255);
CREATE DOMAIN {{schema}}.vault_short_text AS text CHECK (char_length(VALUE) <= 255);
CREATE DOMAIN {{schema}}.vault_code AS text CHECK (char_length(VALUE) <= 64);
CREATE DOMAIN {{schema}}.vault_action AS text CHECK (char_length(VALUE) BETWEEN 1 AND 64);
CREATE DOMAIN {{schema}}.vault_status AS text CHECK (VALUE IN ('valid', 'invalid', 'unknown'));
CREATE DOMAIN {{schema}}.vault_key_id AS bytea CHECK (octet_length(VALUE) = 16);
CREATE DOMAIN {{schema}}.vault_client AS bytea CHECK (octet_length(VALUE) = 16);
CREATE DOMAIN {{schema}}.vault_sealed_value AS bytea CHECK (octet_length(VALUE) <= 65664);
CREATE DOMAIN {{schema}}.vault_sealed_extra AS bytea CHECK (octet_length(VALUE) <= 17504);
CREATE DOMAIN {{schema}}.vault_finite_time AS timestamptz CHECK (isfinite(VALUE));
CREATE DOMAIN {{schema}}.vault_amount AS bigint CHECK (VALUE >= 0);
CREATE DOMAIN {{schema}}.vault_generation AS bigint CHECK (VALUE >= 1);
CREATE DOMAIN {{schema}}.vault_scopes AS text CHECK (
    octet_length(VALUE) <= 1048576 AND jsonb_typeof(VALUE::jsonb) = 'array'
    AND NOT jsonb_path_exists(VALUE::jsonb, '$[*] ? (@.type() != "string")'));

-- Lifetimes are in microseconds, because an interval of days depends on the session's time zone. Scopes are a JSON
-- array; NULL means that no scopes were given, and [] that there are none.
-- The storage of blobs is EXTERNAL (never compressed), because sealed values cannot be compressed.
CREATE TABLE {{schema}}.token (
    tenant_id {{schema}}.vault_tenant_id NOT NULL,
    provider {{schema}}.vault_provider NOT NULL,
    kind {{schema}}.vault_kind NOT NULL,
    identifier {{schema}}.vault_identifier NOT NULL DEFAULT '',
    id uuid NOT NULL,
    value_id uuid NOT NULL,
    data_key_id {{schema}}.vault_key_id NOT NULL,
    blob {{schema}}.vault_sealed_value NOT NULL,
    extra {{schema}}.vault_sealed_extra,
    status {{schema}}.vault_status NOT NULL,
    error_code {{schema}}.vault_code,
    expires_at {{schema}}.vault_finite_time,
    lifetime {{schema}}.vault_amount,
    scopes {{schema}}.vault_scopes,
    generation {{schema}}.vault_generation NOT NULL,
    last_refreshed_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    client {{schema}}.vault_client,
    suspect_since timestamptz,
    rejected_at timestamptz,
    noted_value_id uuid,
    PRIMARY KEY (tenant_id, provider, identifier, kind)
) WITH (fillfactor = 85);
ALTER TABLE {{schema}}.token ALTER COLUMN blob SET STORAGE EXTERNAL;
ALTER TABLE {{schema}}.token ALTER COLUMN extra SET STORAGE EXTERNAL;
-- find_expiring reads its pages from here. A query must repeat the condition of a partial index with the same literals,
-- because otherwise the database may not use the index. This holds for all partial indexes below.
CREATE INDEX token_expiring ON {{schema}}.token (expires_at, tenant_id, id)
    WHERE status = 'valid' AND kind = 'access_token' AND expires_at IS NOT NULL;
-- has_sibling reads from here.
CREATE INDEX token_sibling ON {{schema}}.token (provider, identifier) WHERE kind IN ('access_token', 'refresh_token');
-- Lists of one provider's accounts of all tenants read their pages from here.
CREATE INDEX token_provider ON {{schema}}.token (provider, tenant_id, identifier);
-- Lists of accounts to be connected again read from the next two indexes.
CREATE INDEX token_doubtful ON {{schema}}.token (status, tenant_id, provider, identifier) WHERE status <> 'valid';
CREATE INDEX token_lapsing ON {{schema}}.token (expires_at)
    WHERE kind IN ('refresh_token', 'api_key') AND expires_at IS NOT NULL;
-- note_ending finds here the refresh tokens for which no event of their coming expiry was written yet.
CREATE INDEX token_ending ON {{schema}}.token (expires_at)
    WHERE kind = 'refresh_token' AND expires_at IS NOT NULL AND noted_value_id IS DISTINCT FROM value_id;

CREATE TABLE {{schema}}.token_use (
    tenant_id text COLLATE "C" NOT NULL,
    provider text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    identifier text COLLATE "C" NOT NULL,
    last_used_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, provider, identifier, kind),
    FOREIGN KEY (tenant_id, provider, identifier, kind)
        REFERENCES {{schema}}.token (tenant_id, provider, identifier, kind) ON DELETE CASCADE
) WITH (fillfactor = 70);

-- An event's place in the pages: its transaction's number, or the highest number of a transaction that has ended, if
-- that is higher. A transaction gets its number before it waits for a row, so a later writer of the row may have the
-- lower number. But when the later writer writes its event, the earlier writer has ended, so the later event gets no
-- lower place. Each query of a volatile PL/pgSQL function takes a new snapshot. An SQL function would be inlined, and
-- would see only the transactions that had ended before the wait.
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
    tenant_id {{schema}}.vault_tenant_id_or_none NOT NULL DEFAULT '',
    xid xid8 NOT NULL DEFAULT {{schema}}.audit_place(),
    seq bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    action {{schema}}.vault_action NOT NULL,
    occurred_at timestamptz NOT NULL,
    provider {{schema}}.vault_provider,
    identifier {{schema}}.vault_identifier,
    kind {{schema}}.vault_kind,
    generation {{schema}}.vault_generation,
    actor {{schema}}.vault_short_text,
    code {{schema}}.vault_code,
    credential_generation {{schema}}.vault_generation,
    PRIMARY KEY (tenant_id, xid, seq, occurred_at)
) PARTITION BY RANGE (occurred_at);
-- This partition takes the events of a time for which there is no other partition, and the lasting events of partitions
-- that were dropped.
CREATE TABLE {{schema}}.audit_event_rest PARTITION OF {{schema}}.audit_event DEFAULT;
CREATE INDEX audit_event_order ON {{schema}}.audit_event (xid, seq);
-- Pruning finds old events from here. Events lie in the order of their times, so the index is a few pages.
CREATE INDEX audit_event_time ON {{schema}}.audit_event USING brin (occurred_at);
-- A value that does not decrypt gets at most one event an hour; this index finds the last one.
CREATE INDEX audit_event_unreadable ON {{schema}}.audit_event (tenant_id, occurred_at) WHERE action = 'decryption_failed';
-- Reading a key asks the audit log whether the key was replaced, destroyed or retired.
CREATE INDEX audit_event_data_key ON {{schema}}.audit_event (tenant_id, code)
    WHERE action IN ('data_key_replaced', 'data_key_destroyed');
CREATE INDEX audit_event_master_key ON {{schema}}.audit_event (code, seq)
    WHERE action IN ('master_key_introduced', 'master_key_activated', 'master_key_retired');
-- One row per account that has a label or a refresh state. It is narrow, because leases and backoff change often.
-- The refresh state belongs to the credential whose value id is credential_value_id; it no longer applies once another
-- credential is stored.
CREATE TABLE {{schema}}.account (
    tenant_id {{schema}}.vault_tenant_id NOT NULL,
    provider {{schema}}.vault_provider NOT NULL,
    identifier {{schema}}.vault_identifier NOT NULL DEFAULT '',
    label {{schema}}.vault_short_text,
    credential_value_id uuid,
    attempt_id uuid,
    committed_attempt_id uuid,
    lease_until timestamptz,
    sent_at timestamptz,
    failures {{schema}}.vault_amount NOT NULL DEFAULT 0,
    next_attempt_at timestamptz,
    unknown_since timestamptz,
    error_code {{schema}}.vault_code,
    refused_since timestamptz,
    refused_for {{schema}}.vault_amount NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, provider, identifier)
) WITH (fillfactor = 70);
-- Lists of accounts whose refreshes fail read from here.
CREATE INDEX account_troubled ON {{schema}}.account (tenant_id, provider, identifier)
    WHERE failures > 0 OR unknown_since IS NOT NULL OR lease_until IS NOT NULL;
-- Re-encryption reads, tenant by tenant, the data keys that are to be emptied. Without this index, each page of a
-- re-encryption would read and sort all of these data keys.
CREATE INDEX data_key_to_empty ON {{schema}}.data_key (tenant_id, data_key_id) WHERE state = 'decrypt_only' AND emptied_at IS NULL;
-- The refusals of an OAuth client, one row per reason; few rows. An empty client means that the refresher names none.
-- marks: two bytes of a hash for each account that was refused last. They tell a few accounts apart, and are too short
-- to tell which accounts they are.
CREATE TABLE {{schema}}.client_refusal (
    provider text COLLATE "C" NOT NULL CHECK (char_length(provider) BETWEEN 1 AND 64),
    client bytea NOT NULL CHECK (octet_length(client) IN (0, 16)),
    reason text NOT NULL CHECK (reason IN ('invalid_client', 'client_mismatch', 'mass_rejection')),
    marks bytea NOT NULL CHECK (octet_length(marks) <= 64),
    since timestamptz NOT NULL,
    refused_at timestamptz NOT NULL,
    opened_at timestamptz,
    probe_at timestamptz,
    PRIMARY KEY (provider, client, reason)
);
-- free_at: the shared time of a client's token requests, which next_turn computes for a request limit; few rows.
CREATE TABLE {{schema}}.client_turn (
    provider text COLLATE "C" NOT NULL CHECK (char_length(provider) BETWEEN 1 AND 64),
    client bytea NOT NULL CHECK (octet_length(client) IN (0, 16)),
    free_at timestamptz NOT NULL,
    PRIMARY KEY (provider, client)
);
-- To detect a mass rejection, the rejections and successes of the last minutes are counted with the next two indexes.
-- Reviving finds rejected credentials with the first.
CREATE INDEX token_rejected ON {{schema}}.token (provider, rejected_at)
    WHERE status = 'invalid' AND rejected_at IS NOT NULL;
CREATE INDEX token_refreshed ON {{schema}}.token (provider, last_refreshed_at)
    WHERE kind = 'access_token' AND last_refreshed_at IS NOT NULL;
