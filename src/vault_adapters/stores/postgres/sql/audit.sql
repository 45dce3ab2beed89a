-- name: list_audit_events
-- List events after a position, of one tenant or of all. The list ends before the events of the oldest transaction that
-- still runs in this database, so that no event that is committed late is skipped. The condition that ends the list is
-- outside of the subquery, because inside it the planner's estimates would be wrong.
SELECT {{listed_event}}
FROM (
    SELECT *
    FROM {{schema}}.audit_event e
    WHERE (e.xid, e.seq) > {{after}}
        AND (%(tenant_id)b::text IS NULL OR e.tenant_id = %(tenant_id)b)
    ORDER BY e.xid, e.seq
    LIMIT %(limit)b::bigint) e
WHERE e.xid < {{horizon}}
ORDER BY e.xid, e.seq

-- name: has_foreign_audit_events
-- Tell whether any event has a transaction number that this server has not reached yet. Such an event came with another
-- server's dump.
SELECT coalesce(
    (SELECT xid FROM {{schema}}.audit_event ORDER BY xid DESC, seq DESC LIMIT 1)
        >= pg_snapshot_xmax(pg_current_snapshot()),
    false)

-- name: adopt_audit_events
-- Assign all events to transaction 2, which is older than any transaction of this server; seq keeps their order.
UPDATE {{schema}}.audit_event SET xid = '2'::xid8 WHERE xid <> '2'::xid8

-- name: latest_audit_events
-- List the latest events that match the given conditions, latest first; see list_audit_events.
SELECT {{listed_event}}
FROM {{schema}}.audit_event e
WHERE e.xid < {{horizon}}
    AND (%(tenant_id)b::text IS NULL OR tenant_id = %(tenant_id)b::text)
    AND (%(account_tenant_id)b::text IS NULL OR tenant_id = %(account_tenant_id)b::text)
    AND (%(provider)b::text IS NULL OR provider = %(provider)b::text)
    AND (%(identifier)b::text IS NULL OR identifier = %(identifier)b::text)
    AND (%(action)b::text IS NULL OR action = %(action)b::text)
    AND (%(since)b::timestamptz IS NULL OR occurred_at >= %(since)b::timestamptz)
ORDER BY e.xid DESC, e.seq DESC
LIMIT %(limit)b::bigint

-- name: find_told_failures
-- Find the events about failed decryptions that were appended lately for some tenants, so that no second event about
-- the same failure is appended. The query uses the partial index of failed decryptions.
SELECT DISTINCT tenant_id, provider, identifier, kind, generation, code
FROM {{schema}}.audit_event
WHERE action = 'decryption_failed' AND tenant_id = ANY (%(tenant_ids)b::text[])
    AND occurred_at > {{now}} - %(apart)b::bigint::float8 * interval '1 microsecond'

-- name: append_events
-- Append events, in the transaction of the change that they report if there is one. They come from parameters and not
-- from a table. So Citus computes each event's place in the audit log (xid, seq) on the node that runs this statement,
-- and not on the tenants' nodes.
WITH event AS (SELECT e.*, (SELECT {{schema}}.audit_place()) AS xid FROM {{events}})
{{appended}}

-- name: prune_audit_events
-- Delete events from before a given time, up to a limit; lasting events stay. Rows that another transaction, such as an
-- erasure, has locked are left for the next batch.
WITH doomed AS MATERIALIZED (
    SELECT tenant_id, xid, seq, occurred_at FROM {{schema}}.audit_event
    WHERE occurred_at < %(before)b::timestamptz
        AND action NOT IN (
            'tenant_erased', 'data_key_replaced', 'data_key_destroyed', 'master_key_introduced', 'master_key_activated',
            'master_key_retired', 'audit_pruned')
    LIMIT %(limit)b::bigint
    FOR UPDATE SKIP LOCKED)
DELETE FROM {{schema}}.audit_event e USING doomed d
WHERE e.tenant_id = d.tenant_id AND e.xid = d.xid AND e.seq = d.seq AND e.occurred_at = d.occurred_at

-- name: list_seals
-- List the seals of the chain after a number; NULL: the last one. A seal of a thousand events has a third of the largest
-- body.
SELECT number, until, {{bytes 1048576 body}}, {{bytes 64 body_digest}}, {{bytes 64 digest}} FROM {{schema}}.audit_seal
WHERE number > coalesce(%(after)b::bigint, (SELECT max(number) - 1 FROM {{schema}}.audit_seal))
ORDER BY number
LIMIT %(limit)b::bigint

-- name: add_seal
-- Add a seal, unless there is one with its number.
INSERT INTO {{schema}}.audit_seal (number, until, body, body_digest, digest)
VALUES (%(number)b::bigint, %(until)b::bigint, %(body)b::bytea, %(body_digest)b::bytea, %(digest)b::bytea)
ON CONFLICT (number) DO NOTHING

-- name: empty_seals
-- Remove the bodies of the seals whose events are all from before a given time.
UPDATE {{schema}}.audit_seal SET body = NULL WHERE until < %(before)b::bigint AND body IS NOT NULL

-- name: get_chain_ends
-- Get where the chains of some tenants end.
SELECT tenant_id, {{bytes 64 secret}}, events, {{bytes 64 digest}} FROM {{schema}}.audit_chain WHERE tenant_id = ANY (%(tenant_ids)b::text[])

-- name: put_chain_ends
-- Store where the chains of some tenants end; the tenants are sorted.
INSERT INTO {{schema}}.audit_chain (tenant_id, secret, events, digest)
SELECT e.* FROM unnest(
    %(tenant_ids)b::text[], %(secrets)b::bytea[], %(events)b::bigint[], %(digests)b::bytea[]) e
ON CONFLICT (tenant_id) DO UPDATE SET secret = excluded.secret, events = excluded.events, digest = excluded.digest

-- name: drop_chain_ends
-- Delete where the chains of erased tenants ended.
DELETE FROM {{schema}}.audit_chain WHERE tenant_id = ANY (%(tenant_ids)b::text[])
