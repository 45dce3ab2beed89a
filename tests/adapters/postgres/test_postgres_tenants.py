"""Deleting a tenant in the host's own table erases it in the vault."""

import asyncio
import hashlib
import logging
from importlib.resources import files
from uuid import UUID, uuid4

import psycopg
import pytest
from tests.adapters.postgres.samples import SCHEMA, data_key, prepare, write

from vault_adapters.stores.postgres.store import open_postgres_store
from vault_adapters.stores.postgres.tenants import TRIGGER_VERSION, tenants_trigger_sql
from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.audit import AuditAction
from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.key_records import DataKeyState
from vault_domain.ports.change import DataKeyInactiveError
from vault_domain.services.tokens.account_changes import AccountChanges

UUIDS = ["0f8fad5b-d9cb-469f-a165-70867728950e", "7c9e6679-7425-40de-944b-e07fc1f90ae7"]
HOST_TABLES = {
    "uuid": ("uuid", [UUID(text) for text in UUIDS]),
    "integer": ("bigint", [17, 9_000_000_000]),
    "text": ("text", ["it's", 'a "tenant"']),
}


def key(tenant_id):
    return Account(tenant_id, "google", "ann@example.com").key(TokenKind.ACCESS_TOKEN)


async def fill(store, tenant_ids):
    await prepare(store, *map(str, tenant_ids))
    for tenant_id in tenant_ids:
        account = key(tenant_id).account
        await AccountChanges(store.accounts, uuid4).store_set(
            account, [write(key(tenant_id))], label="Ann", actor="user:1"
        )


def make_table(execute, column_type, tenant_ids, table="public.tenants"):
    execute(f"CREATE TABLE {table} (id {column_type} PRIMARY KEY)")
    for tenant_id in tenant_ids:
        execute(f"INSERT INTO {table} VALUES (%s)", [tenant_id])


def rows_of(execute, tenant_id):
    """Count the vault's rows of a tenant, by table."""
    tables = ("token", "token_use", "account", "data_key_wrap")
    count = f"SELECT {', '.join(f'(SELECT count(*) FROM {SCHEMA}.{t} WHERE tenant_id = %(t)s)' for t in tables)}"
    [counts] = execute(count, {"t": str(tenant_id)})
    return dict(zip(tables, counts, strict=True))


NOTHING = {"token": 0, "token_use": 0, "account": 0, "data_key_wrap": 0}


@pytest.mark.parametrize("kind", HOST_TABLES)
async def test_a_deleted_tenant_is_erased_and_the_others_stay(store, execute, kind):
    column_type, (gone, kept) = HOST_TABLES[kind]
    await fill(store, [gone, kept])
    make_table(execute, column_type, [gone, kept])
    execute(tenants_trigger_sql(SCHEMA, "public.tenants", "id"))
    execute("DELETE FROM tenants WHERE id = %s", [gone])
    assert rows_of(execute, gone) == NOTHING
    assert rows_of(execute, kept) == {"token": 1, "token_use": 0, "account": 1, "data_key_wrap": 1}
    assert (await store.keys.data_key(str(gone), b"d" * 16)).state is DataKeyState.DESTROYED
    assert (await store.keys.data_key(str(kept), b"d" * 16)).state is DataKeyState.ACTIVE
    assert (await store.accounts.get(key(gone))).row is None
    assert (await store.accounts.get(key(kept))).row is not None


async def test_its_events_stay_without_saying_whose_they_were(store, execute):
    await fill(store, ["1", "2"])
    make_table(execute, "integer", [1, 2])
    execute(tenants_trigger_sql(SCHEMA, "public.tenants", "id"))
    execute("DELETE FROM tenants WHERE id = 1")
    stored, other, destroyed, erased = await store.audit.page(None, limit=10, after=None)
    assert (stored.action, stored.tenant_id, stored.account) == (AuditAction.TOKEN_STORED, None, None)
    assert (other.tenant_id, other.account) == ("2", key("2").account)
    assert (erased.action, erased.tenant_id) == (AuditAction.TENANT_ERASED, "1")
    assert (destroyed.action, destroyed.tenant_id) == (AuditAction.DATA_KEY_DESTROYED, "1")
    [(key_id,)] = execute(f"SELECT data_key_id FROM {SCHEMA}.data_key WHERE tenant_id = '1'")
    assert destroyed.code == bytes(key_id).hex()
    assert erased.actor == destroyed.actor
    assert erased.actor.startswith("database:")
    assert execute(f"SELECT count(*) FROM {SCHEMA}.audit_event WHERE identifier IS NOT NULL") == [(1,)]


