"""An SQLite database without checks and types, as an edited or hand-written dump may restore it."""

import re
import sqlite3


def loosen_sqlite(path, tables="token_vault_*"):
    """Remove all checks and types from the vault's tables; connections that are opened later see the change.

    Args:
        path: the file.
        tables: the names of the tables, as a pattern of GLOB.
    """
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        for name, sql in connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name GLOB ?"
            " AND name <> 'token_vault_migration'",
            [tables],
        ).fetchall():
            loose = re.sub(r"\) STRICT(, )?", ") ", sql).replace("CHECK (", "CHECK (1 OR ")
            # An integer that is the key is the row's number in the file; without its type the file would be corrupt.
            loose = re.sub(r"\b(TEXT|BLOB|INTEGER(?!( NOT NULL)? PRIMARY KEY))\b", "", loose)
            connection.execute("UPDATE sqlite_master SET sql = ? WHERE name = ?", [loose, name])
    connection.close()
