-- name: apply_row
-- Put an account's row in place of the one that was loaded (version NULL: none was), if its tokens are as loaded too,
-- and if this was not long ago. No token is written, so none is locked. Returns a row if the account's row was written.
WITH seen AS MATERIALIZED (
    SELECT {{same_tokens}} AND {{now}} <= %(latest)b::timestamptz AS same
    FROM (
        SELECT t.kind, {{token_hash}} AS version FROM {{schema}}.token t
        WHERE t.tenant_id = %(tenant_id)b AND t.provider = %(provider)b AND t.identifier = %(identifier)b) l),
written AS (
    INSERT INTO {{schema}}.account AS a ({{row_columns}})
    SELECT {{row_values}}
    FROM seen, (SELECT CASE WHEN %(durable)b::boolean THEN {{durable}} END) d
    WHERE seen.same
    ON CONFLICT (tenant_id, provider, identifier) DO UPDATE SET {{row_changes}}
        WHERE {{account_hash}} = %(version)b::int8
    RETURNING true),
event AS (SELECT e.*, {{schema}}.audit_place() AS xid FROM written, {{events}}),
audited AS (
    {{appended}})
SELECT true FROM written

-- name: apply_account
-- Put one account, tokens included, in place of the one that was loaded. Data keys are locked first, then tokens, then
-- the account's row, which is not touched if has_row is false. If an insertion finds another writer's row, the last
-- column fails (invalid_text_representation), so that nothing is written.
WITH guarded AS MATERIALIZED (
    SELECT 1 FROM {{schema}}.data_key
    WHERE tenant_id = %(tenant_id)b AND data_key_id = ANY (%(key_ids)b::bytea[]) AND state = 'active'
        AND pg_catalog.cardinality(%(key_ids)b::bytea[]) > 0
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
        (SELECT {{same_tokens}} FROM locked l) AND {{now}} <= %(latest)b::timestamptz AS same,
        CASE WHEN %(durable)b::boolean THEN {{durable}} END AS durable),
stored AS (
    INSERT INTO {{schema}}.token AS t (tenant_id, provider, identifier, {{written_columns}})
    SELECT %(tenant_id)b, %(provider)b, %(identifier)b, w.*
    FROM verdict v, unnest({{written_values}}) w
    WHERE v.active AND v.same
    ON CONFLICT (tenant_id, provider, identifier, kind) DO UPDATE SET {{written_changes}}
        WHERE t.kind = ANY (%(kinds)b::text[])
    RETURNING {{told_state}}),
deleted AS (
    DELETE FROM {{schema}}.token t
    USING verdict v
    WHERE v.active AND v.same AND pg_catalog.cardinality(%(gone)b::text[]) > 0
        AND t.tenant_id = %(tenant_id)b AND t.provider = %(provider)b AND t.identifier = %(identifier)b
        AND t.kind = ANY (%(gone)b::text[])
    RETURNING {{told_change}}),
written AS (
    INSERT INTO {{schema}}.account AS a ({{row_columns}})
    SELECT {{row_values}}
    FROM verdict v
    WHERE v.active AND v.same AND %(has_row)b::boolean AND (SELECT count(*) FROM stored) >= 0
    ON CONFLICT (tenant_id, provider, identifier) DO UPDATE SET {{row_changes}}
        WHERE {{account_hash}} = %(version)b::int8
    RETURNING true),
event AS (
    SELECT e.*, {{schema}}.audit_place() AS xid FROM verdict v, {{events}} WHERE v.active AND v.same),
audited AS (
    {{appended}})
SELECT v.same, v.active, v.durable,
    (CASE WHEN v.same AND v.active AND (
        (SELECT count(*) FROM stored) < pg_catalog.cardinality(%(w_ids)b::uuid[])
        OR %(has_row)b::boolean AND NOT EXISTS (SELECT FROM written))
    THEN 'the account has changed' ELSE '0' END)::int
FROM verdict v
