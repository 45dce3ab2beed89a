"""With a hundred thousand accounts, each page reads only its own rows, however many pages an operator has read."""

import sqlite3
import time

import pytest
from tests.adapters.web.conftest import browsing
from tests.adapters.web.reading import Reader
from tests.support.databases import SqliteFile

from vault_adapters import Account, ConnectionState, TokenSet, open_vault
from vault_adapters.web import dashboard

MANY = 100_000
PATIENCE = 5.0
"""Seconds that a page may take on a busy machine; normally, a page takes a fiftieth of this time."""


def multiply(path):
    """Copy the one stored token to other tenants. The copies cannot be decrypted, but a list decrypts nothing."""
    with sqlite3.connect(path) as database:
        [columns] = [[row[1] for row in database.execute("PRAGMA table_info(token_vault_token)")]]
        own = {"tenant_id": "printf('tenant-%06d', n)", "id": "randomblob(16)", "value_id": "randomblob(16)"}
        chosen = ", ".join(own.get(column, column) for column in columns)
        database.execute(
            "WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < ?) "
            f"INSERT INTO token_vault_token ({', '.join(columns)}) SELECT {chosen} FROM number, token_vault_token",
            (MANY - 1,),
        )
    database.close()


@pytest.fixture
async def big(tmp_path):
    path = tmp_path / "vault.db"
    async with open_vault(SqliteFile(path).config()) as vault:
        await vault.store_token_set(Account("tenant-000000", "github"), TokenSet("value", expires_in=3600))
        multiply(path)
        yield vault


async def test_an_unfinished_count_is_shown_as_a_lower_bound(big):
    async with browsing(dashboard(big)) as client:
        assert (await client.get("/")).text.count("≥ ") == len(ConnectionState)


async def test_pages_stay_quick(big):
    async with browsing(dashboard(big)) as client:
        path, pages, slowest = "/accounts", 0, 0.0
        while path and pages < 10:
            began = time.perf_counter()
            answer = await client.get(path)
            slowest = max(slowest, time.perf_counter() - began)
            links = Reader(answer.text).all("a")
            path = next((link["href"] for link in links if link.get("rel") == "next"), None)
            pages += 1
        assert pages == 10
        for path in [
            "/accounts?tenant=tenant-099999",
            "/accounts?state=reauthorization_required",
            "/expiring",
            "/audit",
        ]:
            began = time.perf_counter()
            assert (await client.get(path)).status_code == 200
            slowest = max(slowest, time.perf_counter() - began)
        began = time.perf_counter()
        overview = Reader((await client.get("/")).text).text
        assert "accounts counted so far" in overview
        assert time.perf_counter() - began < 2 * PATIENCE
        print(f"slowest page {slowest * 1000:.0f} ms, overview {(time.perf_counter() - began) * 1000:.0f} ms")
        assert slowest < PATIENCE
