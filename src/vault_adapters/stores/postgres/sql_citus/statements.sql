-- Statements for tables that Citus distributes. They replace statements of the same name in the folder sql, or are
-- added to that folder's statements.

-- name: list_tenants
-- List the ids of tenants that have tokens, after a given id. Citus runs the query with its order and limit on each
-- shard. Then it merges the rows of all shards, and applies the order and the limit to them again.
SELECT DISTINCT tenant_id FROM {{schema}}.token WHERE tenant_id > %(after)b ORDER BY tenant_id LIMIT %(limit)b::bigint

-- name: find_rows_to_reseal
-- After a position, find tokens under decrypt_only data keys. Citus limits and merges the rows as in list_tenants.
SELECT t.tenant_id, t.provider, t.kind, t.identifier, {{value_columns}}
FROM {{schema}}.token t
JOIN {{schema}}.data_key d ON d.tenant_id = t.tenant_id AND d.data_key_id = t.data_key_id
WHERE d.state = 'decrypt_only' AND d.emptied_at IS NULL AND (%(tenant_id)b::text IS NULL OR t.tenant_id = %(tenant_id)b)
    AND (t.tenant_id, t.provider, t.identifier, t.kind)
        > (%(after_tenant_id)b::text, %(after_provider)b::text, %(after_identifier)b::text, %(after_kind)b::text)
ORDER BY t.tenant_id, t.provider, t.identifier, t.kind
LIMIT %(limit)b::bigint

-- name: copy_tenant_audit_events
-- Store copies of a tenant's audit events, without tenant and identifier. Then empty_tenant_audit_events deletes the
-- original events. Copies are needed, because Citus does not let an UPDATE change the tenant of a row.
INSERT INTO {{schema}}.audit_event (
    tenant_id, xid, seq, action, occurred_at, provider, identifier, kind, generation, actor, code, credential_generation)
OVERRIDING SYSTEM VALUE
SELECT '', xid, seq, action, occurred_at, provider, NULL, kind, generation, actor, code, credential_generation
FROM {{schema}}.audit_event
WHERE tenant_id = %(tenant_id)b AND action NOT IN ('tenant_erased', 'data_key_destroyed')

-- name: empty_tenant_audit_events
-- Delete a tenant's audit events, which copy_tenant_audit_events has stored again.
DELETE FROM {{schema}}.audit_event
WHERE tenant_id = %(tenant_id)b AND action NOT IN ('tenant_erased', 'data_key_destroyed')

-- name: hold_data_keys
-- Lock some of a tenant's data keys until the transaction ends, and tell of each whether it is active.
SELECT state = 'active' FROM {{schema}}.data_key
WHERE tenant_id = %(tenant_id)b AND data_key_id = ANY (%(data_key_ids)b::bytea[])
ORDER BY data_key_id
FOR SHARE

-- name: hold_tokens
-- Lock some of a tenant's tokens in the order of their keys, until the transaction ends.
SELECT true FROM {{schema}}.token t
WHERE t.tenant_id = %(tenant_id)b
    AND (t.provider, t.kind, t.identifier) IN (
        SELECT * FROM unnest(%(providers)b::text[], %(kinds)b::text[], %(identifiers)b::text[]))
ORDER BY t.provider, t.identifier, t.kind
FOR UPDATE

-- name: hold_master_keys
-- Keep the master keys unchanged until the transaction ends. Of the vault's statements, only lock_master_keys
-- conflicts with this lock. This statement locks the table instead of its rows, because Citus would lock rows of a
-- reference table on every node, and two transactions could then deadlock.
LOCK TABLE {{schema}}.master_key IN ROW EXCLUSIVE MODE

-- name: get_data_keys
-- Get the given data keys of one tenant, and the active one if it is asked for, with their wraps under usable master
-- keys; see `DataKeyReads`. The table of master keys is on each node.
SELECT d.tenant_id, d.data_key_id, d.state, d.emptied_at, {{own_data_key_event}}, w.master_key_ids, w.wraps
FROM {{schema}}.data_key d
LEFT JOIN LATERAL (
    SELECT pg_catalog.array_agg(master_key_id ORDER BY master_key_id) AS master_key_ids, pg_catalog.array_agg({{wrapped}} ORDER BY master_key_id) AS wraps
    FROM {{schema}}.data_key_wrap w JOIN {{schema}}.master_key m USING (master_key_id)
    WHERE w.tenant_id = %(tenant_id)b AND w.data_key_id = d.data_key_id
        AND m.state <> 'retired' AND master_key_id = ANY (%(master_key_ids)b::bytea[])) w ON true
WHERE d.tenant_id = %(tenant_id)b
    AND (d.data_key_id = ANY (%(data_key_ids)b::bytea[]) OR %(with_active)b::boolean AND d.state = 'active')

