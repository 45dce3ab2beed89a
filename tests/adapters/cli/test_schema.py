"""`schema` prints SQL that sets up a database, and the vault then finds the schema up to date."""

import sqlite3

import psycopg
import pytest

from vault_adapters import Account, SchemaOutdatedError, TokenKind, VaultConfig, generate_encryption_secret, open_vault

SECRET = generate_encryption_secret()
KEY = Account("7", "clerk").key(TokenKind.API_KEY)


def config(url: str) -> VaultConfig:
    return VaultConfig(url, SECRET, scrypt_log2_n=14)


async def test_sqlite(bare, tmp_path):
    url = f"sqlite:///{tmp_path}/made-by-hand.db"
    printed = bare("schema", DATABASE_URL=url)
    assert printed.code == 0, printed.stderr
    with pytest.raises(SchemaOutdatedError):
        async with open_vault(config(url), migrate=False):
            pass
    assert list(tmp_path.glob("*.db*")) == []  # neither step makes a file
    connection = sqlite3.connect(tmp_path / "made-by-hand.db")
    connection.executescript(printed.out)
    connection.close()
    async with open_vault(config(url), migrate=False) as vault:
        await vault.store_token(KEY, "value")


async def test_postgres_and_its_trigger(bare, postgres):
    url = postgres.create_database("cli_schema")
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(bare("schema", DATABASE_URL=url).out)
        await connection.execute("CREATE TABLE public.tenants (id integer PRIMARY KEY)")
        await connection.execute("INSERT INTO public.tenants VALUES (7), (8)")
        await connection.execute(bare("schema", "--tenants-table", "public.tenants", DATABASE_URL=url).out)
        async with open_vault(config(url), migrate=False) as vault:
            await vault.store_tokens([(KEY, "value"), (Account("8", "clerk").key(TokenKind.API_KEY), "other")])
            await connection.execute("DELETE FROM public.tenants WHERE id = 7")
            assert await vault.get_token(KEY) is None
            assert (await vault.get_token(Account("8", "clerk").key(TokenKind.API_KEY))).value.reveal() == "other"


@pytest.mark.parametrize("table", ["tenants", "public.tenants; DROP TABLE x", ""])
def test_a_table_that_is_none_is_refused(bare, table):
    refused = bare("schema", "--tenants-table", table, DATABASE_URL="postgresql://localhost/x")
    assert (refused.code, refused.out) == (2, "")
    assert refused.stderr.count("\n") == 1


def test_sqlite_has_no_trigger(bare):
    refused = bare("schema", "--tenants-table", "public.tenants", DATABASE_URL="sqlite:///x.db")
    assert refused.code == 2
    assert "Postgres only" in refused.stderr
