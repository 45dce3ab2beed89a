"""Accounts, token sets and ways to look into a vault, shared by the tests of refreshing."""

import asyncio
import sqlite3
from datetime import timedelta

import psycopg

from vault_adapters import Account, ConnectionState, Secret, TokenKind, TokenSet, VaultConfig, VaultError

SECRET = Secret("refresh-tests-" + "0" * 40)
ACCOUNT = Account("t1", "acme", "ann@example.com")
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


def make_config(database_url, **fields):
    return VaultConfig(database_url=database_url, encryption_secret=SECRET, scrypt_log2_n=14, **fields)


def answer(number, refresh=True, lifetime=HOUR, **fields):
    """Return what a provider answers the ``number``-th time."""
    return TokenSet(f"access-{number}", f"refresh-{number}" if refresh else None, expires_in=lifetime, **fields)


async def store(vault, number=0, *, account=ACCOUNT, lifetime=HOUR, refresh=True):
    return await vault.store_token_set(account, answer(number, refresh, lifetime))


async def stored(vault, account=ACCOUNT):
    """Return the stored values by kind, with a mark behind those that are invalid."""
    found = {}
    for kind in TokenKind:
        token = await vault.get_token(account.key(kind))
        if token is not None:
            mark = "" if token.info.status == "valid" else f" {token.info.status}: {token.info.error_code}"
            found[kind.value] = token.value.reveal() + mark
    return found


async def is_connected(vault, account=ACCOUNT):
    return (await vault.get_account(account)).state is ConnectionState.CONNECTED


async def failure(awaitable):
    """Return the vault's error that an awaitable raises."""
    try:
        result = await awaitable
    except VaultError as error:
        return error
    raise AssertionError(f"no VaultError was raised; the result is {result!r}")


async def eventually(condition, seconds=120.0):
    """Wait until an async condition holds."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - what is waited for is in another process
            await asyncio.sleep(0.01)


def account_state(config):
    """Return the refresh state of all accounts, read directly from the database."""
    columns = "attempt_id, lease_until, sent_at, failures, next_attempt_at, unknown_since, error_code"
    return [dict(zip(columns.split(", "), row, strict=True)) for row in rows_of(config, "account", columns)]


def rows_of(config, table, columns):
    """Return the rows of a table, read directly from the database."""
    if config.database_url.reveal().startswith("sqlite"):
        connection = sqlite3.connect(config.database_url.reveal().removeprefix("sqlite:///"))
        try:
            return connection.execute(f"SELECT {columns} FROM token_vault_{table}").fetchall()
        finally:
            connection.close()
    with psycopg.connect(config.database_url.reveal()) as connection:
        return connection.execute(f"SELECT {columns} FROM {config.postgres_schema}.{table}").fetchall()


class Gate:
    """An answer of a `ScriptedRefresher` that waits until the test opens it."""

    def __init__(self, answer):
        self._answer = answer
        self.reached = asyncio.Event()
        self.open = asyncio.Event()

    async def __call__(self, request):
        self.reached.set()
        await self.open.wait()
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer
