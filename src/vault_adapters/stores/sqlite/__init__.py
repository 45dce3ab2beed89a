"""The SQLite store: the embedded default, also used by hosts in their tests."""
