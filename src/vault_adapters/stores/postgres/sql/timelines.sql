-- name: get_timeline
-- Get the server's timeline, and when a vault first met it; both are NULL if the server does not tell.
SELECT {{timeline}}, (SELECT l.met_at FROM {{schema}}.timeline l WHERE l.timeline = {{timeline}})

-- name: meet_timeline
-- Note a timeline, unless another process has noted it, and return when it was first met.
INSERT INTO {{schema}}.timeline AS l (timeline, met_at)
SELECT %(timeline)b::text,
    CASE WHEN (SELECT count(*) FROM {{schema}}.timeline) > 0 THEN {{now}} ELSE timestamptz 'epoch' END
ON CONFLICT (timeline) DO UPDATE SET met_at = l.met_at
RETURNING l.met_at
