"""A copy of a database is read but does not refresh, until somebody says that it is at home there."""

import asyncio
import json
import logging
import re
import secrets
import shutil
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
import yaml
from attrs import evolve
from tests.adapters.cli.command import CommandLine
from tests.support.databases import SECRET, PostgresSchema, SqliteFile, both_stores
from tests.support.postgres_standby import start_failover_pair

from vault_adapters import (
    Account,
    AuditAction,
    Readiness,
    RefreshFailedError,
    RefreshWorker,
    TokenKind,
    TokenSet,
    open_sync_vault,
    open_vault,
)
from vault_adapters.stores.postgres.schema import schema_sql
from vault_adapters.stores.sqlite import homes as sqlite_homes
from vault_adapters.telemetry.prometheus import prometheus_metrics
from vault_adapters.testing import ScriptedRefresher

ALERTS = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "monitoring" / "alerts.yml"
ACCOUNT, OTHER, FRESH = (Account("t1", "acme", name) for name in ("a", "b", "fresh"))
PAST = datetime.now(UTC) - timedelta(hours=1)
READY, NOT_HOME = Readiness(), Readiness(home="not_home")


class Revoking(ScriptedRefresher):
    """Counts revocations."""

    def __init__(self):
        super().__init__(*(TokenSet(f"new {number}", f"next {number}", expires_in=3600) for number in range(9)))
        self.revoked = []

    async def revoke(self, request):
        self.revoked.append(request.account)
        return True


def opened(database, provider=None, **settings):
    return open_vault(database.config(**settings), refreshers={"acme": provider or Revoking()})


async def fill(database, **settings):
    """Store two accounts that must be refreshed, and one that need not."""
    async with opened(database, **settings) as vault:
        for account in (ACCOUNT, OTHER):
            await vault.store_token_set(account, TokenSet("old", "refresh", expires_at=PAST))
        await vault.store_token_set(FRESH, TokenSet("fresh", "refresh", expires_in=3600))


async def is_at_home(database, **settings):
    async with opened(database, **settings) as vault:
        readiness = await vault.ready()
    assert readiness in (READY, NOT_HOME)
    return readiness == READY


@pytest.fixture
def copied(database, tmp_path, request):
    """Give a function that copies the database: a file as a file, a schema by a dump into another database."""

    def copy():
        if database.kind == "sqlite":
            folder = tmp_path / "copy"
            folder.mkdir()
            for file in tmp_path.glob("vault.db*"):
                shutil.copy2(file, folder / file.name)
            return SqliteFile(folder / "vault.db")
        url = request.getfixturevalue("postgres").create_database(f"copy_{secrets.token_hex(4)}")
        restore(database, url)
        return PostgresSchema(url, database.schema)

    return copy


def restore(database, url):
    """Copy all rows of a schema into another database, as a dump and its restoration do."""
    tables = database.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = ?::regnamespace AND relkind IN ('r', 'p')"
        " AND NOT relispartition",
        [database.schema],
    )
    with psycopg.connect(database.url) as source, psycopg.connect(url, autocommit=True) as target:
        target.execute(schema_sql(database.schema))
        target.execute("SET session_replication_role = replica")
        target.execute(f"DELETE FROM {database.schema}.migration")
        for (table,) in tables:
            columns = ", ".join(
                name
                for (name,) in source.execute(
                    "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"
                    " ORDER BY attnum",
                    [f"{database.schema}.{table}"],
                )
            )
            with (
                source.cursor().copy(f"COPY (SELECT {columns} FROM {database.schema}.{table}) TO STDOUT") as out,
                target.cursor().copy(f"COPY {database.schema}.{table} ({columns}) FROM STDIN") as into,
            ):
                for data in out:
                    into.write(data)


