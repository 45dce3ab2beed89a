-- name: list_audit_events
-- Events behind a position, up to the oldest transaction that still runs: one that commits late is not skipped.
SELECT e.xid::text, e.seq, action, occurred_at, nullif(tenant_id, ''), provider, identifier, kind, generation, actor, code
FROM {{schema}}.audit_event e
WHERE (e.xid, e.seq) > (%(after_xid)b::text::xid8, %(after_seq)b::bigint)
    AND e.xid < pg_snapshot_xmin(pg_current_snapshot())
ORDER BY e.xid, e.seq
LIMIT %(limit)b::bigint

-- name: list_tenant_audit_events
-- The same for one tenant.
SELECT e.xid::text, e.seq, action, occurred_at, nullif(tenant_id, ''), provider, identifier, kind, generation, actor, code
FROM {{schema}}.audit_event e
WHERE tenant_id = %(tenant_id)b AND (e.xid, e.seq) > (%(after_xid)b::text::xid8, %(after_seq)b::bigint)
    AND e.xid < pg_snapshot_xmin(pg_current_snapshot())
ORDER BY e.xid, e.seq
LIMIT %(limit)b::bigint
