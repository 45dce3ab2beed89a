-- needs: 0002
-- Where the database lives: one row. A copy of the database has this row too, and so can be told from the original.
-- places: a JSON array of names of the place, [] if it cannot be told. deployment: the host's name for its
-- installation.
CREATE TABLE token_vault_home (
    only_row INTEGER NOT NULL PRIMARY KEY DEFAULT 1 CHECK (only_row = 1),
    places TEXT NOT NULL CHECK (length(places) <= 4096),
    deployment TEXT CHECK (length(deployment) BETWEEN 1 AND 64),
    since INTEGER NOT NULL
) STRICT;
