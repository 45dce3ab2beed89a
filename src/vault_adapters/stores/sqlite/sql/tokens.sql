-- name: get_version
-- Get the version of the file.
SELECT {{version}}

-- name: get_token
-- Get one token by its key.
SELECT {{token_columns}}, {{value_columns}}, {{version}}
FROM token_vault_token t
LEFT JOIN token_vault_token_use u USING (tenant_id, provider, kind, identifier)
WHERE t.tenant_id = :tenant_id AND t.provider = :provider AND t.kind = :kind AND t.identifier = :identifier

-- name: get_tokens
-- Get one row for each key in a JSON array of [tenant_id, provider, kind, identifier], in the array's order.
SELECT {{token_columns}}, {{value_columns}}, {{version}}, k.key
FROM json_each(:keys) k
LEFT JOIN token_vault_token t
    ON t.tenant_id = json_extract(k.value, '$[0]') AND t.provider = json_extract(k.value, '$[1]')
    AND t.kind = json_extract(k.value, '$[2]') AND t.identifier = json_extract(k.value, '$[3]')
LEFT JOIN token_vault_token_use u
    ON u.tenant_id = t.tenant_id AND u.provider = t.provider AND u.kind = t.kind AND u.identifier = t.identifier
ORDER BY k.key

-- name: count_inactive_data_keys
-- Count the inactive data keys in a JSON array of [tenant_id, data key id in hex], to guard a write.
SELECT count(*)
FROM json_each(:data_keys) k
WHERE NOT EXISTS (
    SELECT 1 FROM token_vault_data_key d
    WHERE d.tenant_id = json_extract(k.value, '$[0]') AND d.state = 'active'
        AND hex(d.data_key_id) = json_extract(k.value, '$[1]'))

-- name: delete_uses
-- Delete the times of the last uses of an account's tokens of some kinds. Only a host's connection needs this: on the
-- vault's own connections a foreign key does it when a token is deleted.
DELETE FROM token_vault_token_use
WHERE tenant_id = :tenant_id AND provider = :provider AND identifier = :identifier
    AND kind IN (SELECT value FROM json_each(:kinds))

-- name: delete_tokens
-- Delete an account's tokens of some kinds. SQLite needs three times as long for a statement for each of two tokens.
DELETE FROM token_vault_token
WHERE tenant_id = :tenant_id AND provider = :provider AND identifier = :identifier
    AND kind IN (SELECT value FROM json_each(:kinds))

-- name: page_of_tokens
-- One page of a list of tokens after a position. A part tells which tokens, and in which order.
SELECT {{token_columns}}, {{key_columns}}
FROM token_vault_token t
LEFT JOIN token_vault_token_use u USING (tenant_id, provider, kind, identifier)
{{part}}
LIMIT :limit

-- name: find_expiring_tokens of page_of_tokens
-- Find access tokens with status valid that expire no later than a given time, earliest first, after a position. The
-- query reads the index token_vault_token_expiring.
WHERE t.status = 'valid' AND t.kind = 'access_token' AND t.expires_at IS NOT NULL
    AND t.expires_at <= :now + :within
    AND (t.expires_at, t.tenant_id, t.id) > (:after_expires_at, :after_tenant_id, :after_id)
    AND (:provider IS NULL OR t.provider = :provider)
ORDER BY t.expires_at, t.tenant_id, t.id

-- name: find_ending_tokens of page_of_tokens
-- Find refresh tokens that expire soon and of which no event has told this, earliest first, after a position. The query
-- reads the index token_vault_token_ending.
WHERE t.kind = 'refresh_token' AND t.expires_at IS NOT NULL AND t.noted_value_id IS NOT t.value_id
    AND t.expires_at > :now AND t.expires_at <= :now + :notice
    AND t.expires_at - :now <= min(:notice, coalesce(t.lifetime / 2, :notice)) AND t.status != 'invalid'
    AND (t.expires_at, t.tenant_id, t.id) > (:after_expires_at, :after_tenant_id, :after_id)
ORDER BY t.expires_at, t.tenant_id, t.id

-- name: find_condemned_tokens of page_of_tokens
-- Find credentials that a refresh has condemned, earliest first, after a position. The query reads the index
-- token_vault_token_rejected. If an account has an endpoint, only the endpoint must be the given client. An empty client
-- means that the refresher names no client; then the tokens of all clients at the provider count. NULL excludes none.
LEFT JOIN token_vault_account a
    ON a.tenant_id = t.tenant_id AND a.provider = t.provider AND a.identifier = t.identifier
WHERE t.provider = :provider AND t.rejected_at BETWEEN :since AND :until AND t.status = 'invalid'
    AND (:tenant_id IS NULL OR t.tenant_id = :tenant_id)
    AND (t.created_at >= :stored_since OR t.last_refreshed_at >= :stored_since)
    AND (:client IS NULL OR a.endpoint = :client
        OR a.endpoint IS NULL AND (length(:client) = 0 OR t.client IS NULL OR t.client = :client))
    AND (t.rejected_at, t.tenant_id, t.identifier, t.kind)
        > (:since, :after_tenant_id, :after_identifier, :after_kind)
