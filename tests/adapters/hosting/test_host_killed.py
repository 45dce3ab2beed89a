"""A host that is killed at any statement of its transaction leaves the account and its row, or neither."""

import asyncio
import os
import signal

import aiosqlite
import psycopg
import pytest
from tests.adapters.hosting.hosts import names, table_of
from tests.support.databases import PostgresSchema, SqliteFile
from tests.support.processes import Call, start_processes

from vault_adapters import Account, TokenSet, open_vault

pytestmark = pytest.mark.processes

ACCOUNT = Account("t1", "github", "ada")
MOST = 60


def describe(database):
    place = str(database.path) if database.kind == "sqlite" else database.url
    return [database.kind, place, getattr(database, "schema", None)]


class Killer:
    """Kills this process at one step."""

    def __init__(self, step):
        self._left = step

    def step(self, *_):
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def deadly(killer):
    """Return a class of connections that counts a step before each request to the server, and one after its answer."""

    class Deadly(psycopg.AsyncConnection):
        async def wait(self, gen, *args, **options):
            killer.step()
            answer = await super().wait(gen, *args, **options)
            killer.step()
            return answer

    return Deadly


async def connect_and_delete(kind, place, schema, step):
    """Connect an account and delete it again, each in one transaction with the host's row."""
    database, killer = SqliteFile(place) if kind == "sqlite" else PostgresSchema(place, schema), Killer(step)
    async with open_vault(database.config()) as vault:
        if kind == "sqlite":
            opening = aiosqlite.connect(place)
        else:
            opening = await deadly(Killer(0)).connect(place)
        async with opening as connection:
            if kind == "sqlite":
                await connection.set_trace_callback(killer.step)
            else:
                connection.__class__ = deadly(killer)
            await connection.execute(f"INSERT INTO {table_of(database)} VALUES ('ada')")
            await vault.on(connection).store_token_set(ACCOUNT, TokenSet("a", refresh_token="r", expires_in=60))
            await connection.commit()
            await vault.on(connection).delete_account(ACCOUNT)
            await connection.execute(f"DELETE FROM {table_of(database)}")
            await connection.commit()
    return "finished"


async def test_both_or_neither_after_a_kill_at_each_step(database):
    seen = []
    async with open_vault(database.config()) as vault:
        for step in range(1, MOST):
            with start_processes([Call(connect_and_delete, [*describe(database), step])]) as group:
                group.go()
                [result] = await asyncio.to_thread(group.wait)
            is_stored = await vault.get_access_token(ACCOUNT) is not None
            assert is_stored == (names(database) == {"ada"}), step
            seen.append(is_stored)
            await vault.delete_account(ACCOUNT)
            database.execute(f"DELETE FROM {table_of(database)}")
            if result.value == "finished":
                break
            assert result.returncode == -signal.SIGKILL
        else:
            pytest.fail("there are more steps than expected")
    assert len(seen) > 15
    assert sum(seen) > 3  # killed between the two commits
    assert not seen[-1]
