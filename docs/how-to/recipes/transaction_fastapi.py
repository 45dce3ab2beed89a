"""A FastAPI service that keeps a customer and the customer's API key in one transaction of psycopg."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypedDict

from fastapi import Body, Depends, FastAPI, Request
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from vault_adapters import Account, TokenKind, TokenVault, VaultConfig, open_vault

Connection = AsyncConnection[Any]


class State(TypedDict):
    pool: AsyncConnectionPool[Connection]
    vault: TokenVault


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[State]:
    async with (
        AsyncConnectionPool[Connection](os.environ["DATABASE_URL"], open=False) as pool,
        open_vault(VaultConfig.from_env()) as vault,  # reads DATABASE_URL too
    ):
        yield {"pool": pool, "vault": vault}


app = FastAPI(lifespan=lifespan)


async def transaction(request: Request) -> AsyncIterator[Connection]:
    # The block commits when the route has returned, and rolls back if it has raised an error.
    async with request.state.pool.connection() as connection:
        yield connection


InTransaction = Annotated[Connection, Depends(transaction, scope="function")]


@app.put("/customers/{name}")
async def add(
    request: Request, connection: InTransaction, name: str, api_key: Annotated[str, Body(embed=True)]
) -> None:
    await connection.execute("INSERT INTO customer (name) VALUES (%s)", [name])
    key = Account("tenant-1", "stripe", name).key(TokenKind.API_KEY)
    await request.state.vault.on(connection).store_token(key, api_key)


@app.delete("/customers/{name}")
async def remove(request: Request, connection: InTransaction, name: str) -> None:
    await request.state.vault.on(connection).delete_account(Account("tenant-1", "stripe", name))
    await connection.execute("DELETE FROM customer WHERE name = %s", [name])
