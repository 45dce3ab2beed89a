-- name: insert_audit_event
-- Append one event in the transaction of the change.
INSERT INTO token_vault_audit_event (
    action, occurred_at, tenant_id, provider, identifier, kind, generation, actor, code,
    credential_generation)
VALUES (:action, :occurred_at, :tenant_id, :provider, :identifier, :kind, :generation, :actor, :code,
    :credential_generation)

-- name: list_audit_events
-- List events after a position. SQLite has one writer, so seq follows the order of commits.
SELECT seq, {{text action}}, occurred_at, {{text tenant_id}}, {{text provider}}, {{text identifier}}, {{text kind}},
    generation, {{text actor}}, {{text code}}, credential_generation
FROM token_vault_audit_event
WHERE seq > :after
    AND (:tenant_id IS NULL OR tenant_id = :tenant_id)
ORDER BY seq
LIMIT :limit

-- name: latest_audit_events
-- List the latest events that match the given conditions, latest first.
SELECT seq, {{text action}}, occurred_at, {{text tenant_id}}, {{text provider}}, {{text identifier}}, {{text kind}},
    generation, {{text actor}}, {{text code}}, credential_generation
FROM token_vault_audit_event
WHERE true
    AND (:tenant_id IS NULL OR tenant_id = :tenant_id)
    AND (:account_tenant_id IS NULL OR tenant_id = :account_tenant_id)
    AND (:provider IS NULL OR provider = :provider)
    AND (:identifier IS NULL OR identifier = :identifier)
    AND (:action IS NULL OR action = :action)
    AND (:since IS NULL OR occurred_at >= :since)
ORDER BY seq DESC
LIMIT :limit

-- name: was_told
-- Tell whether a `decryption_failed` event with the given `TokenKey`, generation and code occurred after a given time.
-- The query reads the partial index of failed decryptions.
SELECT EXISTS (
    SELECT 1 FROM token_vault_audit_event INDEXED BY token_vault_audit_event_unreadable
    WHERE action = 'decryption_failed' AND tenant_id = :tenant_id AND occurred_at > :after
        AND provider = :provider AND identifier = :identifier AND kind = :kind
        AND generation IS :generation AND code IS :code)

-- name: prune_audit_events
-- Delete events from before a given time, up to a limit; lasting events stay.
DELETE FROM token_vault_audit_event
WHERE seq IN (
    SELECT seq FROM token_vault_audit_event
    WHERE occurred_at < :before
        AND action NOT IN (
            'tenant_erased', 'data_key_replaced', 'data_key_destroyed', 'master_key_introduced', 'master_key_activated',
            'master_key_retired', 'audit_pruned')
    ORDER BY seq
    LIMIT :limit)

-- name: list_seals
-- List the seals of the chain after a number; NULL: the last one. A seal of a thousand events has a third of the largest
-- body.
SELECT number, until, {{bytes 1048576 body}}, {{bytes 64 body_digest}}, {{bytes 64 digest}} FROM token_vault_audit_seal
WHERE number > coalesce(:after, (SELECT max(number) - 1 FROM token_vault_audit_seal))
ORDER BY number
LIMIT :limit

-- name: add_seal
-- Add a seal, unless there is one with its number.
INSERT INTO token_vault_audit_seal (number, until, body, body_digest, digest)
VALUES (:number, :until, :body, :body_digest, :digest)
ON CONFLICT (number) DO NOTHING

-- name: empty_seals
-- Remove the bodies of the seals whose events are all from before a given time.
UPDATE token_vault_audit_seal SET body = NULL WHERE until < :before AND body IS NOT NULL

-- name: get_chain_end
-- Get where a tenant's chain ends.
SELECT tenant_id, {{bytes 64 secret}}, events, {{bytes 64 digest}} FROM token_vault_audit_chain WHERE tenant_id = :tenant_id

-- name: put_chain_end
-- Store where a tenant's chain ends.
INSERT INTO token_vault_audit_chain (tenant_id, secret, events, digest)
VALUES (:tenant_id, :secret, :events, :digest)
ON CONFLICT (tenant_id) DO UPDATE SET secret = excluded.secret, events = excluded.events, digest = excluded.digest

-- name: drop_chain_end
-- Delete where the chain of an erased tenant ended.
DELETE FROM token_vault_audit_chain WHERE tenant_id = :tenant_id
