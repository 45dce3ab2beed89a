-- name: list_audit_events
-- Events behind a position, up to the oldest transaction that still runs: one that commits late is not skipped. A
-- position of a transaction that this server has yet to reach, or before events that `adopt_audit_events` took over, is
-- of the server that a dump came from, and means the place that its event has now.
SELECT e.xid::text, e.seq, action, occurred_at, nullif(tenant_id, ''), provider, identifier, kind, generation, actor, code
FROM {{schema}}.audit_event e
WHERE (e.xid, e.seq) > (
        CASE
            WHEN %(after_xid)b::text::xid8 >= pg_snapshot_xmax(pg_current_snapshot())
                OR EXISTS (SELECT FROM {{schema}}.audit_event a WHERE a.xid = '2'::xid8 AND a.seq > %(after_seq)b::bigint)
            THEN '2'::xid8
            ELSE %(after_xid)b::text::xid8 END,
        %(after_seq)b::bigint)
    AND e.xid < pg_snapshot_xmin(pg_current_snapshot())
ORDER BY e.xid, e.seq
LIMIT %(limit)b::bigint

-- name: list_tenant_audit_events
-- The same for one tenant.
SELECT e.xid::text, e.seq, action, occurred_at, nullif(tenant_id, ''), provider, identifier, kind, generation, actor, code
FROM {{schema}}.audit_event e
WHERE tenant_id = %(tenant_id)b AND (e.xid, e.seq) > (
        CASE
            WHEN %(after_xid)b::text::xid8 >= pg_snapshot_xmax(pg_current_snapshot())
                OR EXISTS (SELECT FROM {{schema}}.audit_event a WHERE a.xid = '2'::xid8 AND a.seq > %(after_seq)b::bigint)
            THEN '2'::xid8
            ELSE %(after_xid)b::text::xid8 END,
        %(after_seq)b::bigint)
    AND e.xid < pg_snapshot_xmin(pg_current_snapshot())
ORDER BY e.xid, e.seq
LIMIT %(limit)b::bigint

-- name: has_foreign_audit_events
-- Whether there are events of transactions that this server has yet to reach: they came with a dump of another one.
SELECT coalesce(
    (SELECT xid FROM {{schema}}.audit_event ORDER BY xid DESC, seq DESC LIMIT 1)
        >= pg_snapshot_xmax(pg_current_snapshot()),
    false)

-- name: adopt_audit_events
-- Let all events be of a transaction before any of this server's; seq keeps them in their order.
UPDATE {{schema}}.audit_event SET xid = '2'::xid8 WHERE xid <> '2'::xid8
