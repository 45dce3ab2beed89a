-- needs: 0002
-- endpoint: fingerprint of the OAuth client at the token endpoint of the account's latest attempt; NULL: all accounts of
-- the provider share the endpoint, or there was no attempt yet.
ALTER TABLE token_vault_account ADD COLUMN endpoint BLOB CHECK (length(endpoint) = 16);