async def test_a_value_sealed_before_the_erasure_does_not_land_after_it(store, execute):
    await fill(store, ["1"])
    make_table(execute, "integer", [1])
    execute(tenants_trigger_sql(SCHEMA, "public.tenants", "id"))
    execute("DELETE FROM tenants")
    with pytest.raises(DataKeyInactiveError):
        await store.accounts.store([write(key("1"))], actor=None)
    await store.keys.create_data_key(data_key("1", b"e" * 16))
    await store.accounts.store([write(key("1"), key_id=b"e" * 16)], actor=None)
    assert rows_of(execute, "1")["token"] == 1


async def test_a_deletion_waits_for_a_transaction_that_makes_the_first_data_key(store, execute, url):
    make_table(execute, "integer", [1])
    execute(tenants_trigger_sql(SCHEMA, "public.tenants", "id"))
    with psycopg.connect(url) as other:
        made = f"INSERT INTO {SCHEMA}.data_key (tenant_id, data_key_id, state, created_at)"
        other.execute(f"{made} VALUES ('1', %s, 'active', now())", [b"e" * 16])
        deleting = asyncio.create_task(asyncio.to_thread(execute, "DELETE FROM tenants"))
        done, _ = await asyncio.wait([deleting], timeout=0.3)
        assert not done
        other.commit()
        await deleting
    assert execute(f"SELECT state FROM {SCHEMA}.data_key") == [("destroyed",)]


@pytest.mark.parametrize("statement", ["DELETE FROM tenants", "TRUNCATE tenants", "TRUNCATE countries CASCADE"])
async def test_many_at_once(store, execute, statement):
    tenant_ids = list(range(60))
    await fill(store, tenant_ids)
    make_table(execute, "integer", tenant_ids)
    execute("CREATE TABLE countries (id integer PRIMARY KEY)")
    execute("ALTER TABLE tenants ADD country integer REFERENCES countries ON DELETE CASCADE")
    execute(tenants_trigger_sql(SCHEMA, "public.tenants", "id"))
    execute(statement)
    assert execute(f"SELECT count(*) FROM {SCHEMA}.token") == [(0,)]
    assert execute(f"SELECT count(*) FROM {SCHEMA}.data_key_wrap") == [(0,)]
    assert execute(f"SELECT count(*) FROM {SCHEMA}.audit_event WHERE action = 'tenant_erased'") == [(60,)]


async def test_a_cascade_reaches_the_vault(store, execute):
    await fill(store, [1, 2])
    make_table(execute, "integer", [1, 2])
    execute("CREATE TABLE countries (id integer PRIMARY KEY)")
    execute("INSERT INTO countries VALUES (41)")
    execute("ALTER TABLE tenants ADD country integer REFERENCES countries ON DELETE CASCADE")
    execute("UPDATE tenants SET country = 41 WHERE id = 1")
    execute(tenants_trigger_sql(SCHEMA, "public.tenants", "id"))
    execute("DELETE FROM countries")
    assert (rows_of(execute, 1), rows_of(execute, 2)["token"]) == (NOTHING, 1)


async def test_a_deletion_that_is_rolled_back_erases_nothing(store, execute, url):
    await fill(store, [1])
    make_table(execute, "integer", [1])
    execute(tenants_trigger_sql(SCHEMA, "public.tenants", "id"))
    with psycopg.connect(url) as connection:
        connection.execute("DELETE FROM tenants")
        connection.rollback()
    assert rows_of(execute, 1)["token"] == 1


