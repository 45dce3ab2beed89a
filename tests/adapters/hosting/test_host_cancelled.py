"""A call that is cancelled at any of its statements leaves the host's transaction as it was."""

import asyncio

import aiosqlite
import psycopg
import pytest
from tests.adapters.hosting.hosts import names, table_of
from tests.adapters.hosting.test_host_transactions import NEW, OLD, account, config, value

from vault_adapters import open_vault

MOST = 30


class Canceller:
    """Cancels a task just before one of its statements, which the driver then ends or cancels at the server."""

    task = None

    def __init__(self, step):
        self._left = step

    def step(self):
        if self.task is not None and asyncio.current_task() is self.task:
            self._left -= 1
            if self._left == 0:
                self.task.cancel()


async def opened(database, canceller):
    if database.kind == "sqlite":
        connection = aiosqlite.connect(database.path)
        run = connection._execute

        async def run_and_count(*args, **options):
            canceller.step()
            return await run(*args, **options)

        connection._execute = run_and_count
        return connection

    class Counting(psycopg.AsyncConnection):
        async def wait(self, gen, *args, **options):
            canceller.step()
            return await super().wait(gen, *args, **options)

    return await Counting.connect(database.url)


async def settings(database, connection):
    if database.kind == "sqlite":
        [kept] = await connection.execute_fetchall("PRAGMA secure_delete")
        return connection.text_factory, kept  # what a cancelled call has begun in the thread has ended by now
    shown = [f"current_setting('{name}')" for name in ("search_path", "lock_timeout", "statement_timeout")]
    return await (await connection.execute(f"SELECT {', '.join(shown)}")).fetchone()


@pytest.mark.parametrize("deletes", [False, True], ids=["a value", "a deletion"])
async def test_a_call_that_is_cancelled_at_any_statement_leaves_nothing(database, deletes):
    seen = []
    async with open_vault(config(database)) as vault:
        for step in range(1, MOST):
            await vault.delete_account(account())
            if deletes:
                await vault.store_token_set(account(), OLD)
            before, canceller = await value(vault), Canceller(step)
            async with await opened(database, canceller) as connection:
                if database.kind == "sqlite":
                    connection.text_factory = bytes
                    await connection.execute("PRAGMA secure_delete = OFF")
                await connection.execute(f"INSERT INTO {table_of(database)} VALUES ('row-{step}')")
                had, on = await settings(database, connection), vault.on(connection)
                canceller.task = asyncio.create_task(
                    on.delete_account(account()) if deletes else on.store_token_set(account(), NEW)
                )
                [outcome] = await asyncio.gather(canceller.task, return_exceptions=True)
                try:
                    assert await settings(database, connection) == had
                    await connection.commit()
                    assert f"row-{step}" in names(database)
                except psycopg.errors.InFailedSqlTransaction:  # the server has cancelled a statement
                    await connection.rollback()
            seen.append(await value(vault) == before)
            if not isinstance(outcome, asyncio.CancelledError):
                assert not isinstance(outcome, Exception), outcome
                break
        else:
            pytest.fail("there are more steps than expected")
    assert len(seen) > 4
    assert all(seen[:-2])  # the last statement keeps what was written, and may have done so when it is cancelled
    assert not seen[-1]