@both_stores
async def test_a_copy_beside_the_original_sends_no_request(database, copied, caplog):
    await fill(database)
    mine, theirs = Revoking(), Revoking()
    with caplog.at_level(logging.WARNING):
        async with opened(database, mine) as original, opened(copied(), theirs) as copy:
            assert [each.message for each in caplog.records if "is a copy, or has moved" in each.message] != []
            async with RefreshWorker(copy, interval=timedelta(milliseconds=20)):
                for account in (ACCOUNT, OTHER):
                    with pytest.raises(RefreshFailedError, match="token-vault adopt") as caught:
                        await copy.ensure_access_token(account)
                    assert (caught.value.reason, caught.value.account) == ("not_home", account)
                with pytest.raises(RefreshFailedError) as caught:
                    await copy.refresh_account(FRESH)
                assert caught.value.reason == "not_home"
                await asyncio.sleep(0.2)
            with pytest.raises(RefreshFailedError) as caught:
                await copy.refresh_due()
            assert caught.value.reason == "not_home"
            assert (await copy.get_token(ACCOUNT.key(TokenKind.REFRESH_TOKEN))).value.reveal() == "refresh"
            assert await copy.ready() == NOT_HOME
            assert (await copy.ready()).ok
            deletion = await copy.delete_account(OTHER, revoke=True)
            assert (deletion.deleted, deletion.revoked, deletion.reason) == (2, None, "not_home")
            assert (theirs.calls, theirs.revoked) == ([], [])
            assert (await original.refresh_due()).refreshed == 2
            assert await original.ready() == READY
            assert (await original.delete_account(OTHER, revoke=True)).revoked
            assert (len(mine.calls), mine.revoked) == (2, [OTHER])
    assert "a sweep failed (not_home); the next one follows" in caplog.text


@both_stores
async def test_sweeps_of_a_copy_fire_the_alert(database, copied):
    rules = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]
    [alert] = [rule["expr"] for rule in rules if rule["alert"] == "TokenVaultNotHome"]
    [(metric, selector)] = re.findall(r"(token_vault_\w+)\{(\w+=\"\w+\")\}", alert)
    await fill(database)

    async def fires(place):
        async with opened(place) as vault:
            with prometheus_metrics(vault) as read:
                with suppress(RefreshFailedError):
                    await vault.refresh_due()
                lines = [line for line in read().decode().splitlines() if line.startswith(metric + "{")]
        assert lines
        return any(selector in line for line in lines)

    copy = copied()
    assert await fires(copy)
    assert not await fires(database)


@both_stores
async def test_a_token_that_is_still_valid_is_returned_by_a_copy(database, copied):
    await fill(database)
    provider = Revoking()
    async with opened(copied(), provider, refresh_buffer=timedelta(hours=2)) as copy:
        assert (await copy.ensure_access_token(FRESH)).value.reveal() == "fresh"
    assert provider.calls == []


@both_stores
async def test_a_copy_that_is_adopted_refreshes_in_all_processes(database, copied):
    await fill(database)
    copy, provider = copied(), Revoking()
    async with opened(copy, provider) as vault, opened(copy) as another:
        assert await vault.ready() == NOT_HOME
        assert await another.with_actor("ann").adopt()
        assert not await another.adopt()
        assert await vault.ready() == READY
        assert (await vault.ensure_access_token(ACCOUNT)).value.reveal() == "new 0"
        events = [each async for each in vault.iter_audit_events() if each.action is AuditAction.VAULT_ADOPTED]
    assert [(each.actor, each.tenant_id) for each in events] == [("ann", None), (None, None)]
    assert await is_at_home(copy)
    assert await is_at_home(database)


@both_stores
async def test_a_database_without_a_record_is_at_home_where_it_is_opened_first(database, copied):
    await fill(database)
    database.execute("DELETE FROM {home}")
    copy = copied()
    assert await is_at_home(copy)
    assert await is_at_home(database)
    assert len(database.execute("SELECT places FROM {home}")) == 1


@both_stores
async def test_a_damaged_record_is_no_home(database):
    await fill(database)
    database.execute("UPDATE {home} SET places = 'x'")
    assert not await is_at_home(database)


@both_stores
async def test_the_name_of_the_deployment_counts_too(database):
    await fill(database)
    assert await is_at_home(database, deployment="production")  # the home gets its name
    assert await is_at_home(database, deployment="production")
    assert not await is_at_home(database, deployment="staging")
    assert not await is_at_home(database)
    async with opened(database, deployment="staging") as vault:
        assert await vault.adopt()
    assert await is_at_home(database, deployment="staging")
    assert not await is_at_home(database, deployment="production")


@both_stores
async def test_a_vault_at_home_asks_for_its_home_only_once(database):
    await fill(database)
    async with opened(database) as vault:
        database.execute("DROP TABLE {home}")
        assert (await vault.ensure_access_token(ACCOUNT)).value.reveal() == "new 0"
        assert (await vault.refresh_due()).refreshed == 1
        assert await vault.ready() == READY


@both_stores
def test_a_vault_without_an_event_loop_is_adopted_too(database, copied):
    asyncio.run(fill(database))
    with open_sync_vault(copied().config(), refreshers={"acme": Revoking()}) as copy:
        assert copy.ready() == NOT_HOME
        assert copy.adopt()
        assert copy.ensure_access_token(ACCOUNT).value.reveal() == "new 0"


