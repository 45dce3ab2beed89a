-- needs: 0002
-- Answers of providers with the status 2xx that could not be read, sealed, one per account, until something can read
-- them. The foreign key deletes an answer with its account, and so when the tenant is erased.
CREATE TABLE {{schema}}.unread_answer (
    tenant_id text COLLATE "C" NOT NULL,
    provider text COLLATE "C" NOT NULL,
    identifier text COLLATE "C" NOT NULL,
    attempt_id uuid NOT NULL,
    data_key_id bytea NOT NULL CHECK (octet_length(data_key_id) = 16),
    blob bytea NOT NULL,
    kept_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, provider, identifier)
);
CREATE INDEX unread_answer_order ON {{schema}}.unread_answer (kept_at, attempt_id);
-- If Citus distributes the tables already, distribute this one as well. This must come before the foreign key.
DO $token_vault_unread$
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'citus') THEN
        EXECUTE $token_vault_citus$
            SELECT create_distributed_table(
                '{{schema}}.unread_answer', 'tenant_id', colocate_with => '{{schema}}.data_key')
            FROM pg_catalog.pg_dist_partition WHERE logicalrelid = '{{schema}}.account'::regclass
        $token_vault_citus$;
    END IF;
END
$token_vault_unread$;
ALTER TABLE {{schema}}.unread_answer ADD FOREIGN KEY (tenant_id, provider, identifier)
    REFERENCES {{schema}}.account (tenant_id, provider, identifier) ON DELETE CASCADE;

-- Answers that nothing can read pause a client too.
ALTER TABLE {{schema}}.client_refusal DROP CONSTRAINT client_refusal_reason_check;
ALTER TABLE {{schema}}.client_refusal ADD CONSTRAINT client_refusal_reason_check
    CHECK (reason IN ('invalid_client', 'client_mismatch', 'mass_rejection', 'unreadable_answer'));
