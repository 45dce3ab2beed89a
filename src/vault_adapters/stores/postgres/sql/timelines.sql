-- name: get_timeline
-- Get the server's timeline, and when a vault first met it; both are NULL if the server does not tell its timeline.
SELECT {{timeline}}, (SELECT l.met_at FROM {{schema}}.timeline l WHERE l.timeline = {{timeline}})

-- name: find_events_since_turn
-- Get the smallest id of the transactions that may have added events since the timeline began. A vault may have met
-- the timeline only some time after the promotion, so the events of the last day before `met_at` count too.
WITH doubtful AS MATERIALIZED (
    SELECT e.xid FROM {{schema}}.audit_event e
    WHERE e.occurred_at >= %(met_at)b::timestamptz - interval '1 day')
SELECT xid::text FROM doubtful ORDER BY xid LIMIT 1

-- name: meet_timeline
-- Note a timeline, unless another process has noted it, and return when it was first met. The first timeline of a
-- database counts as met long ago.
INSERT INTO {{schema}}.timeline AS l (timeline, met_at)
SELECT %(timeline)b::text,
    CASE WHEN (SELECT count(*) FROM {{schema}}.timeline) > 0 THEN {{now}} ELSE timestamptz 'epoch' END
ON CONFLICT (timeline) DO UPDATE SET met_at = l.met_at
RETURNING l.met_at