-- name: get_horizon
-- Get the transaction horizon: the number of the oldest transaction that may still add events. The statement runs on
-- the node that gives the events their places in the audit log (xid, seq). Every transaction of this database that runs
-- on this node counts. After its commit on this node, a transaction keeps the lock on its own number while Citus
-- commits it on the other nodes. So a transaction that holds this lock counts too. A lock shows only the low 32 bits of
-- a transaction's number. Of the numbers with these low bits, the statement takes the one nearest to this node's own
-- horizon (h.xid).
SELECT least(h.xid, (
    SELECT pg_catalog.min(h.xid + (l.transactionid::text::bigint - h.xid % 4294967296 + 6442450944) % 4294967296 - 2147483648)
    FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity s ON s.pid = l.pid
    WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted
        AND s.datid = (
            SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())))::text
FROM (SELECT {{horizon_here}}::text::bigint AS xid) h

-- name: store_token
-- Call a function that inserts or replaces one value; see citus_functions.sql. The function returns the token without
-- the time of its last use, or no row if the data key is not active. The statement has a WHERE that is true for every
-- row. Without a WHERE, Citus would check whether it can call this function on another node, and would plan the
-- statement again each time.
SELECT {{stored_columns}}
FROM {{schema}}.citus_store_token_v{{functions_version}}(
    %(tenant_id)b::text, %(provider)b::text, %(kind)b::text, %(identifier)b::text, %(value_id)b::uuid,
    %(data_key_id)b::bytea, %(blob)b::bytea, %(extra)b::bytea, %(expires_at)b::timestamptz, %(lifetime)b::bigint,
    %(scopes)b::text, %(refreshed)b::boolean, %(lead)b::bigint, %(due_in)b::bigint, %(action)b::text,
    %(actor)b::text, %(now)b::timestamptz, {{plain %($name)b::$type}}) s
WHERE s.stored_generation > 0

-- name: get_token_alone
-- Get one token by its key without the time of its last use; no row if there is no token. See get_last_use. The module
-- `citus_tokens` treats values that are too large as damaged, as other statements do in SQL. No column may be an
-- expression with a parameter, because that would be slower: Citus would evaluate the expression itself, and then write
-- all parameters into the text that it sends. Tests give a vault a clock of its own. Other statements take this clock's
-- time as a parameter, but this statement cannot. So `citus_tokens` puts the clock's time into the row that was read.
SELECT {{token_columns_alone}}, statement_timestamp()
FROM {{schema}}.token t
WHERE t.tenant_id = %(tenant_id)b AND t.provider = %(provider)b AND t.kind = %(kind)b AND t.identifier = %(identifier)b

-- name: get_last_use
-- Get the time of a token's last use; no row if there was none.
SELECT last_used_at FROM {{schema}}.token_use
WHERE tenant_id = %(tenant_id)b AND provider = %(provider)b AND kind = %(kind)b AND identifier = %(identifier)b

-- name: get_tokens
-- Get the tokens of the given keys of one tenant; the vault sends one such query for each tenant. A join by the tenant of
-- the rows of unnest, as on a plain server, would ask all shards of all nodes.
SELECT {{token_columns}}, {{value_columns}},
       CASE WHEN k.ord = 1 THEN {{now}} END, {{token_version}}, k.ord
FROM unnest(%(providers)b::text[], %(kinds)b::text[], %(identifiers)b::text[])
    WITH ORDINALITY k (provider, kind, identifier, ord)
LEFT JOIN {{schema}}.token t
    ON t.tenant_id = %(tenant_id)b AND t.provider = k.provider AND t.kind = k.kind AND t.identifier = k.identifier
LEFT JOIN {{schema}}.token_use u
    ON u.tenant_id = %(tenant_id)b AND u.provider = t.provider AND u.kind = t.kind AND u.identifier = t.identifier

-- name: store_tokens
-- Call a function that stores values of one tenant and makes their accounts due; see citus_functions.sql. The caller
-- must not prepare this statement: Citus finds the tenant's node only if it plans with the parameters' values.
SELECT * FROM {{schema}}.citus_write_tokens_v{{functions_version}}(
    %(tenant_id)b::text, %(providers)b::text[], %(kinds)b::text[], %(identifiers)b::text[], %(value_ids)b::uuid[],
    %(data_key_ids)b::bytea[], %(blobs)b::bytea[], %(extras)b::bytea[], %(expires_at)b::timestamptz[],
    %(lifetimes)b::bigint[], %(scopes)b::text[], %(refreshed)b::boolean,
    %(account_providers)b::text[], %(account_identifiers)b::text[], %(due_at)b::timestamptz[],
    %(now)b::timestamptz, %(lock_timeout)b::text, {{plain %($name)b::$type[]}})
