-- name: apply_account
-- Put one account in place of the one that was loaded, if it is still the same, and if this was not long ago. Data keys
-- are locked first, then tokens, then the account's row. `shaped` leaves out the parts that a decision does not need:
-- `alone` is for a decision about nothing but the account's row, `tokens` for all others. `alone` locks tokens too,
-- because a writer of tokens may leave the account's row as it is. If an insertion finds another writer's row, the last
-- column fails (invalid_text_representation), so that nothing is written.
WITH /*sealed*/guarded AS MATERIALIZED (
    SELECT 1 FROM {{schema}}.data_key
    WHERE tenant_id = %(tenant_id)b AND data_key_id = ANY (%(key_ids)b::bytea[]) AND state = 'active'
    ORDER BY data_key_id
    FOR SHARE),
/*end sealed*/found AS MATERIALIZED (
    SELECT t.kind, {{token_hash}} AS version FROM {{schema}}.token t
    WHERE t.tenant_id = %(tenant_id)b AND t.provider = %(provider)b AND t.identifier = %(identifier)b
        /*sealed*/AND (SELECT count(*) FROM guarded) >= 0/*end sealed*/
    ORDER BY t.kind
    /*tokens*/FOR UPDATE/*end tokens*//*alone*/FOR SHARE/*end alone*/),
verdict AS MATERIALIZED (
    SELECT true/*sealed*/ AND (SELECT count(*) FROM guarded) = pg_catalog.cardinality(%(key_ids)b::bytea[])
            /*end sealed*/ AS active,
        (SELECT {{same_tokens}} FROM found l)
            AND {{now}} BETWEEN %(earliest)b::timestamptz AND %(latest)b::timestamptz AS same
        /*durable*/, {{durable}} AS durable/*end durable*/),
/*inserted*/inserted AS (
    INSERT INTO {{schema}}.token AS t (tenant_id, provider, identifier, {{written_columns}})
    SELECT %(tenant_id)b, %(provider)b, %(identifier)b, w.*
    FROM verdict v, (VALUES /*each inserted*/({{written_row}})/*end each*/) w
    WHERE v.active AND v.same
    ON CONFLICT (tenant_id, provider, identifier, kind) DO NOTHING
    RETURNING t.kind, {{token_hash}} AS version, {{told_state}}),
/*end inserted*//*updated*/updated AS (
    UPDATE {{schema}}.token t SET {{written_settings}}
    FROM verdict v, (VALUES /*each updated*/({{written_row}})/*end each*/) w ({{written_columns}})
    WHERE v.active AND v.same
        AND t.tenant_id = %(tenant_id)b AND t.provider = %(provider)b AND t.identifier = %(identifier)b
        AND t.kind = w.kind
    RETURNING t.kind, {{token_hash}} AS version, {{told_state}}),
/*end updated*//*deleted*/deleted AS (
    DELETE FROM {{schema}}.token t
    USING verdict v
    WHERE v.active AND v.same
        AND t.tenant_id = %(tenant_id)b AND t.provider = %(provider)b AND t.identifier = %(identifier)b
        AND t.kind = ANY (%(gone)b::text[])
    RETURNING {{told_change}}),
/*end deleted*/ready AS MATERIALIZED (
    SELECT v.active AND v.same
        /*inserted*/AND (SELECT count(*) FROM inserted) = %(inserted)b::int8/*end inserted*/
        /*updated*/AND (SELECT count(*) FROM updated) = %(updated)b::int8/*end updated*/
        /*deleted*/AND (SELECT count(*) FROM deleted) >= 0/*end deleted*/ AS ready
    FROM verdict v),
/*row_inserted*/row_inserted AS (
    INSERT INTO {{schema}}.account AS a ({{row_columns}})
    SELECT {{row_values}}
    FROM ready r
    WHERE r.ready
    ON CONFLICT (tenant_id, provider, identifier) DO NOTHING
    RETURNING {{account_hash}} AS version),
/*end row_inserted*//*row_updated*/row_updated AS (
    UPDATE {{schema}}.account a SET {{row_settings}}
    FROM ready r
    WHERE r.ready AND a.tenant_id = %(tenant_id)b AND a.provider = %(provider)b AND a.identifier = %(identifier)b
        AND {{account_hash}} = %(version)b::int8
    RETURNING {{account_hash}} AS version),
