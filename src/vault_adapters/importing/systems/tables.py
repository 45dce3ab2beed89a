"""Opens another system's tables for reading only: a SQLite file, or a Postgres database."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from vault_domain.entities.errors import ConfigurationError, InvalidInputError, StorageError

Row = dict[str, Any]

_SCHEMES = ("postgres://", "postgresql://")
_AT_ONCE = 500
"""Number of rows that Postgres sends at once."""


class Tables(Protocol):
    """Another system's tables, as they were at one moment."""

    def select(self, statement: str, *parameters: object) -> Iterator[Row]:
        """Yield the rows of a SELECT, with ``?`` for each parameter.

        Raises:
            InvalidInputError: the tables do not fit the statement.
            StorageError: the database stopped answering.
        """


def is_url(place: str) -> bool:
    """Return whether a place is the URL of a Postgres database."""
    return place.startswith(_SCHEMES)


@contextmanager
def open_tables(place: str) -> Iterator[Tables]:
    """Open a SQLite file, or the Postgres database at a URL, in one transaction that cannot write.

    Raises:
        InvalidInputError: the database cannot be opened, or the URL has a password; the message does not repeat it.
        ConfigurationError: psycopg is not installed.
    """
    with _postgres(place) if is_url(place) else _sqlite(place) as tables:
        yield tables


class _SqliteTables:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def select(self, statement: str, *parameters: object) -> Iterator[Row]:
        try:
            yield from self._connection.execute(statement, parameters)
        except sqlite3.Error:  # dropped, because it may hold text of a row
            pass
        else:
            return
        raise _misfit()


@contextmanager
def _sqlite(path: str) -> Iterator[Tables]:
    try:
        # Rows are read in several threads, one after the other.
        connection = sqlite3.connect(
            f"file:{quote(str(Path(path).absolute()))}?mode=ro", uri=True, check_same_thread=False, isolation_level=None
        )
    except (sqlite3.Error, ValueError, OSError):
        connection = None
    if connection is None:
        raise InvalidInputError("the SQLite file cannot be opened")
    with closing(connection):
        connection.row_factory = lambda cursor, row: dict(
            zip([column[0] for column in cursor.description], row, strict=True)
        )
        connection.text_factory = lambda text: text.decode(errors="surrogateescape")
        try:
            connection.execute("PRAGMA trusted_schema = OFF")  # a file from elsewhere may define anything
            connection.execute("PRAGMA query_only = ON")
            connection.execute("BEGIN")
        except sqlite3.Error:
            connection = None
        if connection is None:
            raise InvalidInputError("the SQLite file cannot be opened")
        yield _SqliteTables(connection)


class _PostgresTables:
    def __init__(self, connection: Any, error: type[Exception]) -> None:
        self._connection = connection
        self._error = error
        self._number = 0

    def select(self, statement: str, *parameters: object) -> Iterator[Row]:
        self._number += 1
        is_lost = False
        try:
            with self._connection.cursor(f"taking_{self._number}") as cursor:
                cursor.itersize = _AT_ONCE
                cursor.execute(statement.replace("?", "%s"), parameters)
                yield from cursor
        except self._error:
            is_lost = bool(self._connection.closed or self._connection.broken)
        else:
            return
        if is_lost:
            raise StorageError("the other system's database stopped answering; run the import again", retryable=True)
        raise _misfit()


@contextmanager
def _postgres(url: str) -> Iterator[Tables]:
    try:
        import psycopg
        from psycopg.rows import dict_row
    except ModuleNotFoundError:
        raise ConfigurationError("to read Postgres, install token-vault[postgres]") from None
    connection = None
    try:
        has_password = bool(psycopg.conninfo.conninfo_to_dict(url).get("password"))
        if not has_password:
            connection = psycopg.connect(url, row_factory=dict_row)
            connection.read_only = True
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            # Some systems have a schema of their own; the names of their tables are unusual enough.
            connection.execute("SELECT set_config('search_path', current_setting('search_path') || ', nango', false)")
    except psycopg.Error:  # dropped, because it names the URL's parts
        connection = None
        has_password = False
    if has_password:
        raise InvalidInputError(
            "other users see a command's arguments: put the password into PGPASSWORD or a password file (PGPASSFILE)"
        )
    if connection is None:
        raise InvalidInputError("the database of the other system cannot be opened")
    try:
        yield _PostgresTables(connection, psycopg.Error)
    finally:
        connection.close()


def _misfit() -> InvalidInputError:
    return InvalidInputError("these are not the tables of that system, in a release that is known")
