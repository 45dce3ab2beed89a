"""The statements for distributed tables pass parts of the store contract on a plain server.

The server has a view with the name of Citus's catalogue, so a vault takes its tables for distributed ones. Citus itself
is in `test_citus.py`.
"""

import asyncio
from datetime import timedelta

import psycopg
import pytest
from attrs import evolve
from tests.adapters.cli.command import CommandLine
from tests.contract.stores import check_postgres_idle, open_postgres

from vault_adapters.stores.columns import PLAIN
from vault_adapters.stores.postgres.citus import FUNCTIONS, functions_sql
from vault_adapters.stores.postgres.citus_statements import FUNCTIONS_VERSION
from vault_adapters.stores.postgres.store import open_postgres_store
from vault_adapters.testing.contract.attempts import AttemptCases
from vault_adapters.testing.contract.audit import AuditCases
from vault_adapters.testing.contract.facts import FactCases
from vault_adapters.testing.contract.fixtures import ACCESS, REFRESH
from vault_adapters.testing.contract.rotation import DataKeyCases
from vault_adapters.testing.contract.tokens import TokenCases
from vault_adapters.testing.contract.uses import UseCases
from vault_domain.entities.audit import AuditAction
from vault_domain.entities.errors import ConfigurationError, SchemaOutdatedError, StorageError
from vault_domain.entities.token import TokenWrite
from vault_domain.ports.change import DataKeyInactiveError

WRITER = f"citus_write_token_v{FUNCTIONS_VERSION}"

_WAITING = "SELECT count(*) FROM pg_locks WHERE relation = %s::regclass AND NOT granted"

_REPLACED = """
WITH stored AS (UPDATE schema.token SET generation = generation + 1 RETURNING *)
INSERT INTO schema.audit_event (tenant_id, action, occurred_at, provider, identifier, kind, generation)
SELECT tenant_id, 'token_stored', now(), provider, identifier, kind, generation FROM stored
"""


async def _is_free(connection, table):
    return await (await connection.execute(_WAITING, (table,))).fetchone() == (0,)


async def _open(url, schema, *, migrate):
    async with open_postgres_store(url, migrate=migrate, schema=schema):
        pass


