-- name: get_home
-- Get the recorded home, if there is one, and the name of this database.
SELECT {{text 4096 h.places}}, {{text h.deployment}}, pg_catalog.current_database()::text
FROM (SELECT true AS only_row) o LEFT JOIN {{schema}}.home h ON h.only_row = o.only_row

-- name: record_home
-- Record the home, unless it is another one than the given one; without a given one, unless there is a record. With
-- `anyway`, record it in place of any other. Returns the present time if it was recorded.
INSERT INTO {{schema}}.home AS h (only_row, places, deployment, since)
VALUES (true, %(places)b::text, %(deployment)b::text, {{now}})
ON CONFLICT (only_row) DO UPDATE
    SET places = excluded.places, deployment = excluded.deployment, since = excluded.since
    WHERE %(anyway)b::boolean
        OR h.places = %(instead_places)b::text AND h.deployment IS NOT DISTINCT FROM %(instead_deployment)b::text
RETURNING {{now}}
