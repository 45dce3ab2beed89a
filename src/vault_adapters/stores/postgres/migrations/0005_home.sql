-- needs: 0002
-- Where the database lives: one row. A copy of the database has this row too, and so can be told from the original.
-- places: a JSON array of names of the place, [] if it cannot be told. deployment: the host's name for its
-- installation.
CREATE TABLE {{schema}}.home (
    only_row boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (only_row),
    places text NOT NULL CHECK (octet_length(places) <= 4096),
    deployment text CHECK (char_length(deployment) BETWEEN 1 AND 64),
    since timestamptz NOT NULL
);
