"""The Postgres store: psycopg 3 and plain SQL, in a schema of its own."""
