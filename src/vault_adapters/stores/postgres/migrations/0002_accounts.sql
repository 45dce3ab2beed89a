-- One row per account that has a label, or a refresh under way or failed: narrow, since leases and backoff
-- change often. The credential is named by id and generation; once another is stored, the row no longer speaks
-- of it.
CREATE TABLE {{schema}}.account (
    tenant_id text COLLATE "C" NOT NULL,
    provider text COLLATE "C" NOT NULL,
    identifier text COLLATE "C" NOT NULL DEFAULT '',
    label text CHECK (char_length(label) <= 255),
    credential_id uuid,
    credential_generation bigint,
    attempt_id uuid,
    committed_attempt_id uuid,
    lease_until timestamptz,
    sent_at timestamptz,
    failures bigint NOT NULL DEFAULT 0 CHECK (failures >= 0),
    next_attempt_at timestamptz,
    unknown_since timestamptz,
    error_code text CHECK (char_length(error_code) <= 64),
    PRIMARY KEY (tenant_id, provider, identifier)
) WITH (fillfactor = 70);
