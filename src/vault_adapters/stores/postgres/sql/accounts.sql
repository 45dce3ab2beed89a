-- name: get_account
-- Get an account's tokens, each with the account's label and refresh state. Every row also holds the current time; an
-- account without tokens gives one row that holds nothing else.
SELECT {{token_columns}}, {{key_columns}}, {{account_columns}}, {{now}}
FROM (SELECT) one
LEFT JOIN {{schema}}.token t
    ON t.tenant_id = %(tenant_id)b AND t.provider = %(provider)b AND t.identifier = %(identifier)b
LEFT JOIN {{schema}}.token_use u
    ON u.tenant_id = t.tenant_id AND u.provider = t.provider AND u.kind = t.kind AND u.identifier = t.identifier
LEFT JOIN {{schema}}.account a
    ON a.tenant_id = t.tenant_id AND a.provider = t.provider AND a.identifier = t.identifier

-- name: list_accounts
-- List the tokens of a tenant's accounts after a position, each with its account's label and refresh state.
WITH page AS MATERIALIZED (
    SELECT DISTINCT provider, identifier FROM {{schema}}.token
    WHERE tenant_id = %(tenant_id)b AND (provider, identifier) > (%(after_provider)b, %(after_identifier)b)
        AND (%(provider)b::text IS NULL OR provider = %(provider)b)
    ORDER BY provider, identifier
    LIMIT %(limit)b::bigint)
SELECT {{token_columns}}, {{key_columns}}, {{account_columns}}, {{now}}
FROM (SELECT) one
LEFT JOIN (page p
    JOIN {{schema}}.token t
        ON t.tenant_id = %(tenant_id)b AND t.provider = p.provider AND t.identifier = p.identifier) ON true
LEFT JOIN {{schema}}.token_use u
    ON u.tenant_id = t.tenant_id AND u.provider = t.provider AND u.kind = t.kind AND u.identifier = t.identifier
LEFT JOIN {{schema}}.account a
    ON a.tenant_id = t.tenant_id AND a.provider = t.provider AND a.identifier = t.identifier
ORDER BY t.provider, t.identifier

-- name: page_of_accounts
-- The tokens of a page of all tenants' accounts after a position, each with its account's label and refresh state. A part
-- tells where to find the accounts; it may name an account several times. An empty page gives an empty row. The caller
-- sorts the rows, because the server would spend time on sorting even if they come in the page's order, as they nearly
-- always do.
WITH page AS MATERIALIZED (
    SELECT DISTINCT {{owner}} FROM (
        {{part}}) found
    ORDER BY {{owner}}
    LIMIT %(limit)b::bigint)
SELECT {{token_columns}}, {{key_columns}}, {{account_columns}}, {{now}}
FROM (SELECT) one
LEFT JOIN (page p
    JOIN {{schema}}.token t
        ON t.tenant_id = p.tenant_id AND t.provider = p.provider AND t.identifier = p.identifier) ON true
LEFT JOIN {{schema}}.token_use u
    ON u.tenant_id = t.tenant_id AND u.provider = t.provider AND u.kind = t.kind AND u.identifier = t.identifier
LEFT JOIN {{schema}}.account a
    ON a.tenant_id = t.tenant_id AND a.provider = t.provider AND a.identifier = t.identifier

-- name: list_all_accounts of page_of_accounts
-- All accounts.
SELECT {{owner}} FROM {{schema}}.token WHERE {{after_account}}

-- name: list_provider_accounts of page_of_accounts
-- The accounts at one provider.
SELECT {{owner}} FROM {{schema}}.token
WHERE provider = (SELECT %(provider)b::text) AND tenant_id >= (SELECT %(after_tenant_id)b::text) AND {{after_account}}

-- name: list_siblings of page_of_accounts
-- The accounts of other tenants with an account's provider and identifier. The partial index token_sibling holds them.
SELECT {{owner}} FROM {{schema}}.token
WHERE provider = %(provider)b AND identifier = %(identifier)b AND kind IN ('access_token', 'refresh_token')
    AND tenant_id <> %(tenant_id)b AND {{after_account}}

