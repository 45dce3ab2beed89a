-- name: list_audit_events
-- List events after a position. The list ends before the events of the oldest transaction that still runs in this
-- database, so that no event that is committed late is skipped. The condition for this end stands outside of the sorted
-- page, because the planner's estimates would be wrong if it stood inside.
SELECT p.xid::text, p.seq, action, occurred_at, nullif(tenant_id, ''), provider, identifier, kind, generation, actor, code,
    credential_generation
FROM (
    SELECT *
    FROM {{schema}}.audit_event e
    WHERE (e.xid, e.seq) > {{after}}
    ORDER BY e.xid, e.seq
    LIMIT %(limit)b::bigint) p
WHERE p.xid < {{horizon}}
ORDER BY p.xid, p.seq

-- name: list_tenant_audit_events
-- List one tenant's events; see list_audit_events.
SELECT p.xid::text, p.seq, action, occurred_at, nullif(tenant_id, ''), provider, identifier, kind, generation, actor, code,
    credential_generation
FROM (
    SELECT *
    FROM {{schema}}.audit_event e
    WHERE tenant_id = %(tenant_id)b AND (e.xid, e.seq) > {{after}}
    ORDER BY e.xid, e.seq
    LIMIT %(limit)b::bigint) p
WHERE p.xid < {{horizon}}
ORDER BY p.xid, p.seq

-- name: has_foreign_audit_events
-- Tell whether events name transactions that this server has not reached yet, because the events came with another
-- server's dump.
SELECT coalesce(
    (SELECT xid FROM {{schema}}.audit_event ORDER BY xid DESC, seq DESC LIMIT 1)
        >= pg_snapshot_xmax(pg_current_snapshot()),
    false)

-- name: adopt_audit_events
-- Assign all events to transaction 2, which is older than any transaction of this server; seq keeps their order.
UPDATE {{schema}}.audit_event SET xid = '2'::xid8 WHERE xid <> '2'::xid8
