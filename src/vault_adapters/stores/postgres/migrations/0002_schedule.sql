-- due_at: when an account is due for a sweep; NULL: never. It is never later than the time at which the domain's rules
-- would refresh the account. An account that already has an access token with an expiry is due at once; a sweep then
-- schedules it by the rules.
ALTER TABLE {{schema}}.account ADD COLUMN due_at timestamptz;
INSERT INTO {{schema}}.account AS a (tenant_id, provider, identifier, due_at)
SELECT tenant_id, provider, identifier, timestamptz 'epoch'
FROM {{schema}}.token
WHERE kind = 'access_token' AND expires_at IS NOT NULL
ON CONFLICT (tenant_id, provider, identifier) DO UPDATE SET due_at = excluded.due_at;
CREATE INDEX account_due ON {{schema}}.account (provider, due_at) WHERE due_at IS NOT NULL;

-- The timelines of the server's write-ahead log under which vaults have met this database, each with the first time.
-- A new timeline means that a standby was promoted or a backup was restored, so the last commits may be lost. The first
-- timeline of a database counts as met long ago.
CREATE TABLE {{schema}}.timeline (
    timeline text COLLATE "C" NOT NULL PRIMARY KEY CHECK (char_length(timeline) BETWEEN 1 AND 64),
    met_at timestamptz NOT NULL
);

-- Used states of authorization requests, until they expire, because each state works once.
CREATE TABLE {{schema}}.used_state (
    state_id bytea NOT NULL PRIMARY KEY CHECK (octet_length(state_id) = 32),
    expires_at timestamptz NOT NULL
);
CREATE INDEX used_state_expires ON {{schema}}.used_state (expires_at);
-- find_tenant_of_data_key reads from here.
CREATE INDEX data_key_id ON {{schema}}.data_key (data_key_id);