-- name: list_doubtful_accounts of page_of_accounts
-- The accounts that may have to be connected again. Each of them has a token that is not valid or has expired. The
-- partial indexes token_doubtful, token_expiring and token_lapsing hold these tokens.
(SELECT DISTINCT {{owner}} FROM {{schema}}.token
WHERE status <> 'valid' AND status = 'invalid' AND {{after_account}} {{first_owners}})
UNION ALL
(SELECT DISTINCT {{owner}} FROM {{schema}}.token
WHERE status <> 'valid' AND status = 'unknown' AND {{after_account}} {{first_owners}})
UNION ALL
SELECT {{owner}} FROM {{schema}}.token
WHERE status = 'valid' AND kind = 'access_token' AND expires_at IS NOT NULL AND expires_at <= {{now}} AND {{after_account}}
UNION ALL
SELECT {{owner}} FROM {{schema}}.token
WHERE kind IN ('refresh_token', 'api_key') AND expires_at IS NOT NULL AND expires_at <= {{now}} AND {{after_account}}

-- name: list_troubled_accounts of page_of_accounts
-- The accounts whose refreshes may be failing. The partial indexes token_doubtful and account_troubled hold them. The
-- query does not look for accounts with an invalid credential. Those accounts must be connected again, and
-- list_doubtful_accounts finds them.
(SELECT DISTINCT {{owner}} FROM {{schema}}.token
WHERE status <> 'valid' AND status = 'unknown' AND {{after_account}} {{first_owners}})
UNION ALL
(SELECT {{owner}} FROM {{schema}}.account
WHERE (failures > 0 OR unknown_since IS NOT NULL OR lease_until IS NOT NULL) AND {{after_account}} {{first_owners}})

-- name: find_accounts of page_of_accounts
-- The accounts whose label or identifier begins with a text, or whose provider is this text. The indexes account_label,
-- token_identifier and token_provider hold them.
SELECT {{owner}} FROM {{schema}}.account
WHERE label IS NOT NULL AND lower(label COLLATE "C") BETWEEN (SELECT %(sought)b::text) AND (SELECT %(last)b::text)
    AND {{after_account}}
UNION ALL
SELECT {{owner}} FROM {{schema}}.token
WHERE identifier <> '' AND lower(identifier COLLATE "C") BETWEEN (SELECT %(sought)b::text) AND (SELECT %(last)b::text)
    AND {{after_account}}
UNION ALL
(SELECT DISTINCT {{owner}} FROM {{schema}}.token
WHERE provider = (SELECT %(sought)b::text) AND tenant_id >= (SELECT %(after_tenant_id)b::text) AND {{after_account}}
{{first_owners}})

-- name: list_kept_answers
-- List the accounts with a kept answer after a position, the oldest answer first.
SELECT tenant_id, provider, identifier, kept_at, attempt_id FROM {{schema}}.unread_answer
WHERE (kept_at, attempt_id) > (%(kept_at)b::timestamptz, %(attempt_id)b::uuid)
ORDER BY kept_at, attempt_id
LIMIT %(limit)b::bigint

-- name: list_tenants
-- List the ids of tenants that have tokens, after a given id. Each step of the recursion reads one index entry, however
-- many tokens a tenant has.
WITH RECURSIVE found (tenant_id) AS (
    (SELECT tenant_id FROM {{schema}}.token WHERE tenant_id > %(after)b ORDER BY tenant_id LIMIT 1)
    UNION ALL
    SELECT (SELECT t.tenant_id FROM {{schema}}.token t WHERE t.tenant_id > f.tenant_id ORDER BY t.tenant_id LIMIT 1)
    FROM found f
    WHERE f.tenant_id IS NOT NULL)
SELECT tenant_id FROM found WHERE tenant_id IS NOT NULL LIMIT %(limit)b::bigint

-- name: count_all_accounts
-- For each provider, count all tenants' accounts and those that are due, and get the earliest time at which an account
-- became due. The query reads only the indexes of accounts and of due accounts.
WITH known AS (
    SELECT provider, count(*) AS accounts
    FROM (SELECT DISTINCT tenant_id, provider, identifier FROM {{schema}}.token) one
    GROUP BY provider),
waiting AS (
    SELECT provider, count(*) AS due, min(due_at) AS earliest
    FROM {{schema}}.account
    WHERE due_at <= {{now}}
    GROUP BY provider)
SELECT k.provider, k.accounts, coalesce(w.due, 0), w.earliest, {{now}}
FROM known k
LEFT JOIN waiting w ON w.provider = k.provider

-- name: delete_orphaned_account
-- Delete the row of an account that has no token left.
DELETE FROM {{schema}}.account a
WHERE a.tenant_id = %(tenant_id)b AND a.provider = %(provider)b AND a.identifier = %(identifier)b
    AND NOT EXISTS (
        SELECT 1 FROM {{schema}}.token t
        WHERE t.tenant_id = %(tenant_id)b AND t.provider = a.provider AND t.identifier = a.identifier)
