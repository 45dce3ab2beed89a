-- The writes of `CitusAccountStates`. A statement whose CTEs update goes to the tenant's node as a whole, as long as
-- none of them inserts. Only there can it make its transaction's commit durable.

-- name: apply_row
-- Put an account's row in place of the one that was loaded, if its tokens are as loaded too. They are locked, because a
-- writer of tokens may leave the account's row as it is. Returns a row if the account's row was written.
WITH seen AS MATERIALIZED (
    SELECT {{same_tokens}} AS same, CASE WHEN %(durable)b::boolean THEN {{durable}} END AS durable
    FROM (
        SELECT t.kind, {{token_hash}} AS version FROM {{schema}}.token t
        WHERE t.tenant_id = %(tenant_id)b AND t.provider = %(provider)b AND t.identifier = %(identifier)b
        ORDER BY t.kind
        FOR SHARE) l),
written AS (
    UPDATE {{schema}}.account a SET {{row_settings}}
    FROM seen
    WHERE seen.same AND a.tenant_id = %(tenant_id)b AND a.provider = %(provider)b AND a.identifier = %(identifier)b
        AND {{account_hash}} = %(version)b::int8
    RETURNING true AS is_written)
SELECT is_written FROM written

-- name: apply_account
-- Put one account, tokens included, in place of the one that was loaded. Other statements insert rows that were absent.
-- Data keys are locked first, then tokens, then the account's row. The last column tells whether this row was written.
-- The version is a column of a CTE, because Citus goes wrong where the planner sees a comparison with NULL.
WITH guarded AS MATERIALIZED (
    SELECT data_key_id FROM {{schema}}.data_key
    WHERE tenant_id = %(tenant_id)b AND data_key_id = ANY (%(key_ids)b::bytea[]) AND state = 'active'
    ORDER BY data_key_id
    FOR SHARE),
locked AS MATERIALIZED (
    SELECT t.kind, {{token_hash}} AS version FROM {{schema}}.token t
    WHERE t.tenant_id = %(tenant_id)b AND t.provider = %(provider)b AND t.identifier = %(identifier)b
        AND (SELECT count(*) FROM guarded) >= 0
    ORDER BY t.kind
    FOR UPDATE),
verdict AS MATERIALIZED (
    SELECT (SELECT count(*) FROM guarded) = pg_catalog.cardinality(%(key_ids)b::bytea[]) AS active,
        (SELECT {{same_tokens}} FROM locked l) AND (%(has_row)b::boolean OR NOT EXISTS (
            SELECT 1 FROM {{schema}}.account a
            WHERE a.tenant_id = %(tenant_id)b AND a.provider = %(provider)b AND a.identifier = %(identifier)b)) AS same,
        CASE WHEN %(has_row)b::boolean THEN %(version)b::int8 END AS version,
        CASE WHEN %(durable)b::boolean THEN {{durable}} END AS durable),
/*updated*/stored AS (
    UPDATE {{schema}}.token t SET {{written_settings}}
    FROM verdict v, (VALUES /*each updated*/({{written_row}})/*end each*/) w ({{written_columns}})
    WHERE v.active AND v.same AND t.tenant_id = %(tenant_id)b AND t.provider = %(provider)b
        AND t.identifier = %(identifier)b AND t.kind = w.kind
    RETURNING t.kind),
/*end updated*//*deleted*/deleted AS (
    DELETE FROM {{schema}}.token t
    USING verdict v
    WHERE v.active AND v.same AND t.tenant_id = %(tenant_id)b AND t.provider = %(provider)b
        AND t.identifier = %(identifier)b AND t.kind = ANY (%(gone)b::text[])
    RETURNING t.kind),
/*end deleted*/written AS (
    UPDATE {{schema}}.account a SET {{row_settings}}
    FROM verdict v
    WHERE v.active AND v.same /*updated*/AND (SELECT count(*) FROM stored) >= 0/*end updated*/
        AND a.tenant_id = %(tenant_id)b AND a.provider = %(provider)b AND a.identifier = %(identifier)b
        AND {{account_hash}} = v.version
    RETURNING a.provider)
SELECT v.same, v.active, (SELECT count(*) FROM written) > 0 FROM verdict v

-- name: insert_tokens
-- Insert tokens where none were, and return their kinds and versions; one that is missing: another writer was faster.
INSERT INTO {{schema}}.token AS t (tenant_id, provider, identifier, {{written_columns}})
VALUES /*each inserted*/(%(tenant_id)b, %(provider)b, %(identifier)b, {{written_row}})/*end each*/
ON CONFLICT (tenant_id, provider, identifier, kind) DO NOTHING
RETURNING t.kind, {{token_hash}}

-- name: insert_row
-- Insert the row of an account that had none; no row: another writer was faster.
INSERT INTO {{schema}}.account ({{row_columns}})
VALUES ({{row_values}})
ON CONFLICT (tenant_id, provider, identifier) DO NOTHING
RETURNING true

-- name: insert_events
-- Append events. This is quicker than append_events, for which Citus copies rows.
INSERT INTO {{schema}}.audit_event ({{event_columns}})
VALUES /*each event*/({{event_row}})/*end each*/

-- name: answer_kept
-- Keep an answer; no row: another writer has kept one.
INSERT INTO {{schema}}.unread_answer (tenant_id, provider, identifier, attempt_id, data_key_id, blob, kept_at)
VALUES (
    %(tenant_id)b, %(provider)b, %(identifier)b, %(answer_attempt_id)b::uuid, %(answer_data_key_id)b::bytea,
    %(answer_blob)b::bytea, %(kept_at)b::timestamptz)
ON CONFLICT (tenant_id, provider, identifier) DO NOTHING
RETURNING true

-- name: answer_replaced
-- Keep an answer in place of the one that was loaded; no row: another writer was faster.
UPDATE {{schema}}.unread_answer SET
    attempt_id = %(answer_attempt_id)b::uuid, data_key_id = %(answer_data_key_id)b::bytea,
    blob = %(answer_blob)b::bytea, kept_at = %(kept_at)b::timestamptz
WHERE tenant_id = %(tenant_id)b AND provider = %(provider)b AND identifier = %(identifier)b
    AND attempt_id = %(before_attempt_id)b::uuid
RETURNING true

-- name: answer_dropped
-- Delete the answer that was loaded; no row: another writer was faster.
DELETE FROM {{schema}}.unread_answer
WHERE tenant_id = %(tenant_id)b AND provider = %(provider)b AND identifier = %(identifier)b
    AND attempt_id = %(before_attempt_id)b::uuid
RETURNING true
