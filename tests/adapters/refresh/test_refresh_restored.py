"""After a restore, the vault tells at once whose users must connect again, and keeps everybody else connected."""

import itertools
import sqlite3
from collections import Counter
from contextlib import closing

import psycopg
import pytest
from psycopg import sql
from tests.adapters.refresh.refresh_kit import HOUR, MINUTE, failure, make_config
from tests.support.databases import both_stores

from vault_adapters import (
    Account,
    AuditAction,
    ConnectionState,
    InvalidInputError,
    ReauthorizationRequiredError,
    Rotation,
    TokenKind,
    TokenSet,
    open_sync_vault,
    open_vault,
)
from vault_adapters.testing import ManualClock

ROTATED = [Account(f"t{number % 6}", "acme", f"rotated-{number}") for number in range(36)]
NUMBERS = itertools.count()
KEPT = [Account(f"t{number % 4}", "acme", f"kept-{number}") for number in range(8)]


class Strict:
    """A provider that accepts each refresh token once, and its refresher."""

    rotation = Rotation.strict()
    spends = TokenKind.REFRESH_TOKEN

    def __init__(self):
        self.current, self.is_broken, self.number = {}, False, 0

    def connect(self, account, lifetime):
        self.number += 1
        self.current[account] = f"refresh-{self.number}"
        return TokenSet(f"access-{self.number}", self.current[account], expires_in=lifetime)

    def client_id_of(self, account):
        return "client"

    async def refresh(self, request):
        if self.is_broken or request.credential.reveal() != self.current.get(request.account):
            raise ReauthorizationRequiredError(reason="invalid_grant")
        return self.connect(request.account, HOUR)


class SqliteFile:
    def __init__(self, folder):
        self._path, self._copy = folder / "vault.db", folder / "backup.db"
        self.config = make_config(f"sqlite:///{self._path}")

    def back_up(self):
        with closing(sqlite3.connect(self._path)) as source, closing(sqlite3.connect(self._copy)) as copy:
            source.backup(copy)

    def restore(self):
        for file in self._path.parent.glob("vault.db*"):
            file.unlink()
        self._copy.rename(self._path)


class PostgresDatabase:
    def __init__(self, postgres):
        self._server = postgres.url
        self._name = f"restored_{next(NUMBERS)}"
        self.config = make_config(postgres.create_database(self._name))

    def back_up(self):
        self._run("CREATE DATABASE {} TEMPLATE {}", f"{self._name}_backup", self._name)

    def restore(self):
        self._run("DROP DATABASE {} WITH (FORCE)", self._name)
        self._run("ALTER DATABASE {} RENAME TO {}", f"{self._name}_backup", self._name)

    def _run(self, statement, *names):
        with psycopg.connect(self._server, autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


@pytest.fixture
def database(request, store_kind, tmp_path):
    return SqliteFile(tmp_path) if store_kind == "sqlite" else PostgresDatabase(request.getfixturevalue("postgres"))


@pytest.fixture
async def restored(database, clock):
    """Return a provider and the configuration of a database whose backup is an hour older than most grants."""
    provider = Strict()
    async with open_vault(database.config, refreshers={"acme": provider}, clock=clock) as vault:
        for account in ROTATED:
            await vault.store_token_set(account, provider.connect(account, HOUR))
        for account in KEPT:
            await vault.store_token_set(account, provider.connect(account, 10 * HOUR))
    database.back_up()
    async with open_vault(database.config, refreshers={"acme": provider}, clock=clock) as vault:
        clock.advance(HOUR)
        assert (await vault.refresh_due()).refreshed == len(ROTATED)
    database.restore()
    clock.advance(10 * HOUR)
    return provider


async def states_of(vault, accounts):
    return Counter([(await vault.get_account(account)).state for account in accounts])


async def test_without_a_word_most_dead_accounts_look_as_if_they_were_retried(database, clock, restored):
    async with open_vault(database.config, refreshers={"acme": restored}, clock=clock) as vault:
        await vault.refresh_due()
        reasons = {(await vault.get_account(account)).reason for account in ROTATED}
        assert reasons == {None, "mass_rejection"}
        assert ConnectionState.REAUTHORIZATION_REQUIRED not in await states_of(vault, ROTATED)


@both_stores
@pytest.mark.parametrize("swept", [False, True], ids=["told at once", "told after a sweep"])
async def test_the_report_lists_whom_to_ask(database, clock, restored, swept):
    async with open_vault(database.config, refreshers={"acme": restored}, clock=clock) as vault:
        if swept:
            await vault.refresh_due()
            clock.advance(MINUTE)
        report = await vault.restored()
        assert report.restored_at == clock.now()
        assert {info.account for info in report.ask} == set(ROTATED)
        assert report.retrying == ()
        assert await states_of(vault, KEPT) == {ConnectionState.CONNECTED: len(KEPT)}
        assert (await vault.health()).incidents == ()
        events = [event.action async for event in vault.iter_audit_events()]
        assert AuditAction.DATABASE_RESTORED in events
        assert events.count(AuditAction.CLIENT_PAUSED) == events.count(AuditAction.CLIENT_RESUMED)
        again = await vault.restored(since=report.restored_at)
        assert {info.account for info in again.ask} == set(ROTATED)


async def test_another_process_believes_rejections_too(database, clock, restored):
    async with open_vault(database.config, clock=clock) as operator:
        await operator.restored()
    async with open_vault(database.config, refreshers={"acme": restored}, clock=clock) as vault:
        await vault.refresh_due()
        assert await states_of(vault, ROTATED) == {ConnectionState.REAUTHORIZATION_REQUIRED: len(ROTATED)}


async def test_a_fault_of_the_provider_after_the_restore_is_still_a_mass_rejection(database, clock, restored):
    async with open_vault(database.config, refreshers={"acme": restored}, clock=clock) as vault:
        await vault.restored()
        restored.is_broken = True
        clock.advance(30 * MINUTE)
        for account in KEPT:
            await failure(vault.refresh_account(account))
        assert set(await states_of(vault, KEPT)) == {ConnectionState.CONNECTED, ConnectionState.RETRYING}
        assert await states_of(vault, ROTATED) == {ConnectionState.REAUTHORIZATION_REQUIRED: len(ROTATED)}


async def test_who_connects_again_is_connected(database, clock, restored):
    async with open_vault(database.config, refreshers={"acme": restored}, clock=clock) as vault:
        report = await vault.restored()
        account = report.ask[0].account
        await vault.store_token_set(account, restored.connect(account, HOUR))
        clock.advance(HOUR)
        assert (await vault.refresh_due()).reauthorization_required == 0
        assert (await vault.get_account(account)).state is ConnectionState.CONNECTED


async def test_a_time_in_the_future_is_refused(database, clock, restored):
    async with open_vault(database.config, clock=clock) as vault:
        for since in (clock.now() + HOUR, "yesterday", clock.now().replace(tzinfo=None)):
            assert isinstance(await failure(vault.restored(since=since)), InvalidInputError)
        assert AuditAction.DATABASE_RESTORED not in [event.action async for event in vault.iter_audit_events()]


def test_a_sync_vault_can_be_told_too(sqlite_config):
    with open_sync_vault(sqlite_config, clock=ManualClock()) as vault:
        assert vault.restored().ask == ()
