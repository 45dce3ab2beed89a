"""The schema is created and migrated only once and only if allowed; migrations and script make the same tables."""

import psycopg
import pytest
from pglast import prettify, split
from tests.adapters.postgres.samples import SCHEMA, prepare, write
from tests.support.processes import Call, run_processes

from vault_adapters.stores.migrations import Migration, load_migrations
from vault_adapters.stores.postgres import schema as schema_module
from vault_adapters.stores.postgres.database import PostgresDatabase
from vault_adapters.stores.postgres.pools import open_connections
from vault_adapters.stores.postgres.schema import prepare_schema, schema_sql, split_statements
from vault_adapters.stores.postgres.store import open_postgres_store
from vault_domain.entities.errors import ConfigurationError, SchemaOutdatedError
from vault_domain.entities.secret import Secret
from vault_domain.ports.pages import Owned

# All properties of the tables: columns in order, constraints (also those of domains), indexes, storage, fill factors.
# The monthly partitions are left out, because they depend on the date; other tests check them.
DUMP = """
SELECT c.relname, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attstorage,
       a.attidentity, co.collname, pg_get_expr(d.adbin, d.adrelid), c.reloptions::text
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
LEFT JOIN pg_collation co ON co.oid = a.attcollation
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = 'token_vault'::regnamespace AND c.relkind IN ('r', 'S', 'p')
    AND c.relname !~ '^audit_event_[0-9]'
UNION ALL
SELECT coalesce(nullif(c.conrelid, 0)::regclass::text, c.contypid::regtype::text), NULL, c.conname,
       pg_get_constraintdef(c.oid), NULL, NULL, NULL, NULL, NULL, NULL
FROM pg_constraint c WHERE c.connamespace = 'token_vault'::regnamespace AND c.conname !~ '^audit_event_[0-9]'
UNION ALL
SELECT tablename, NULL, indexname, indexdef, NULL, NULL, NULL, NULL, NULL, NULL
FROM pg_indexes WHERE schemaname = 'token_vault' AND tablename !~ '^audit_event_[0-9]'
ORDER BY 1, 2, 3
"""


async def migrate(url, **options):
    async with open_postgres_store(url, migrate=True, schema=SCHEMA, **options):
        pass


async def apply(url):
    """Migrate as one of several processes; return what this one applied."""
    connections = await open_connections(Secret(url), size=2, prepare=True)
    database = PostgresDatabase(connections)
    try:
        return await prepare_schema(database, SCHEMA, migrate=True)
    finally:
        await database.close()


def test_of_eight_processes_exactly_one_migrates(url, execute):
    applied = run_processes([Call(apply, [url])] * 8)
    names = [f"{migration.number:04d}_{migration.name}" for migration in load_migrations(schema_module._PACKAGE)]
    assert sorted(applied) == [[]] * 7 + [names]
    assert execute(f"SELECT count(*) FROM {SCHEMA}.migration") == [(len(names),)]


async def test_a_migrated_and_a_fresh_schema_are_the_same(postgres, url, execute, monkeypatch):
    every = load_migrations(schema_module._PACKAGE)
    for known in range(1, len(every) + 1):
        monkeypatch.setattr(schema_module, "load_migrations", lambda _, known=known: every[:known])
        await migrate_schema_only(url)
    migrated = execute(DUMP)
    monkeypatch.undo()
    fresh, scripted = postgres.create_database("fresh"), postgres.create_database("scripted")
    await migrate(fresh)
    with psycopg.connect(scripted, autocommit=True) as connection:
        connection.execute(schema_sql(SCHEMA))
        assert connection.execute(DUMP).fetchall() == migrated
    with psycopg.connect(fresh) as connection:
        assert connection.execute(DUMP).fetchall() == migrated
    assert len(migrated) > 80


migrate_schema_only = apply


