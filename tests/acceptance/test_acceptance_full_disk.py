"""The database's disk is really full: the cause is named, nothing is half-written, and free space ends the fault."""

import contextlib
import sqlite3

import psycopg
import pytest
from tests.support.postgres import start_postgres
from tests.support.small_disk import NoMountError, mount_small_disk

from vault_adapters import Account, StorageError, TokenSet, VaultConfig, open_vault

pytestmark = pytest.mark.processes

ACCOUNT = Account("t1", "google", "ann")
KEYS = [ACCOUNT.key("access_token"), ACCOUNT.key("refresh_token")]
SMALL, LARGE = "small", "x" * 60_000
MEGABYTES = 32


def token_set(value):
    return TokenSet(f"access-{value}", f"refresh-{value}", expires_in=3600)


@pytest.fixture
def disk():
    """Give a small file system, or skip."""
    try:
        mounting = contextlib.ExitStack()
        mounted = mounting.enter_context(mount_small_disk(MEGABYTES))
    except NoMountError as error:
        pytest.skip(str(error))
    with mounting:
        yield mounted


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, disk):
    """Give the URL of a database whose files are on the small file system."""
    if request.param == "sqlite":
        yield f"sqlite:///{disk.path}/vault.db"
        return
    with start_postgres(private=True) as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(f"CREATE TABLESPACE small LOCATION '{disk.path}'")
            connection.execute("CREATE DATABASE on_small TABLESPACE small")
        yield server.url.replace("/postgres?", "/on_small?")


async def values_of(vault):
    tokens = await vault.get_tokens(KEYS)
    return [(tokens[key].value.reveal(), tokens[key].info.generation) for key in KEYS]


async def test_a_full_disk_is_named_and_harms_nothing(url, disk, caplog):
    config = VaultConfig(url, encryption_secret="an encryption secret of the tests, long enough", scrypt_log2_n=14)
    async with open_vault(config) as vault:
        await vault.store_token_set(ACCOUNT, token_set(SMALL))
        before, events = await values_of(vault), [event async for event in vault.iter_audit_events()]
        disk.fill()
        for number in range(3):
            with pytest.raises(StorageError) as caught:
                await vault.store_token_set(ACCOUNT, token_set(f"{number}{LARGE}"))
            assert (caught.value.reason, caught.value.__cause__) == ("disk_full", None)
            assert await values_of(vault) == before
        assert [event async for event in vault.iter_audit_events()] == events
        with pytest.raises(StorageError):
            await vault.store_tokens([(Account("t1", "google", str(n)).key("api_key"), LARGE) for n in range(20)])
        assert len((await vault.list_accounts("t1")).items) == 1
        disk.make_room()
        await vault.store_token_set(ACCOUNT, token_set(LARGE))
        assert await values_of(vault) == [(f"access-{LARGE}", 2), (f"refresh-{LARGE}", 2)]
        assert (await vault.health()).ok
    lines = [record.getMessage() for record in caplog.records if "fails" in record.getMessage()]
    assert [line.rpartition(" ")[2] for line in lines] == ["disk_full"]
    assert sum("works again" in record.getMessage() for record in caplog.records) == 1
    async with open_vault(config) as vault:
        assert await values_of(vault) == [(f"access-{LARGE}", 2), (f"refresh-{LARGE}", 2)]
    if url.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(disk.path / "vault.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
