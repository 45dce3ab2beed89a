"""A store whose database answers with another tenant's row: nothing of that row reaches the tenant that asked.

An attacker who may write to the database can cause this: on Postgres with an operator ``=`` of their own that a
``search_path`` finds first, on SQLite with a column that ignores the case of letters.
"""

import asyncio
import logging
import secrets
import sqlite3
from datetime import timedelta

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool
from tests.support.databases import PostgresSchema, SqliteFile

from vault_adapters import (
    Account,
    AuditAction,
    ConfigurationError,
    DecryptionError,
    TokenKind,
    TokenNotFoundError,
    TokenSet,
    open_vault,
)
from vault_adapters.testing import ScriptedRefresher

VICTIM = Account("acme", "google", "ann")
# SQLite's NOCASE takes this tenant for the victim; so does the operator below.
ATTACKER = Account("ACME", "google", "ann")

EQUAL_FOR_SOME = """
CREATE SCHEMA evil;
CREATE FUNCTION evil.same(l text, r text) RETURNS boolean LANGUAGE sql VOLATILE AS $$
    SELECT l OPERATOR(pg_catalog.=) r OR (l OPERATOR(pg_catalog.=) 'acme' AND r OPERATOR(pg_catalog.=) 'ACME'
        AND pg_catalog.current_query() OPERATOR(pg_catalog.~~) {statements}) $$;
CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, PROCEDURE = evil.same);
"""
EVIL_PATH = "SET search_path = evil, pg_catalog"


@pytest.fixture
def evil_database(postgres):
    """Give an empty database."""
    return PostgresSchema(postgres.create_database(f"evil_path_{secrets.token_hex(4)}"))


@pytest.fixture
def make_evil(evil_database):
    """Give a function that makes the operator, which answers wrongly in statements that match ``statements``."""

    def make(statements="%"):
        with psycopg.connect(evil_database.url, autocommit=True) as connection:
            connection.execute(EQUAL_FOR_SOME.format(statements=psycopg.sql.Literal(statements).as_string(None)))

    return make


async def evil_pool(database):
    """Give a pool whose connection finds the operator only after `turn_evil`, so that the vault accepts the pool."""
    pool = AsyncConnectionPool(database.url, min_size=1, max_size=1, open=False, kwargs={"autocommit": True})
    await pool.open(wait=True)
    return pool


async def turn_evil(pool):
    async with pool.connection() as connection:
        await connection.execute(EVIL_PATH)


async def refused(call):
    """Assert that a call returns nothing of the victim's."""
    [found] = await asyncio.gather(call, return_exceptions=True)
    if isinstance(found, DecryptionError):
        assert "acme" not in repr(found.account) + repr(found.keys)
    elif not isinstance(found, TokenNotFoundError):
        assert found in (None, {}), repr(found)


def refreshers():
    return {"google": ScriptedRefresher(*[TokenSet("a-new-access", "a-new-refresh", expires_in=3600)] * 4)}


@pytest.mark.parametrize(
    "statements", ["%", "%lease_until%", "%FOR UPDATE%"], ids=["all", "accounts_only", "locks_only"]
)
async def test_an_operator_of_ones_own(evil_database, make_evil, statements, caplog):
    make_evil(statements)
    pool = await evil_pool(evil_database)
    refresher = refreshers()
    async with pool, open_vault(evil_database.config(), pool=pool, refreshers=refresher) as vault:
        await vault.store_token_set(VICTIM, TokenSet("victims-access", "victims-refresh", expires_in=3600), label="Ann")
        await vault.store_token(Account("other", "google").key(TokenKind.API_KEY), "others-key")
        await turn_evil(pool)
        for call in (
            vault.ensure_access_token(ATTACKER),
            vault.refresh_account(ATTACKER),
            vault.get_access_token(ATTACKER),
            vault.get_refresh_token(ATTACKER),
            vault.get_token(ATTACKER.key(TokenKind.ACCESS_TOKEN)),
            vault.get_tokens([ATTACKER.key(kind) for kind in TokenKind]),
            vault.get_account(ATTACKER),
        ):
            await refused(call)
    assert refresher["google"].calls == []
    assert "victims" not in caplog.text