/*end row_updated*//*row_locked*/row_locked AS MATERIALIZED (
    SELECT {{account_hash}} AS version FROM {{schema}}.account a
    WHERE (SELECT r.ready FROM ready r)
        AND a.tenant_id = %(tenant_id)b AND a.provider = %(provider)b AND a.identifier = %(identifier)b
        AND {{account_hash}} = %(version)b::int8
    FOR UPDATE),
/*end row_locked*//*kept*/kept AS (
    INSERT INTO {{schema}}.unread_answer (tenant_id, provider, identifier, attempt_id, data_key_id, blob, kept_at)
    SELECT %(tenant_id)b, %(provider)b, %(identifier)b, %(answer_attempt_id)b::uuid, %(answer_data_key_id)b::bytea,
        %(answer_blob)b::bytea, %(kept_at)b::timestamptz
    FROM ready r
    WHERE r.ready
    ON CONFLICT (tenant_id, provider, identifier) DO NOTHING
    RETURNING true AS done),
/*end kept*//*replaced*/replaced AS (
    UPDATE {{schema}}.unread_answer n SET
        attempt_id = %(answer_attempt_id)b::uuid, data_key_id = %(answer_data_key_id)b::bytea,
        blob = %(answer_blob)b::bytea, kept_at = %(kept_at)b::timestamptz
    FROM ready r
    WHERE r.ready AND n.tenant_id = %(tenant_id)b AND n.provider = %(provider)b AND n.identifier = %(identifier)b
        AND n.attempt_id = %(before_attempt_id)b::uuid
    RETURNING true AS done),
/*end replaced*//*dropped*/dropped AS (
    DELETE FROM {{schema}}.unread_answer n
    USING ready r
    WHERE r.ready AND n.tenant_id = %(tenant_id)b AND n.provider = %(provider)b AND n.identifier = %(identifier)b
        AND n.attempt_id = %(before_attempt_id)b::uuid
    RETURNING true AS done),
/*end dropped*/outcome AS MATERIALIZED (
    SELECT v.*, (SELECT r.ready FROM ready r)
        /*row_inserted*/AND EXISTS (SELECT 1 FROM row_inserted)/*end row_inserted*/
        /*row_updated*/AND EXISTS (SELECT 1 FROM row_updated)/*end row_updated*/
        /*row_locked*/AND EXISTS (SELECT 1 FROM row_locked)/*end row_locked*/
        /*no_row*/AND NOT EXISTS (
            SELECT 1 FROM {{schema}}.account a
            WHERE a.tenant_id = %(tenant_id)b AND a.provider = %(provider)b AND a.identifier = %(identifier)b)
        /*end no_row*/
        /*kept*/AND EXISTS (SELECT 1 FROM kept)/*end kept*/
        /*replaced*/AND EXISTS (SELECT 1 FROM replaced)/*end replaced*/
        /*dropped*/AND EXISTS (SELECT 1 FROM dropped)/*end dropped*/ AS is_written
    FROM verdict v)/*events*/,
event AS (
    SELECT e.*, {{schema}}.audit_place() AS xid
    FROM outcome o, (VALUES /*each event*/({{event_row}})/*end each*/) e ({{event_columns}})
    WHERE o.is_written),
audited AS (
    {{appended}})/*end events*/
SELECT o.same /*alone*/AND o.is_written/*end alone*/, o.active, {{now}},
    pg_catalog.concat_ws(',', NULL::text /*inserted*/,
        (SELECT pg_catalog.string_agg({{version_text}}, ',') FROM inserted l)/*end inserted*//*updated*/,
        (SELECT pg_catalog.string_agg({{version_text}}, ',') FROM updated l)/*end updated*/),
    coalesce(NULL::int8 /*row_inserted*/, (SELECT a.version FROM row_inserted a)/*end row_inserted*//*row_updated*/,
        (SELECT a.version FROM row_updated a)/*end row_updated*/)
    /*tokens*/, (CASE WHEN o.same AND o.active AND NOT o.is_written THEN 'the account has changed' ELSE '0' END)::int
    /*end tokens*/
FROM outcome o
