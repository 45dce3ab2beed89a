-- Master keys: what is needed to find out whether a secret is the right one; no key is in here.
CREATE TABLE {{schema}}.kek (
    kek_id bytea NOT NULL PRIMARY KEY CHECK (octet_length(kek_id) = 16),
    provider text NOT NULL,
    uri text NOT NULL DEFAULT '',
    kdf text NOT NULL DEFAULT '',
    check_value bytea NOT NULL DEFAULT '',
    state text NOT NULL CHECK (state IN ('unwrap_only', 'active', 'retired')),
    created_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX kek_active ON {{schema}}.kek (state) WHERE state = 'active';

-- Data keys: one active per tenant; a destroyed one stays as a tombstone, so that its id is never used again.
CREATE TABLE {{schema}}.dek (
    tenant_id text COLLATE "C" NOT NULL,
    dek_id bytea NOT NULL CHECK (octet_length(dek_id) = 16),
    state text NOT NULL CHECK (state IN ('active', 'decrypt_only', 'destroyed')),
    created_at timestamptz NOT NULL,
    swept_at timestamptz,
    PRIMARY KEY (tenant_id, dek_id)
);
CREATE UNIQUE INDEX dek_active ON {{schema}}.dek (tenant_id) WHERE state = 'active';

CREATE TABLE {{schema}}.dek_wrap (
    tenant_id text COLLATE "C" NOT NULL,
    dek_id bytea NOT NULL,
    kek_id bytea NOT NULL REFERENCES {{schema}}.kek (kek_id),
    wrapped bytea NOT NULL,
    PRIMARY KEY (tenant_id, dek_id, kek_id),
    FOREIGN KEY (tenant_id, dek_id) REFERENCES {{schema}}.dek (tenant_id, dek_id)
);

-- Lifetimes are microseconds: an interval of days depends on the session's time zone. Scopes are a JSON
-- array; NULL is none that anybody named, which an upsert can tell from none on purpose.
-- Sealed values are not compressible; EXTERNAL spares the attempt.
CREATE TABLE {{schema}}.token (
    tenant_id text COLLATE "C" NOT NULL CHECK (char_length(tenant_id) BETWEEN 1 AND 255),
    provider text COLLATE "C" NOT NULL CHECK (char_length(provider) BETWEEN 1 AND 64),
    kind text COLLATE "C" NOT NULL CHECK (kind IN ('access_token', 'refresh_token', 'api_key', 'webhook_secret')),
    identifier text COLLATE "C" NOT NULL DEFAULT '' CHECK (char_length(identifier) <= 255),
    id uuid NOT NULL,
    dek_id bytea NOT NULL CHECK (octet_length(dek_id) = 16),
    blob bytea NOT NULL,
    status text NOT NULL CHECK (status IN ('valid', 'invalid', 'unknown')),
    error_code text CHECK (char_length(error_code) <= 64),
    expires_at timestamptz CHECK (isfinite(expires_at)),
    lifetime bigint,
    scopes text,
    generation bigint NOT NULL CHECK (generation >= 1),
    last_refreshed_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
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

-- Pages go by (xid, seq) and end before the oldest running transaction: seq alone is not the order of commits.
-- The empty tenant_id stands for none: a primary key, led by the tenant, takes no NULL.
CREATE TABLE {{schema}}.audit_event (
    tenant_id text COLLATE "C" NOT NULL DEFAULT '',
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    seq bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    action text NOT NULL,
    occurred_at timestamptz NOT NULL,
    provider text,
    identifier text,
    kind text,
    generation bigint,
    actor text,
    code text,
    PRIMARY KEY (tenant_id, xid, seq)
);
CREATE INDEX audit_event_order ON {{schema}}.audit_event (xid, seq);
