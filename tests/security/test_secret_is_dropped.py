"""After opening, nothing that the vault holds leads to the encryption secret, which only the host still has."""

import asyncio
import gc
import types

import pytest
from tests.support.databases import PostgresSchema, SqliteFile

from vault_adapters import Account, TokenKind, VaultConfig, open_sync_vault, open_vault
from vault_adapters.testing.memory import memory_vault

pytestmark = pytest.mark.real_scrypt

SECRET = "a canary secret of 41 characters, 7f3a91c2"
PREVIOUS = "a canary secret that was used before, 5512"
KEY = Account("t1", "google").key(TokenKind.API_KEY)

# Shared by the whole process, and not followed: a function's globals lead to everything, even to this test.
_SHARED = (type, types.ModuleType, types.BuiltinFunctionType, types.CodeType)


def reachable(*roots):
    """Yield all objects that can be reached without globals."""
    seen, waiting = set(), list(roots)
    while waiting:
        found = waiting.pop()
        if id(found) in seen or isinstance(found, _SHARED):
            continue
        seen.add(id(found))
        yield found
        if isinstance(found, types.FunctionType):
            waiting += [found.__closure__, found.__defaults__, found.__kwdefaults__]
        elif isinstance(found, types.FrameType):
            waiting += list(found.f_locals.values())
        else:
            waiting += [each for each in gc.get_referents(found) if each is not globals()]


def holders(*roots):
    return [type(found) for found in reachable(*roots) if type(found) is str and found in (SECRET, PREVIOUS)]


@pytest.fixture(params=["sqlite", "postgres"])
def database(request, tmp_path):
    if request.param == "sqlite":
        yield SqliteFile(tmp_path / "vault.db")
        return
    schema = PostgresSchema(request.getfixturevalue("postgres").create_database(f"dropped_{tmp_path.name[-12:]}"))
    yield schema
    schema.drop()


def configured(database):
    return database.config(encryption_secret=SECRET, previous_encryption_secret=PREVIOUS)


def test_the_walk_finds_the_secrets_before_opening(database):
    assert len(holders(configured(database))) == 2
    assert len(holders(open_sync_vault(configured(database)))) == 2


async def test_an_open_vault(database):
    opening = open_vault(configured(database))
    async with opening as vault:
        await vault.store_token(KEY, "v")
        gc.collect()
        tasks = [task.get_coro() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert holders(vault, opening, *tasks) == []


def test_an_open_sync_vault(database):
    with open_sync_vault(configured(database)) as vault:
        vault.store_token(KEY, "v")
        gc.collect()
        assert holders(vault) == []


async def test_the_walk_reaches_the_keys():
    async with memory_vault() as vault:
        await vault.store_token(KEY, "v")
        kinds = {type(found).__name__ for found in reachable(vault)}
    assert {"LocalMasterKey", "KeyCache", "EnvelopeKey", "SqliteDatabase"} <= kinds


def test_from_env_keeps_no_copy():
    variables = {"ENCRYPTION_SECRET": "".join(SECRET), "UNRELATED": "unrelated-7f3a91c2", "DATABASE_URL": "sqlite:///x"}
    config = VaultConfig.from_env(variables)
    assert not any(type(found) is str and found == "unrelated-7f3a91c2" for found in reachable(config))
    gc.collect()
    copies = [
        found
        for found in gc.get_objects()
        if issubclass(type(found), dict) and found is not variables and found is not globals() and _names(found)
    ]
    assert copies == []


def _names(found):
    if "__builtins__" in found:
        return False  # the globals of a test module
    return any(name in found for name in ("UNRELATED", "TOKEN_VAULT_ENCRYPTION_SECRET"))
