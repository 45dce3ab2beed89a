-- needs: 0002
-- The times at which a backup of this database went into use, as `restored` was told; few rows. Rejections of credentials
-- that were stored before the latest of these times are believed.
CREATE TABLE token_vault_restoration (restored_at INTEGER NOT NULL PRIMARY KEY) STRICT;
