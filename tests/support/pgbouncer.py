"""A real pgbouncer in front of a test server, in transaction mode, which breaks session state."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from .janitor import Janitor
from .postgres import PostgresServer
from .unprivileged import run_as, server_directory

_PORT = 6432
_PATIENCE_SECONDS = 60.0


def find_pgbouncer() -> str | None:
    """Return the program's path; distributions install it in a directory that is not on an ordinary user's PATH."""
    return shutil.which("pgbouncer", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))


@contextmanager
def start_pgbouncer(
    server: PostgresServer,
    *,
    database: str | None = None,
    pool_size: int = 4,
    max_prepared_statements: int = 0,
) -> Iterator[str]:
    """Give a URL of `database` through a pooler in transaction mode; skip the test if pgbouncer is not installed.

    Args:
        server: server that the pooler connects to; all its databases can be reached.
        database: database that the URL names; None for the database of `server.url`.
        pool_size: server connections per database; few, so that clients do share them.
        max_prepared_statements: pgbouncer's setting; 0 turns its support for prepared statements off.
    """
    program = find_pgbouncer()
    if program is None:
        pytest.skip("pgbouncer is not installed, so nothing goes through a pooler")
    directory = server_directory("vault-pgb-")
    janitor = Janitor(directory, directory / "pid")
    try:
        upstream, own_database = _upstream(server)
        config = directory / "pgbouncer.ini"
        config.write_text(_config(upstream, directory, pool_size, max_prepared_statements))
        config.chmod(0o644)
        with _running(program, config, directory):
            name = quote(database or own_database, safe="")
            yield f"postgresql://pooled@/{name}?host={quote(str(directory))}&port={_PORT}"
    finally:
        janitor.dismiss()


def _upstream(server: PostgresServer) -> tuple[str, str]:
    """Return the server's address in pgbouncer's syntax, and the database that its URL names."""
    with psycopg.connect(server.url) as connection:
        info = connection.info
        target = {"host": info.host, "port": str(info.port), "user": info.user, "password": info.password}
        return " ".join(f"{name}={_quoted(value)}" for name, value in target.items() if value), info.dbname


def _config(upstream: str, directory: Path, pool_size: int, max_prepared_statements: int) -> str:
    lines = [
        "[databases]",
        f"* = {upstream}",
        "[pgbouncer]",
        "listen_addr =",
        f"listen_port = {_PORT}",
        f"unix_socket_dir = {directory}",
        # Whatever user a client names, the server sees the user named above.
        "auth_type = any",
        "pool_mode = transaction",
        f"default_pool_size = {pool_size}",
        f"max_prepared_statements = {max_prepared_statements}",
        "max_client_conn = 500",
        f"pidfile = {directory / 'pid'}",
    ]
    return "\n".join([*lines, ""])


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


@contextmanager
def _running(program: str, config: Path, directory: Path) -> Iterator[None]:
    log_path = directory / "log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [program, str(config)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=directory,
            start_new_session=True,
            **run_as(),
        )
    try:
        _wait_for_socket(process, directory / f".s.PGSQL.{_PORT}", log_path)
        yield
    finally:
        process.kill()
        process.wait()


def _wait_for_socket(process: subprocess.Popen[bytes], path: Path, log_path: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError(f"pgbouncer did not start; its log ends:\n{log_path.read_text(errors='replace')[-2000:]}")