ORDER BY t.rejected_at, t.tenant_id, t.identifier, t.kind

-- name: find_refreshed_tokens of page_of_tokens
-- Find access tokens of accounts whose latest attempt began after a time and was granted, earliest first, after a
-- position; see find_condemned_tokens. The query reads the index token_vault_token_refreshed. A value that replaces
-- another sets last_refreshed_at too, so this time alone tells of no grant.
JOIN token_vault_account a
    ON a.tenant_id = t.tenant_id AND a.provider = t.provider AND a.identifier = t.identifier
WHERE t.provider = :provider AND t.kind = 'access_token' AND t.last_refreshed_at IS NOT NULL
    AND t.last_refreshed_at >= :since
    AND a.committed_attempt_id = a.attempt_id AND a.sent_at >= :since
    AND (a.endpoint = :client OR a.endpoint IS NULL AND (length(:client) = 0 OR t.client = :client))
    AND (t.last_refreshed_at, t.tenant_id, t.identifier, t.kind)
        > (:since, :after_tenant_id, :after_identifier, :after_kind)
ORDER BY t.last_refreshed_at, t.tenant_id, t.identifier, t.kind

-- name: list_tokens of page_of_tokens
-- List a tenant's tokens after a position.
WHERE t.tenant_id = :tenant_id
    AND (t.provider, t.identifier, t.kind) > (:after_provider, :after_identifier, :after_kind)
    AND (:provider IS NULL OR t.provider = :provider)
ORDER BY t.provider, t.identifier, t.kind

-- name: record_use
-- Store when a token was last used, unless a later use is stored or the key now holds a token with another id.
INSERT INTO token_vault_token_use (tenant_id, provider, kind, identifier, last_used_at)
SELECT tenant_id, provider, kind, identifier, :used_at FROM token_vault_token
WHERE tenant_id = :tenant_id AND provider = :provider AND kind = :kind AND identifier = :identifier AND id = :id
ON CONFLICT (tenant_id, provider, kind, identifier) DO UPDATE
    SET last_used_at = max(last_used_at, excluded.last_used_at)

-- name: count_health
-- Count tokens by provider and health. The buffer and the notice are at most half of the lifetime, if the lifetime is
-- known. If :step is above 1, a sample estimates the valid tokens: in each range of :step successive row numbers, one
-- row number is chosen at random, and its token counts :step times. If there is a sample, the query counts the invalid
-- tokens in the index token_vault_token_doubtful, and reads all unknown tokens, because these are few.
WITH RECURSIVE places (number, place) AS (
    SELECT 0, 1 + abs(random() % :step) WHERE :step > 1
    UNION ALL
    SELECT number + 1, 1 + (number + 1) * :step + abs(random() % :step) FROM places WHERE number + 1 < :places)
SELECT provider,
    CASE
        WHEN status = 'invalid' THEN 'invalid'
        WHEN expires_at <= :now THEN 'expired'
        WHEN status = 'unknown' THEN 'unknown'
        WHEN :now - suspect_since BETWEEN 0 AND :suspicion THEN 'suspect'
        WHEN expires_at - :now <= min(
            CASE WHEN kind = 'refresh_token' THEN max(:buffer, :notice) ELSE :buffer END,
            coalesce(lifetime / 2, :buffer + :notice)) THEN 'expiring'
        ELSE 'fresh'
    END AS health,
    sum(weight),
    max(weight) > 1
FROM (
    SELECT provider, kind, status, expires_at, lifetime, suspect_since, 1 AS weight
    FROM token_vault_token
    WHERE :step = 1 AND (:tenant_id IS NULL OR tenant_id = :tenant_id)
    UNION ALL
    SELECT t.provider, t.kind, t.status, t.expires_at, t.lifetime, t.suspect_since, :step
    FROM places p CROSS JOIN token_vault_token t ON t.rowid = p.place
    WHERE t.status = 'valid'
    UNION ALL
    SELECT provider, kind, status, expires_at, lifetime, suspect_since, 1
    FROM token_vault_token INDEXED BY token_vault_token_doubtful
    WHERE :step > 1 AND status != 'valid' AND status = 'unknown'
    UNION ALL
    SELECT provider, NULL, status, NULL, NULL, NULL, 1
    FROM token_vault_token INDEXED BY token_vault_token_doubtful
    WHERE :step > 1 AND status != 'valid' AND status = 'invalid')
GROUP BY 1, 2

-- name: measure_tokens
-- Return the highest row number of the token table, which is at least the number of tokens.
SELECT coalesce(max(rowid), 0) FROM token_vault_token

-- name: count_migrations
-- Count the applied migrations that this release knows.
SELECT count(*) FROM token_vault_migration WHERE number <= :known
