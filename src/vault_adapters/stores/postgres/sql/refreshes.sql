-- name: load_account
-- Get an account whole: a row for each token; an account without tokens gives one row. The versions are hashes of the
-- stored columns, so that a row that anybody has changed has another version. Every row also holds the time, the start
-- of the server (NULL if a clock replaces the database's time), its timeline, and when a vault first met this timeline.
SELECT {{token_columns}}, {{key_columns}}, {{account_columns}}, {{value_columns}}, {{now}},
    {{token_hash}}, a.committed_attempt_id, a.endpoint, a.due_at, {{account_hash}}, t.noted_value_id = t.value_id,
    a.tenant_id IS NOT NULL, {{answer_columns}},
    CASE WHEN %(now)b::timestamptz IS NULL THEN pg_postmaster_start_time() END,
    {{timeline}}, (SELECT l.met_at FROM {{schema}}.timeline l WHERE l.timeline = {{timeline}})
FROM (SELECT) one
LEFT JOIN {{schema}}.account a
    ON a.tenant_id = %(tenant_id)b AND a.provider = %(provider)b AND a.identifier = %(identifier)b
LEFT JOIN {{schema}}.unread_answer n
    ON n.tenant_id = %(tenant_id)b AND n.provider = %(provider)b AND n.identifier = %(identifier)b
LEFT JOIN {{schema}}.token t
    ON t.tenant_id = %(tenant_id)b AND t.provider = %(provider)b AND t.identifier = %(identifier)b
LEFT JOIN {{schema}}.token_use u
    ON u.tenant_id = t.tenant_id AND u.provider = t.provider AND u.kind = t.kind AND u.identifier = t.identifier

-- name: reserve_due_accounts
-- Take due accounts of a provider, earliest first. Each account becomes due again when the time `hold` has passed.
-- Accounts that are locked now are skipped; on Citus, two processes may pick the same account, so that the later one
-- finds that due_at has changed, and leaves the account out. The first row holds only the time, and whether any account
-- was picked; the accounts follow in any order.
WITH clock AS MATERIALIZED (SELECT {{now}} AS now),
picked AS MATERIALIZED (
    SELECT tenant_id, identifier, due_at FROM {{schema}}.account
    WHERE provider = %(provider)b AND due_at >= %(since)b::timestamptz
        AND due_at <= coalesce(%(until)b::timestamptz, {{now}})
    ORDER BY due_at
    LIMIT %(limit)b::bigint
    FOR UPDATE SKIP LOCKED),
taken AS (
    UPDATE {{schema}}.account a SET due_at = {{now}} + %(hold)b::bigint::float8 * interval '1 microsecond'
    FROM picked p
    WHERE a.tenant_id = p.tenant_id AND a.provider = %(provider)b AND a.identifier = p.identifier
        AND a.due_at = p.due_at
    RETURNING a.tenant_id, a.identifier, p.due_at)
SELECT NULL, CASE WHEN EXISTS (SELECT 1 FROM picked) THEN 'picked' END, now FROM clock
UNION ALL
SELECT tenant_id, identifier, due_at FROM taken

-- name: make_commit_durable
-- Make this transaction's commit durable; see `_DURABLE` in statements.py.
SELECT {{durable}}
