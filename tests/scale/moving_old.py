"""The system that is moved from: tables of python-social-auth, and processes that refresh what is in them."""

from __future__ import annotations

import http.client
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlencode, urlsplit

PROVIDER = "stub"
TENANTS = 100
_LONG_AGO = "2026-01-01 00:00:00"
_BUSY_MILLISECONDS = 60_000


@contextmanager
def connected(path: str) -> Iterator[sqlite3.Connection]:
    """Open the file; each statement is a transaction of its own."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_MILLISECONDS}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")
        yield connection


def make(path: str, grants: dict[str, tuple[str, str]]) -> None:
    """Make the table of social-auth-app-django, with a row for each grant whose access token has expired."""
    with connected(path) as connection:
        connection.execute(
            "CREATE TABLE social_auth_usersocialauth (id INTEGER PRIMARY KEY, user_id INTEGER, provider TEXT, uid TEXT,"
            " extra_data TEXT, created TEXT, modified TEXT)"
        )
        connection.execute("BEGIN")
        for number, (uid, pair) in enumerate(grants.items()):
            row = (number, number % TENANTS, PROVIDER, uid, _extra(*pair), _LONG_AGO, _LONG_AGO)
            connection.execute("INSERT INTO social_auth_usersocialauth VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        connection.execute("COMMIT")


def refresh_tokens(path: str) -> dict[str, str]:
    """Return the refresh token of each account."""
    with connected(path) as connection:
        rows = connection.execute("SELECT uid, extra_data FROM social_auth_usersocialauth").fetchall()
    return {uid: json.loads(extra)["refresh_token"] for uid, extra in rows}


def bring_back(path: str, exported: Path) -> None:
    """Write what `token-vault export --values` has written into the table again."""
    pairs: dict[str, dict[str, str]] = {}
    with exported.open() as lines:
        for row in map(json.loads, lines):
            pairs.setdefault(row["identifier"], {})[row["kind"]] = row["value"]
    with connected(path) as connection:
        connection.execute("BEGIN")
        for uid, pair in pairs.items():
            extra = _extra(pair["access_token"], pair["refresh_token"])
            connection.execute("UPDATE social_auth_usersocialauth SET extra_data = ? WHERE uid = ?", (extra, uid))
        connection.execute("COMMIT")


def keep_refreshing(path: str, url: str, secret: str, part: int, parts: int, stop: str, *, once: bool = False) -> None:
    """Refresh each ``parts``-th account in turn, until a file exists; a refresh that has begun is finished first.

    Args:
        path: the SQLite file.
        url: the provider.
        secret: the client's secret.
        part: number of this process.
        parts: number of processes.
        stop: the file.
        once: end after each account was refreshed once.
    """
    stopped = Path(stop)
    with connected(path) as connection:
        while not stopped.exists():
            ids = connection.execute("SELECT id FROM social_auth_usersocialauth WHERE id % ? = ?", (parts, part))
            for (number,) in ids.fetchall():
                if stopped.exists():
                    return
                _refresh(connection, url, secret, number)
            if once:
                return


def _refresh(connection: sqlite3.Connection, url: str, secret: str, number: int) -> None:
    [(text,)] = connection.execute("SELECT extra_data FROM social_auth_usersocialauth WHERE id = ?", (number,))
    form = {"grant_type": "refresh_token", "refresh_token": json.loads(text)["refresh_token"], "client_secret": secret}
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)) as client:
        client.request("POST", "/token", urlencode(form), {"Content-Type": "application/x-www-form-urlencoded"})
        answer = client.getresponse()
        if answer.status == 200:
            found = json.loads(answer.read())
            extra = _extra(found["access_token"], found["refresh_token"])
            connection.execute("UPDATE social_auth_usersocialauth SET extra_data = ? WHERE id = ?", (extra, number))


def _extra(access: str, refresh: str) -> str:
    return json.dumps({"access_token": access, "refresh_token": refresh, "expires_on": 1_700_000_000})
