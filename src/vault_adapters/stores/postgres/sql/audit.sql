-- name: list_audit_events
-- Events behind a position, up to the oldest transaction that still runs: one that commits late is not skipped.
SELECT xid::text, seq, action, occurred_at, nullif(tenant_id, ''), provider, identifier, kind, generation, actor, code
FROM {{schema}}.audit_event
WHERE (xid, seq) > (%(after_xid)b::text::xid8, %(after_seq)b::bigint)
    AND xid < pg_snapshot_xmin(pg_current_snapshot())
ORDER BY xid, seq
LIMIT %(limit)b::bigint

-- name: list_tenant_audit_events
-- The same for one tenant.
SELECT xid::text, seq, action, occurred_at, nullif(tenant_id, ''), provider, identifier, kind, generation, actor, code
FROM {{schema}}.audit_event
WHERE tenant_id = %(tenant_id)b AND (xid, seq) > (%(after_xid)b::text::xid8, %(after_seq)b::bigint)
    AND xid < pg_snapshot_xmin(pg_current_snapshot())
ORDER BY xid, seq
LIMIT %(limit)b::bigint