async def test_an_operator_that_is_always_true_takes_no_list_along(evil_database, caplog):
    with psycopg.connect(evil_database.url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA evil")
        connection.execute(
            "CREATE FUNCTION evil.same(l text, r text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true'"
        )
        connection.execute("CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, PROCEDURE = evil.same)")
    pool = await evil_pool(evil_database)
    async with pool, open_vault(evil_database.config(), pool=pool) as vault:
        await vault.store_token_set(VICTIM, TokenSet("victims-access", "victims-refresh", expires_in=60))
        await turn_evil(pool)
        with caplog.at_level(logging.ERROR):
            assert (await vault.list_tokens("ACME")).items == ()
            assert (await vault.list_accounts("ACME")).items == ()
            assert (await vault.audit_events(tenant_id="ACME")).items == ()
            assert (await vault.find_expiring_tokens(timedelta(hours=1), provider="github")).items == ()
        assert "wrong_row" in caplog.text
        for account in (ATTACKER, Account("nobody", "github", "eve")):
            await refused(vault.get_token(account.key(TokenKind.API_KEY)))
            await refused(vault.get_tokens([account.key(kind) for kind in TokenKind]))
            await refused(vault.get_account(account))


@pytest.mark.parametrize("path", ["evil, pg_catalog", '"$user", public, pg_catalog', "evil,PG_CATALOG"])
@pytest.mark.parametrize("own", [True, False], ids=["own_pool", "hosts_pool"])
async def test_a_search_path_that_puts_something_before_pg_catalog_is_refused(evil_database, path, own):
    with psycopg.connect(evil_database.url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f'ALTER DATABASE "{name}" SET search_path = {path}')
    with pytest.raises(ConfigurationError) as caught:
        await opened(evil_database, own=own)
    assert caught.value.code == "search_path"


@pytest.mark.parametrize("path", ["evil", '"$user", public', "pg_catalog, evil", "''", '"x""y", public'])
@pytest.mark.parametrize("own", [True, False], ids=["own_pool", "hosts_pool"])
async def test_a_search_path_that_has_pg_catalog_first_is_used_and_left_as_it_was(evil_database, path, own):
    with psycopg.connect(evil_database.url, autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{connection.info.dbname}" SET search_path = {path}')
    await opened(evil_database, own=own)


async def opened(database, *, own):
    if own:
        async with open_vault(database.config()) as vault:
            await vault.store_token_set(VICTIM, TokenSet("a", "r"))
        return
    async with AsyncConnectionPool(database.url, min_size=1, max_size=1, open=False) as pool:
        async with pool.connection() as connection:
            before = await (await connection.execute("SHOW search_path")).fetchone()
        async with open_vault(database.config(), pool=pool) as vault:
            await vault.store_token_set(VICTIM, TokenSet("a", "r"))
        async with pool.connection() as connection:
            assert await (await connection.execute("SHOW search_path")).fetchone() == before


async def test_a_transaction_finds_pg_catalog_whatever_the_session_has_set(evil_database, make_evil):
    make_evil()
    pool = await evil_pool(evil_database)
    async with pool, open_vault(evil_database.config(), pool=pool) as vault:
        await vault.store_token_set(VICTIM, TokenSet("victims-access", "victims-refresh"))
        await turn_evil(pool)
        assert await vault.delete_provider_tokens("ACME", "google") == 0
        with pytest.raises(DecryptionError):  # the account is read before it is deleted, outside of a transaction
            await vault.delete_account(ATTACKER)
        assert len((await vault.list_tokens("acme")).items) == 2


def ignore_case(path, *tables):
    """Give the tables a tenant_id that ignores the case of letters, as an attacker who writes to the file can."""
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        for table in tables:
            connection.execute(
                "UPDATE sqlite_master SET sql = replace(sql, 'tenant_id TEXT', 'tenant_id TEXT COLLATE NOCASE')"
                " WHERE type = 'table' AND name = ?",
                [f"token_vault_{table}"],
            )
    connection.close()
    with sqlite3.connect(path) as connection:
        connection.execute("REINDEX")
    connection.close()


@pytest.mark.parametrize("keys_too", [False, True], ids=["tokens", "keys_too"])
async def test_a_column_that_ignores_case(tmp_path, keys_too, caplog):
    database = SqliteFile(tmp_path / "vault.db")
    async with open_vault(database.config()) as vault:
        await vault.store_token_set(VICTIM, TokenSet("victims-access", "victims-refresh", expires_in=3600))
    ignore_case(
        database.path,
        *("token", "account", "token_use"),
        *(("data_key", "data_key_wrap", "audit_event") if keys_too else ()),
    )
    happened, refresher = [], refreshers()
    async with open_vault(database.config(), refreshers=refresher, on_event=happened.append) as vault:
        for call in (
            vault.ensure_access_token(ATTACKER),
            vault.refresh_account(ATTACKER),
            vault.get_access_token(ATTACKER),
            vault.get_token(ATTACKER.key(TokenKind.ACCESS_TOKEN)),
            vault.get_tokens([ATTACKER.key(kind) for kind in TokenKind]),
            vault.get_account(ATTACKER),
        ):
            await refused(call)
        assert (await vault.list_tokens("ACME")).items == ()
        assert (await vault.list_accounts("ACME")).items == ()
        assert all(event.tenant_id == "ACME" for event in (await vault.audit_events(tenant_id="ACME")).items)
        assert refresher["google"].calls == []
        assert {event.tenant_id for event in happened} == {"ACME"}
        assert AuditAction.DECRYPTION_FAILED in {event.action for event in happened}
        token = await vault.ensure_access_token(VICTIM)
        assert token.value.reveal() == "victims-access"
        if keys_too:
            # No value of the attacker's is sealed under the victim's data key.
            with pytest.raises(DecryptionError):
                await vault.store_token(Account("ACME", "github").key(TokenKind.API_KEY), "mine")
    assert "victims" not in caplog.text


async def test_two_rows_for_one_key_fail_only_that_key(tmp_path):
    database = SqliteFile(tmp_path / "vault.db")
    keys = [Account(tenant, "google").key(TokenKind.API_KEY) for tenant in ("acme", "ACME", "other")]
    async with open_vault(database.config()) as vault:
        await vault.store_tokens([(key, key.tenant_id) for key in keys])
    with sqlite3.connect(database.path) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        [(sql,)] = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'token_vault_token'").fetchall()
        loose = sql.replace("token_vault_token", "loose").replace("tenant_id TEXT", "tenant_id TEXT COLLATE NOCASE")
        connection.execute(loose.replace(",\n    PRIMARY KEY (tenant_id, provider, identifier, kind)", ""))
        connection.execute("INSERT INTO loose SELECT * FROM token_vault_token")
        connection.execute("DROP TABLE token_vault_token")
        connection.execute("ALTER TABLE loose RENAME TO token_vault_token")
    connection.close()
    async with open_vault(database.config()) as vault:
        with pytest.raises(DecryptionError) as caught:
            await vault.get_tokens(keys)
        assert set(caught.value.keys) == set(keys[:2])
        assert (await vault.get_token(keys[2])).value.reveal() == "other"
        with pytest.raises(DecryptionError):
            await vault.get_token(keys[0])
        with pytest.raises(DecryptionError) as caught:
            await vault.store_tokens([(keys[2], "new"), (keys[0], "new")])
        assert caught.value.account == keys[0].account
