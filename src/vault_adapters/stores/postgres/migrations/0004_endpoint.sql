-- needs: 0002
-- endpoint: fingerprint of the OAuth client at the token endpoint of the account's latest attempt; NULL: all accounts of
-- the provider share the endpoint, or there was no attempt yet.
ALTER TABLE {{schema}}.account ADD COLUMN endpoint bytea;
ALTER TABLE {{schema}}.account ADD CONSTRAINT account_endpoint_check CHECK (octet_length(endpoint) = 16);
