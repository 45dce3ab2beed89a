"""The SQLite store: the embedded default, and what hosts swap in for tests."""