@both_stores
def test_the_command_line_finds_and_adopts_a_copy(database, copied, tmp_path):
    asyncio.run(fill(database))
    copy = copied()
    variables = {
        "ENCRYPTION_SECRET": SECRET,
        "DATABASE_URL": copy.config().database_url.reveal(),
        "TOKEN_VAULT_POSTGRES_SCHEMA": copy.config().postgres_schema,
    }
    command = CommandLine(tmp_path, variables)
    found = json.loads(command("doctor", "--json").out)["findings"]
    assert [each["code"] for each in found if each["severity"] == "critical"] == ["not_home"]
    adopted = command("adopt")
    assert (adopted.code, adopted.out.split()) == (0, ["home", "adopted"])
    assert json.loads(command("adopt", "--json").out) == {"moved": False}
    assert "not_home" not in command("doctor", "--json").out


@pytest.fixture
def file(tmp_path):
    return SqliteFile(tmp_path / "vault.db")


@pytest.fixture(params=["a machine with an id", "a machine without an id"])
def has_id(request, monkeypatch, tmp_path):
    """Give whether this machine has an id."""
    has_id = request.param == "a machine with an id"
    name = tmp_path / "machine-id"
    if has_id:
        name.write_text("0123456789abcdef0123456789abcdef\n")
    monkeypatch.setattr(sqlite_homes, "_MACHINE_IDS", (str(name),))
    return has_id


async def test_a_file_that_is_renamed_stays_at_home(file, has_id, tmp_path):
    await fill(file)
    moved = SqliteFile(file.path.rename(tmp_path / "moved.db"))
    assert await is_at_home(moved)


async def test_a_file_that_a_backup_replaces_stays_at_home_on_a_machine_with_an_id(file, has_id, tmp_path):
    await fill(file)
    replace(file.path)
    assert await is_at_home(file) is has_id
    replace(file.path)  # the record has the new file by now
    assert await is_at_home(file) is has_id


async def test_a_file_that_was_renamed_and_then_replaced_is_at_home(file, tmp_path):
    await fill(file)
    moved = SqliteFile(file.path.rename(tmp_path / "moved.db"))
    assert await is_at_home(moved)
    replace(moved.path)
    assert await is_at_home(moved)


def replace(path):
    """Put a copy in the place of a file."""
    aside = path.with_suffix(".aside")
    shutil.copy2(path, aside)
    aside.rename(path)


async def test_a_copy_under_the_same_path_of_another_machine_is_not_at_home(file, monkeypatch):
    await fill(file)
    monkeypatch.setattr("platform.node", lambda: "another")
    replace(file.path)
    assert not await is_at_home(file)


async def test_a_database_in_memory_is_at_home(tmp_path):
    database = SqliteFile(":memory:")
    assert await is_at_home(database)


async def test_a_promoted_standby_is_the_same_home():
    with start_failover_pair(synchronous=True) as pair:
        database = PostgresSchema(pair.url, "token_vault")
        await fill(database)
        pair.wait_until_caught_up()
        standby = PostgresSchema(pair.standby.url, "token_vault")
        async with open_vault(standby.config(), migrate=False) as vault:  # it takes no writes
            assert await vault.ready() == Readiness(store="read_only")
        pair.fail_over()
        assert await is_at_home(database)


async def test_a_dump_on_another_server_is_not_at_home(prepared_schemas):
    with prepared_schemas.lend() as schema:
        database = PostgresSchema(prepared_schemas.url, schema)
        await fill(database)
        [(places,)] = database.execute("SELECT places FROM {home}")
        [(number,)] = database.execute("SELECT system_identifier::text FROM pg_control_system()")
        database.execute("UPDATE {home} SET places = ?", [places.replace(number, "7")])
        assert not await is_at_home(database)


async def test_a_server_that_does_not_tell_its_number_counts_as_home(postgres):
    url, role = postgres.create_database(f"silent_{secrets.token_hex(4)}"), f"silent_{secrets.token_hex(4)}"
    database = PostgresSchema(url, "token_vault")
    await fill(database)
    before = database.execute("SELECT places FROM {home}")
    database.execute(f"CREATE ROLE {role} LOGIN")
    try:
        database.execute(f"GRANT USAGE ON SCHEMA token_vault TO {role}")
        database.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA token_vault TO {role}")
        database.execute("REVOKE EXECUTE ON FUNCTION pg_catalog.pg_control_system() FROM PUBLIC")
        silent = evolve(database.config(), database_url=url.replace("postgres@", f"{role}@"))
        async with open_vault(silent, migrate=False) as vault:
            assert await vault.ready() == READY
        assert database.execute("SELECT places FROM {home}") == before
    finally:
        database.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
