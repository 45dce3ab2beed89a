"""Finds and ends the connections on which processes hear of each other's changes."""

import psycopg

_LISTENERS = """
FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock'
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


def has_listener(url):
    """Return whether a process holds the listeners' lock."""
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(f"SELECT count(*) {_LISTENERS}").fetchone()[0] > 0


def terminate_listeners(url):
    """End the connections that hold the listeners' lock; return how many there were."""
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(f"SELECT pg_terminate_backend(pid) {_LISTENERS}").fetchall()
        return len(found)
