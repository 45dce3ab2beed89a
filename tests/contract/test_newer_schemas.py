"""A release runs on the schema of a newer release if each newer migration says so, and else says what to do."""

import sqlite3

import psycopg
import pytest
from tests.support.databases import PostgresSchema, SqliteFile

from vault_adapters import Account, ConfigurationError, TokenKind, open_vault
from vault_adapters.stores.migrations import load_migrations

KEY = Account("t1", "acme").key(TokenKind.API_KEY)
STORES = {"sqlite": "vault_adapters.stores.sqlite", "postgres": "vault_adapters.stores.postgres"}
KNOWN = len(load_migrations(STORES["sqlite"]))


@pytest.fixture
async def filled(database):
    """Give a database with a value."""
    async with open_vault(database.config()) as vault:
        await vault.store_token(KEY, "value")
    return database


def add_migrations(database, *needs):
    """Pretend that a newer release has applied migrations."""
    [(applied_at,)] = database.execute("SELECT applied_at FROM {migration} WHERE number = 1")
    for number, each in enumerate(needs, KNOWN + 1):
        database.execute("INSERT INTO {migration} VALUES (?, 'later', 'x', ?, ?)", [number, applied_at, each])


async def refused(database, code):
    for migrate in (True, False):
        with pytest.raises(ConfigurationError) as caught:
            async with open_vault(database.config(), migrate=migrate):
                pass
        assert caught.value.code == code
    return str(caught.value)


@pytest.mark.parametrize("needs", [[KNOWN], [KNOWN - 1, KNOWN]], ids=["one newer", "two newer"])
@pytest.mark.parametrize("migrate", [True, False])
async def test_a_release_runs_on_a_newer_schema_that_allows_it(filled, needs, migrate):
    add_migrations(filled, *needs)
    async with open_vault(filled.config(), migrate=migrate) as vault:
        assert (await vault.get_token(KEY)).value.reveal() == "value"
        await vault.store_token(KEY, "another")
    assert len(filled.execute("SELECT number FROM {migration}")) == KNOWN + len(needs)


@pytest.mark.parametrize(
    "needs", [[KNOWN + 1], [KNOWN + 1, KNOWN], [None]], ids=["newest", "one of two", "a row that does not say"]
)
async def test_a_release_refuses_a_newer_schema_that_does_not_allow_it_and_says_what_to_do(filled, needs):
    add_migrations(filled, *needs)
    message = await refused(filled, "schema_newer")
    assert f"start a release that knows {KNOWN + 1:04d}, or restore a backup" in message


@pytest.mark.parametrize(
    "change",
    [
        "INSERT INTO {migration} SELECT 999, name, digest, applied_at, 1 FROM {migration} WHERE number = 1",
        "INSERT INTO {migration} SELECT 0, name, digest, applied_at, 1 FROM {migration} WHERE number = 1",
        "DELETE FROM {migration} WHERE number = 1",
    ],
)
async def test_a_schema_that_no_release_makes_is_refused_as_that(filled, change):
    filled.execute(change)
    assert "no release of token-vault makes such a table" in await refused(filled, "schema_unknown")


@pytest.mark.parametrize("store", STORES)
async def test_a_table_of_migrations_of_somebody_else_is_refused_as_that(store, postgres_schema, tmp_path):
    database = PostgresSchema(*postgres_schema) if store == "postgres" else SqliteFile(tmp_path / "vault.db")
    if store == "postgres":
        database.execute(f"CREATE SCHEMA {database.schema}")
    database.execute("CREATE TABLE {migration} AS SELECT 'users' AS app")
    await refused(database, "schema_unknown")


async def test_a_ledger_of_a_release_that_did_not_know_the_column_is_read(filled):
    filled.execute("ALTER TABLE {migration} DROP COLUMN needs")
    async with open_vault(filled.config()) as vault:
        assert (await vault.get_token(KEY)).value.reveal() == "value"
    filled.execute(f"INSERT INTO {{migration}} SELECT {KNOWN + 1}, 'later', 'x', applied_at FROM {{migration}} LIMIT 1")
    await refused(filled, "schema_newer")


@pytest.mark.parametrize("store", STORES)
def test_migrations_say_which_releases_they_need(store):
    every = load_migrations(STORES[store])
    assert [each.number for each in every] == list(range(1, len(every) + 1))
    for migration in every[2:]:
        assert migration.sql.startswith("-- needs: "), (
            f"{migration.number:04d}: the first line must say which migration a release must know to run on this"
            " schema, such as `-- needs: 0002`; see CONTRIBUTING.md"
        )
        assert migration.needs <= migration.number


def columns_of(store, migrations, postgres_schema):
    """Return the columns after some migrations: type, whether NULL is refused, and the default, by table and name."""
    if store == "sqlite":
        connection = sqlite3.connect(":memory:")
        connection.executescript("".join(each.sql for each in migrations))
        rows = connection.execute(
            'SELECT t.name, c.name, c.type, c."notnull", c.dflt_value FROM sqlite_master t, pragma_table_info(t.name) c'
            " WHERE t.type = 'table'"
        ).fetchall()
        connection.close()
    else:
        url, schema = postgres_schema
        with psycopg.connect(url) as connection:
            connection.execute(f"CREATE SCHEMA {schema}")
            for each in migrations:
                connection.execute(each.sql.replace("{{schema}}", schema))
            rows = connection.execute(
                "SELECT table_name, column_name, coalesce(domain_name, data_type), is_nullable = 'NO', column_default"
                " FROM information_schema.columns WHERE table_schema = %s",
                [schema],
            ).fetchall()
            connection.rollback()
    return {(table, column): (kind, bool(strict), default) for table, column, kind, strict, default in rows}


@pytest.mark.parametrize("store", STORES)
def test_a_migration_takes_nothing_from_the_releases_that_it_allows(store, postgres_schema):
    every = load_migrations(STORES[store])
    for migration in every:
        if migration.needs == migration.number:
            continue
        before = columns_of(store, every[: migration.needs], postgres_schema)
        after = columns_of(store, every[: migration.number], postgres_schema)
        for place, (kind, strict, _) in before.items():
            assert place in after, f"{migration.name} takes {place} from releases that it allows"
            assert after[place][0] == kind
            assert after[place][1] <= strict, f"{migration.name} refuses NULL in {place}"
        tables = {table for table, _ in before}
        for place in after.keys() - before.keys():
            _, strict, default = after[place]
            assert place[0] not in tables or not strict or default is not None, f"{place} must be filled"
