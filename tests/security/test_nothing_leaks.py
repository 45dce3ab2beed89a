"""Run a workload with a thousand canaries as secrets, and then search all its files, logs and errors for them."""

import asyncio
import base64
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql
from tests.security.canaries import leaks_in, make_canaries
from tests.security.watching import Watcher, watching
from tests.security.workload import live
from tests.support.databases import PostgresSchema, SqliteFile
from tests.support.postgres import start_postgres

# What scrypt leaves behind is searched too.
pytestmark = pytest.mark.real_scrypt

COUNT = 1000

ENCODINGS = {
    "raw": lambda text: text.encode(),
    "hex": lambda text: text.encode().hex().encode(),
    "HEX": lambda text: text.encode().hex().upper().encode(),
    "base64_0": lambda text: base64.b64encode(text.encode()),
    "base64_1": lambda text: base64.b64encode(b"x" + text.encode() + b"yy"),
    "base64_2": lambda text: base64.b64encode(b"{}" + text.encode() + b"z"),
    "base64url_0": lambda text: base64.urlsafe_b64encode(text.encode()),
    "base64url_1": lambda text: base64.urlsafe_b64encode(b"x" + text.encode() + b"yy"),
    "base64url_2": lambda text: base64.urlsafe_b64encode(b"{}" + text.encode() + b"z"),
    "url": lambda text: quote(text, safe="").encode(),
    "url_lower": lambda text: quote(text, safe="").lower().encode(),
    "utf16le": lambda text: text.encode("utf-16-le"),
    "utf16be": lambda text: text.encode("utf-16-be"),
    "reversed": lambda text: text[::-1].encode(),
    "escaped": lambda text: "".join(f"\\x{byte:02x}" for byte in text.encode()).encode(),
}


@pytest.mark.parametrize("name", ENCODINGS)
def test_the_search_finds_a_canary_in_every_form(name):
    for canary in make_canaries(30):
        for part in (canary, canary[: len(canary) // 2], canary[len(canary) // 2 :]):
            assert leaks_in(b"some text " + ENCODINGS[name](part) + b" and more"), (name, part)
    assert leaks_in("nothing of the kind, aGVsbG8gd29ybGQ=, 63416e41, %3F%3E") == []


@pytest.fixture(scope="module")
def verbose_server() -> Iterator[object]:
    """Give a server of our own that logs every statement with its parameters."""
    with start_postgres(private=True, verbose_log=True) as server:
        yield server


def assert_silent(named: dict[str, bytes | str]) -> None:
    found = {name: leaks_in(data) for name, data in named.items()}
    assert {name: leaks[:3] for name, leaks in found.items() if leaks} == {}


def run_through(database) -> Watcher:
    """Run the workload on an event loop in debug mode, which logs slow callbacks and the like."""
    with watching() as watcher:
        asyncio.run(live(database, make_canaries(COUNT), watcher), debug=True)
    assert len(watcher.errors) > 200
    assert len(watcher.records) > 20
    return watcher


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_on_sqlite(tmp_path):
    database = SqliteFile(tmp_path / "vault.db")
    kept: dict[str, bytes] = {}
    # Keep a reader open, so that the last writer does not remove the write-ahead log. A crash leaves this log too.
    database.execute("CREATE TABLE elsewhere_too (id)")
    reader = _hold_open(database)
    watcher = run_through(database)
    kept |= files_below(tmp_path)
    assert {"vault.db", "vault.db-wal"} <= set(kept)
    assert len(kept["vault.db-wal"]) > 100_000
    reader.close()
    assert_silent({**kept, "shown": watcher.shown()})


def _hold_open(database: SqliteFile):
    import sqlite3

    connection = sqlite3.connect(database.path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("SELECT count(*) FROM elsewhere_too").fetchall()
    return connection


def test_on_postgres(verbose_server):
    server = verbose_server
    database = PostgresSchema(server.create_database("canaries"))
    watcher = run_through(database)
    dump = _dump(server, database)
    server.stop()
    files = files_below(server.data_dir)
    assert any(name.startswith("pg_wal/0") for name in files)
    log = server.log_path.read_bytes()
    # The log and the dump really hold values: they contain a text that is not secret.
    assert b"over and over" in log
    assert b"over and over" in dump.encode()
    assert_silent({**files, "log": log, "dump": dump, "shown": watcher.shown()})


def _dump(server, database: PostgresSchema) -> str:
    """Return all rows as text, followed by the output of pg_dump if the server's build has it."""
    with psycopg.connect(database.url, autocommit=True) as connection:
        tables = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = %s", [database.schema]
        ).fetchall()
        parts = []
        for (table,) in tables:
            name = sql.Identifier(database.schema, table)
            rows = connection.execute(sql.SQL("SELECT t::text FROM {} t").format(name)).fetchall()
            parts += [row[0] for row in rows]
    program = server.bin_dir / "pg_dump"
    if program.exists():
        done = subprocess.run([program, database.url], capture_output=True, check=True)
        parts.append(done.stdout.decode())
    return "\n".join(parts)
