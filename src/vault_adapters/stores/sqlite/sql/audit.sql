-- name: insert_audit_event
-- Append one event in the transaction of the change.
INSERT INTO token_vault_audit_event (
    action, occurred_at, tenant_id, provider, identifier, kind, generation, actor, code,
    credential_generation)
VALUES (:action, :occurred_at, :tenant_id, :provider, :identifier, :kind, :generation, :actor, :code,
    :credential_generation)

-- name: list_audit_events
-- List events after a position. SQLite has one writer, so seq follows the order of commits.
SELECT seq, action, occurred_at, tenant_id, provider, identifier, kind, generation, actor, code, credential_generation
FROM token_vault_audit_event
WHERE seq > :after AND (:tenant_id IS NULL OR tenant_id = :tenant_id)
ORDER BY seq
LIMIT :limit
