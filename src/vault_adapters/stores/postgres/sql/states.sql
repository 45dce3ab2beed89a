-- name: use_state
-- Record the use of a state, unless it was used before or has expired; delete some expired records. Of two callers with
-- the same state, the second waits for the commit of the first. The query returns whether the state has expired, and
-- whether this call is the first.
WITH gone AS (
    DELETE FROM {{schema}}.used_state WHERE state_id IN (
        SELECT state_id FROM {{schema}}.used_state
        WHERE expires_at <= {{now}}
        ORDER BY expires_at LIMIT 100
        FOR UPDATE SKIP LOCKED)),
used AS (
    INSERT INTO {{schema}}.used_state (state_id, expires_at)
    SELECT %(state_id)b::bytea, %(expires_at)b::timestamptz WHERE %(expires_at)b::timestamptz > {{now}}
    ON CONFLICT (state_id) DO NOTHING
    RETURNING state_id)
SELECT %(expires_at)b::timestamptz <= {{now}}, EXISTS (SELECT 1 FROM used), {{durable}}