def test_a_script_is_split_at_the_ends_of_its_statements():
    for migration in load_migrations(schema_module._PACKAGE):
        script = migration.sql.replace("{{schema}}", '"a;b"')
        assert [*map(prettify, split_statements(script))] == [*map(prettify, split(script))]
    awkward = "-- a; b\nSELECT 'a; ''b' || \"c;\" FROM d; DO $x$ BEGIN; $$ ; END $x$;;\n-- the end; nothing follows"
    assert split_statements(awkward) == [
        "-- a; b\nSELECT 'a; ''b' || \"c;\" FROM d",
        "DO $x$ BEGIN; $$ ; END $x$",
    ]


async def test_each_statement_of_a_migration_is_sent_alone(url, execute, monkeypatch):
    await migrate(url)
    table = "{{schema}}.seen"
    seen = f"CREATE TABLE {table} AS SELECT current_query() AS sql; INSERT INTO {table} SELECT current_query()"
    known = [*load_migrations(schema_module._PACKAGE), Migration(999, "seen", seen, "digest", needs=2)]
    monkeypatch.setattr(schema_module, "load_migrations", lambda _: known)
    await migrate_schema_only(url)
    assert [sql.count("current_query") for (sql,) in execute(f"SELECT sql FROM {SCHEMA}.seen")] == [1, 1]


async def test_the_script_leaves_a_schema_that_is_up_to_date(url, execute):
    execute(schema_sql(SCHEMA))
    async with open_postgres_store(url, migrate=False, schema=SCHEMA) as store:
        await prepare(store)


async def test_without_leave_to_migrate_a_missing_or_old_schema_is_refused(url, execute):
    with pytest.raises(SchemaOutdatedError):
        async with open_postgres_store(url, migrate=False, schema=SCHEMA):
            pass
    assert execute("SELECT count(*) FROM pg_namespace WHERE nspname = 'token_vault'") == [(0,)]
    await migrate(url)
    execute(f"DELETE FROM {SCHEMA}.migration WHERE number >= 2")
    with pytest.raises(SchemaOutdatedError):
        async with open_postgres_store(url, migrate=False, schema=SCHEMA):
            pass


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("INSERT INTO {}.migration VALUES (999, 'later', 'x', now())", "schema_unknown"),
        ("UPDATE {}.migration SET digest = 'x' WHERE number = 1", "schema_changed"),
    ],
)
async def test_an_unknown_or_changed_schema_is_refused(url, execute, change, code):
    await migrate(url)
    execute(change.format(SCHEMA))
    with pytest.raises(ConfigurationError) as caught:
        await migrate(url)
    assert caught.value.code == code


async def test_a_role_without_the_right_to_create_opens_what_is_there(url, execute):
    await migrate(url)
    execute("DO $$ BEGIN CREATE ROLE app LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    execute(f"GRANT USAGE ON SCHEMA {SCHEMA} TO app")
    execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {SCHEMA} TO app")
    async with open_postgres_store(url.replace("postgres@", "app@"), migrate=True, schema=SCHEMA) as store:
        await prepare(store)
        await store.accounts.store([write()], actor=None)


async def test_two_schemas_of_one_database_are_two_vaults(url):
    odd = 'odd "name'
    async with (
        open_postgres_store(url, migrate=True, schema=odd) as first,
        open_postgres_store(url, migrate=True, schema="other") as second,
    ):
        await prepare(first)
        await first.accounts.store([write()], actor=None)
        assert (
            await second.keys.master_keys(),
            await second.pages.tokens(Owned("acme"), limit=10, after=None),
        ) == ([], [])


async def test_unqualified_names_are_never_used(url, execute):
    await migrate(url)
    execute("CREATE SCHEMA decoy")
    for table in (
        "token",
        "data_key",
        "data_key_wrap",
        "master_key",
        "account",
        "audit_event",
        "token_use",
        "migration",
    ):
        execute(f"CREATE TABLE decoy.{table} (trap integer)")
    async with open_postgres_store(f"{url}&options=-csearch_path%3Ddecoy", migrate=True, schema=SCHEMA) as store:
        await prepare(store)
        await store.accounts.store([write()], actor=None)
        assert (await store.accounts.get(write().key)).row is not None
