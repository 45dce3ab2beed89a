-- needs: 0002
-- find_accounts reads from these indexes. SQLite lowers only the letters A to Z and sorts texts by code points, so that
-- the texts with a given beginning are a range of the index.
CREATE INDEX token_vault_account_label ON token_vault_account (lower(label)) WHERE label IS NOT NULL;
CREATE INDEX token_vault_token_identifier ON token_vault_token (lower(identifier)) WHERE identifier != '';
