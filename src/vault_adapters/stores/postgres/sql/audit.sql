-- name: list_audit_events
-- List events after a position, up to the oldest transaction that still runs, so that no late commit is skipped. A
-- position that was given out by another server, whose dump was restored here, is translated to the event's present
-- position. Such a position has a transaction number that this server has not reached yet, or a seq before the last
-- event of `adopt_audit_events`.
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
-- List one tenant's events; see list_audit_events.
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
-- Tell whether events name transactions that this server has not reached yet, because they came with another server's
-- dump.
SELECT coalesce(
    (SELECT xid FROM {{schema}}.audit_event ORDER BY xid DESC, seq DESC LIMIT 1)
        >= pg_snapshot_xmax(pg_current_snapshot()),
    false)

-- name: adopt_audit_events
-- Assign all events to a transaction before any of this server's; seq keeps their order.
UPDATE {{schema}}.audit_event SET xid = '2'::xid8 WHERE xid <> '2'::xid8