async def test_who_deletes_needs_no_right_in_the_vault_and_gains_none(store, execute, url):
    await fill(store, [1, 2])
    make_table(execute, "integer", [1])
    execute(tenants_trigger_sql(SCHEMA, "public.tenants", "id"))
    execute("DO $$ BEGIN CREATE ROLE clerk; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    execute("GRANT SELECT, DELETE ON tenants TO clerk")
    execute("CREATE SCHEMA desk AUTHORIZATION clerk")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET ROLE clerk")
        # The trigger must not use this function, which the caller's search path finds first.
        connection.execute("CREATE FUNCTION desk.array_agg(text) RETURNS text[] LANGUAGE sql AS 'SELECT NULL::text[]'")
        connection.execute("SET search_path = desk, public, pg_catalog")
        connection.execute("DELETE FROM public.tenants WHERE id = 1")
        connection.execute("CREATE TABLE desk.mine (id text)")
        for attempt in (
            f"SELECT {SCHEMA}.erase_tenants(ARRAY['2'])",
            f"CREATE TRIGGER t AFTER DELETE ON desk.mine EXECUTE FUNCTION {SCHEMA}.erase_deleted_tenants()",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(attempt)
    assert (rows_of(execute, 1), rows_of(execute, 2)["token"]) == (NOTHING, 1)


async def test_names_are_quoted_and_the_script_runs_twice(store, execute):
    await fill(store, ["x"])
    execute('CREATE SCHEMA "Odd.one"')
    execute('CREATE TABLE "Odd.one"."ten""ants $body$" ("the id" text)')
    execute("""INSERT INTO "Odd.one"."ten""ants $body$" VALUES ('x'), (NULL)""")
    script = tenants_trigger_sql(SCHEMA, '"Odd.one"."ten""ants $body$"', '"the id"')
    execute(script)
    execute(script)
    execute('DELETE FROM "Odd.one"."ten""ants $body$"')
    assert rows_of(execute, "x") == NOTHING


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("tenants", "id"),
        ("public.tenants; DROP TABLE x", "id"),
        ("public.tenants", "id); DROP TABLE x"),
        ('public."tenants', "id"),
        ("a.b.c", "id"),
        ("public.tenants", ""),
    ],
)
def test_what_is_no_name_is_refused(table, column):
    with pytest.raises(InvalidInputError):
        tenants_trigger_sql(SCHEMA, table, column)


# The version of the trigger


VERSIONS = {7: "8c2dda087b50a2ec"}
"""The digest of each version's script. A changed script needs a new version."""


def test_a_changed_script_has_a_new_version():
    script = files("vault_adapters.stores.postgres").joinpath("tenants.sql").read_bytes()
    assert {TRIGGER_VERSION: hashlib.sha256(script).hexdigest()[:16]} == VERSIONS


async def reopened(url, caplog):
    """Return what is logged when a vault's store is opened."""
    caplog.clear()
    with caplog.at_level(logging.WARNING, "vault_adapters"):
        async with open_postgres_store(url, migrate=True, schema=SCHEMA):
            pass
    return [record.getMessage() for record in caplog.records]


async def test_an_old_trigger_is_told_of_with_the_command_that_replaces_it(store, url, execute, caplog):
    assert await reopened(url, caplog) == []
    make_table(execute, "text", [])
    execute(tenants_trigger_sql(SCHEMA, "public.tenants", "id"))
    assert await reopened(url, caplog) == []
    for comment in ("'token-vault tenants trigger, version 1'", "NULL"):
        execute(f"COMMENT ON FUNCTION {SCHEMA}.erase_tenants(text[]) IS {comment}")
        [warning] = await reopened(url, caplog)
        assert "token-vault schema --tenants-table public.tenants" in warning
        assert f"version {TRIGGER_VERSION}" in warning
    execute(tenants_trigger_sql(SCHEMA, "public.tenants", "id"))
    assert await reopened(url, caplog) == []
