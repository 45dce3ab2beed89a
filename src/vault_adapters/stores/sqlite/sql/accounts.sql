-- name: page_of_accounts
-- The tokens of a page of accounts after a position, each with its account's label and refresh state. A part tells where
-- to find the accounts; it may name an account several times.
WITH page AS (
    SELECT DISTINCT {{owner}} FROM (
        {{part}})
    ORDER BY {{owner}}
    LIMIT :limit)
SELECT {{token_columns}}, {{key_columns}}, {{account_columns}}
FROM page p
CROSS JOIN token_vault_token t
    ON t.tenant_id = p.tenant_id AND t.provider = p.provider AND t.identifier = p.identifier
LEFT JOIN token_vault_token_use u USING (tenant_id, provider, kind, identifier)
LEFT JOIN token_vault_account a USING (tenant_id, provider, identifier)
ORDER BY t.tenant_id, t.provider, t.identifier

-- name: list_accounts of page_of_accounts
-- The accounts of one tenant.
SELECT {{owner}} FROM token_vault_token
WHERE tenant_id = :tenant_id AND (provider, identifier) > (:after_provider, :after_identifier)
    AND (:provider IS NULL OR provider = :provider)

-- name: list_all_accounts of page_of_accounts
-- All accounts.
SELECT {{owner}} FROM token_vault_token INDEXED BY sqlite_autoindex_token_vault_token_1 WHERE {{after_account}}

-- name: list_provider_accounts of page_of_accounts
-- The accounts at one provider.
SELECT {{owner}} FROM token_vault_token INDEXED BY token_vault_token_provider
WHERE provider = :provider AND tenant_id >= :after_tenant_id AND {{after_account}}

-- name: list_siblings of page_of_accounts
-- The accounts of other tenants with an account's provider and identifier.
SELECT {{owner}} FROM token_vault_token INDEXED BY token_vault_token_sibling
WHERE provider = :provider AND identifier = :identifier AND kind IN ('access_token', 'refresh_token')
    AND tenant_id != :tenant_id AND {{after_account}}

-- name: list_doubtful_accounts of page_of_accounts
-- The accounts that may have to be connected again. Each of them has a token that is not valid or has expired. The
-- partial indexes token_vault_token_doubtful, _expiring and _lapsing hold these tokens.
SELECT * FROM (
    SELECT DISTINCT {{owner}} FROM token_vault_token INDEXED BY token_vault_token_doubtful
    WHERE status != 'valid' AND status = 'invalid' AND {{after_account}} {{first_owners}})
UNION ALL
SELECT * FROM (
    SELECT DISTINCT {{owner}} FROM token_vault_token INDEXED BY token_vault_token_doubtful
    WHERE status != 'valid' AND status = 'unknown' AND {{after_account}} {{first_owners}})
UNION ALL
SELECT {{owner}} FROM token_vault_token INDEXED BY token_vault_token_expiring
WHERE status = 'valid' AND kind = 'access_token' AND expires_at IS NOT NULL AND expires_at <= :now AND {{after_account}}
UNION ALL
SELECT {{owner}} FROM token_vault_token INDEXED BY token_vault_token_lapsing
WHERE kind IN ('refresh_token', 'api_key') AND expires_at IS NOT NULL AND expires_at <= :now AND {{after_account}}

-- name: list_troubled_accounts of page_of_accounts
-- The accounts whose refreshes may be failing. The partial indexes token_vault_token_doubtful and
-- token_vault_account_troubled hold them. The query does not look for accounts with an invalid credential. Those accounts
-- must be connected again, and list_doubtful_accounts finds them.
SELECT * FROM (
    SELECT DISTINCT {{owner}} FROM token_vault_token INDEXED BY token_vault_token_doubtful
    WHERE status != 'valid' AND status = 'unknown' AND {{after_account}} {{first_owners}})
UNION ALL
SELECT * FROM (
    SELECT {{owner}} FROM token_vault_account INDEXED BY token_vault_account_troubled
    WHERE (failures > 0 OR unknown_since IS NOT NULL OR lease_until IS NOT NULL) AND {{after_account}} {{first_owners}})

-- name: find_accounts of page_of_accounts
-- The accounts whose label or identifier begins with a text, or whose provider is this text.
SELECT {{owner}} FROM token_vault_account INDEXED BY token_vault_account_label
WHERE label IS NOT NULL AND lower(label) BETWEEN :sought AND :last AND {{after_account}}
UNION ALL
SELECT {{owner}} FROM token_vault_token INDEXED BY token_vault_token_identifier
WHERE identifier != '' AND lower(identifier) BETWEEN :sought AND :last AND {{after_account}}
UNION ALL
SELECT * FROM (
    SELECT DISTINCT {{owner}} FROM token_vault_token INDEXED BY token_vault_token_provider
    WHERE provider = :sought AND tenant_id >= :after_tenant_id AND {{after_account}} {{first_owners}})

-- name: list_kept_answers
-- List the accounts with a kept answer after a position, the oldest answer first.
SELECT tenant_id, provider, identifier, kept_at, attempt_id FROM token_vault_unread_answer
WHERE (kept_at, attempt_id) > (:kept_at, :attempt_id)
ORDER BY kept_at, attempt_id
LIMIT :limit

-- name: list_tenants
-- List the ids of tenants that have tokens, after a given id. Each step of the recursion reads one index entry, however
-- many tokens a tenant has.
WITH RECURSIVE found (tenant_id) AS (
    SELECT min(tenant_id) FROM token_vault_token WHERE tenant_id > :after
    UNION ALL
    SELECT (SELECT min(t.tenant_id) FROM token_vault_token t WHERE t.tenant_id > f.tenant_id)
    FROM found f
    WHERE f.tenant_id IS NOT NULL
    LIMIT :limit)
SELECT tenant_id FROM found WHERE tenant_id IS NOT NULL LIMIT :limit

-- name: count_all_accounts
-- For each provider, count all tenants' accounts and those that are due, and get the earliest time at which an account
-- became due.
SELECT k.provider, k.accounts, coalesce(w.due, 0), w.earliest
FROM (
    SELECT provider, count(*) AS accounts
    FROM (
        SELECT DISTINCT tenant_id, provider, identifier FROM token_vault_token INDEXED BY sqlite_autoindex_token_vault_token_1)
    GROUP BY provider) k
LEFT JOIN (
    SELECT provider, count(*) AS due, min(due_at) AS earliest
    FROM token_vault_account
    WHERE due_at <= :now
    GROUP BY provider) w USING (provider)
