-- needs: 0002
-- find_accounts reads from these indexes. The collation C lowers only the letters A to Z, in every database alike, and
-- sorts by code points, so that the texts with a given beginning are a range of the index.
CREATE INDEX account_label ON {{schema}}.account (lower(label COLLATE "C")) WHERE label IS NOT NULL;
CREATE INDEX token_identifier ON {{schema}}.token (lower(identifier COLLATE "C")) WHERE identifier <> '';