class TestStatementsForCitus(TokenCases, UseCases, FactCases, AttemptCases):
    @pytest.fixture
    def lent(self, seeming_schemas):
        with seeming_schemas.lend() as schema:
            yield schema

    @pytest.fixture
    def open_store(self, seeming_schemas, lent):
        return open_postgres(seeming_schemas.url, lent)

    async def check_idle(self, store):
        await check_postgres_idle(store)

    test_a_noted_failure_is_stored_once_an_hour = AuditCases.test_a_noted_failure_is_stored_once_an_hour
    test_pages_of_values_follow_the_keys = DataKeyCases.test_pages_of_values_follow_the_keys

    async def test_a_value_under_a_key_that_is_not_active_is_not_stored(self, store, vault):
        await vault.store_token(ACCESS, "v")
        sealed = (await store.accounts.get(ACCESS)).row.sealed
        await vault.keys.rotate_data_key("t1")
        for keys in ([ACCESS], [ACCESS, REFRESH]):
            with pytest.raises(DataKeyInactiveError):
                await store.accounts.store([TokenWrite(key, sealed) for key in keys], actor=None)
        assert (await vault.get_token(ACCESS)).info.generation == 1

    async def test_an_event_gets_its_place_when_the_row_is_held(self, store, vault, seeming_schemas, lent):
        await vault.store_token(ACCESS, "v")
        async with (
            await psycopg.AsyncConnection.connect(seeming_schemas.url) as holder,
            await psycopg.AsyncConnection.connect(seeming_schemas.url, autocommit=True) as other,
        ):
            await holder.execute(f"LOCK TABLE {lent}.data_key IN EXCLUSIVE MODE")  # gives the holder no transaction id
            storing = asyncio.create_task(vault.store_token(ACCESS, "w"))
            while await _is_free(other, f"{lent}.data_key"):  # noqa: ASYNC110 - the server does not tell of waits
                await asyncio.sleep(0.005)
            await other.execute(_REPLACED.replace("schema", lent))
            await holder.rollback()
        assert (await storing).generation == 3
        assert [event.generation for event in (await vault.audit_events()).items] == [1, 2, 3]

    async def test_the_limit_of_a_wait_for_a_lock_goes_to_the_node_of_the_tenant(self, store, seeming_schemas, lent):
        async with await psycopg.AsyncConnection.connect(seeming_schemas.url) as connection:
            arguments = [*["NULL"] * 14, "'1234ms'", *["NULL"] * len(PLAIN)]
            await connection.execute(f"SELECT {lent}.{WRITER}({', '.join(arguments)})")
            assert await (await connection.execute("SHOW lock_timeout")).fetchone() == ("1234ms",)

    @pytest.mark.parametrize("missing", [FUNCTIONS, FUNCTIONS[:1], FUNCTIONS[-1:]], ids=["all", "first", "last"])
    @pytest.mark.parametrize("is_older", [False, True], ids=["none", "those of an older release"])
    async def test_functions_that_are_missing_are_made_by_a_migration(
        self, store, seeming_schemas, lent, missing, is_older
    ):
        async with await psycopg.AsyncConnection.connect(seeming_schemas.url, autocommit=True) as connection:
            await connection.execute(f"DROP FUNCTION {', '.join(f'{lent}.{name}' for name in missing)}")
            if is_older:
                await connection.execute(functions_sql(lent).replace(f"_v{FUNCTIONS_VERSION}(", "_v0("))
        with pytest.raises(ConfigurationError) as caught:
            await _open(seeming_schemas.url, lent, migrate=False)
        assert caught.value.code == "citus_functions"
        await _open(seeming_schemas.url, lent, migrate=True)
        await _open(seeming_schemas.url, lent, migrate=False)
        async with await psycopg.AsyncConnection.connect(seeming_schemas.url) as connection:
            found = await connection.execute(
                "SELECT proname FROM pg_proc WHERE pronamespace = %s::regnamespace AND proname LIKE 'citus%%'", [lent]
            )
            names = {name for (name,) in await found.fetchall()}
        older = {name.replace(f"_v{FUNCTIONS_VERSION}", "_v0") for name in FUNCTIONS} if is_older else set()
        assert names == {*FUNCTIONS} | older, "processes of the older release still call theirs"

    @pytest.mark.parametrize(
        ("message", "is_retryable"),
        [("cannot execute a distributed query from a query on a shard", True), ("another internal error", False)],
    )
    async def test_a_write_may_be_tried_again_if_its_shard_was_moved_meanwhile(
        self, store, vault, seeming_schemas, lent, message, is_retryable
    ):
        async with await psycopg.AsyncConnection.connect(seeming_schemas.url, autocommit=True) as connection:
            await connection.execute(
                f"CREATE FUNCTION {lent}.refuse() RETURNS trigger LANGUAGE plpgsql AS"
                f" $$BEGIN RAISE EXCEPTION '{message}' USING ERRCODE = 'XX000'; END$$;"
                f"CREATE TRIGGER refuse BEFORE INSERT ON {lent}.token FOR EACH ROW EXECUTE FUNCTION {lent}.refuse()"
            )
        with pytest.raises(StorageError) as caught:
            await vault.store_token(ACCESS, "v")
        assert caught.value.retryable is is_retryable
        assert message not in str(caught.value)
        async with await psycopg.AsyncConnection.connect(seeming_schemas.url, autocommit=True) as connection:
            await connection.execute(f"DROP FUNCTION {lent}.refuse CASCADE")

    async def test_a_sweep_takes_others_if_it_lost_those_that_it_picked(
        self, store, vault, clock, seeming_schemas, lent
    ):
        """Another sweep takes the accounts after this one has picked them, before it changes them."""
        for number in range(2):
            await vault.store_token(evolve(ACCESS, identifier=str(number)), "v", expires_at=clock.now())
        async with (
            await psycopg.AsyncConnection.connect(seeming_schemas.url) as other,
            await psycopg.AsyncConnection.connect(seeming_schemas.url, autocommit=True) as watcher,
        ):
            taken = (
                f"UPDATE {lent}.account SET due_at = due_at + interval '1 hour' WHERE identifier = '0' RETURNING true"
            )
            assert len(await (await other.execute(taken)).fetchall()) == 1
            reserving = asyncio.create_task(
                store.accounts.reserve_due("google", hold=timedelta(minutes=1), limit=1, since=None, until=None)
            )
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%picked%'"
            while await (await watcher.execute(waiting)).fetchone() == (0,):  # noqa: ASYNC110 - see `_is_free`
                await asyncio.sleep(0.005)
            await other.commit()
        due, _ = await reserving
        assert [each.account.identifier for each in due] == ["1"]

    async def test_a_table_of_a_migration_is_copied_to_the_nodes(self, store, seeming_schemas, lent):
        async with await psycopg.AsyncConnection.connect(seeming_schemas.url, autocommit=True) as connection:
            await connection.execute(f"COMMENT ON TABLE {lent}.used_state IS 'local'")
        with pytest.raises(SchemaOutdatedError):
            await _open(seeming_schemas.url, lent, migrate=False)
        await _open(seeming_schemas.url, lent, migrate=True)
        await _open(seeming_schemas.url, lent, migrate=False)

    async def test_init_makes_missing_functions(self, store, seeming_schemas, lent, tmp_path):
        async with await psycopg.AsyncConnection.connect(seeming_schemas.url, autocommit=True) as connection:
            await connection.execute(f"DROP FUNCTION {lent}.{WRITER}")
        variables = {
            "DATABASE_URL": seeming_schemas.url,
            "ENCRYPTION_SECRET": "a-secret-that-only-this-test-uses-0123456789",
            "TOKEN_VAULT_SCRYPT_LOG2_N": "14",
            "TOKEN_VAULT_POSTGRES_SCHEMA": lent,
        }
        done = await asyncio.to_thread(CommandLine(tmp_path, variables), "init")
        assert done.code == 0, done.stderr
        await _open(seeming_schemas.url, lent, migrate=False)

    async def test_pages_of_events_end_before_the_oldest_transaction(self, store, vault, seeming_schemas):
        assert store.accounts._database.is_distributed
        async with await psycopg.AsyncConnection.connect(seeming_schemas.url) as other:
            [(xid,)] = await (await other.execute("SELECT pg_current_xact_id()::text")).fetchall()
            await vault.store_token(ACCESS, "v")
            assert await store.audit._horizon() == {"horizon": xid}
            assert (await vault.audit_events()).items == ()
        [event] = (await vault.audit_events()).items
        assert (event.action, event.generation) == (AuditAction.TOKEN_STORED, 1)

    async def test_stores_at_the_same_moment_go_one_by_one(self, store, vault, seeming_schemas, lent):
        """A statement about several tenants would go to several nodes."""
        await vault.store_token(ACCESS, "v")
        sealed = (await store.accounts.get(ACCESS)).row.sealed
        keys = [evolve(ACCESS, identifier=f"v{number}") for number in range(9)]
        await asyncio.gather(*(store.accounts.store([TokenWrite(key, sealed)], actor=None) for key in keys))
        async with await psycopg.AsyncConnection.connect(seeming_schemas.url) as other:
            found = await (await other.execute(f"SELECT count(DISTINCT xmin::text) FROM {lent}.token")).fetchall()
        assert found == [(10,)]
