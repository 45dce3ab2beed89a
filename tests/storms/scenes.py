"""The single faults that the page about faults describes: how each begins and how it ends."""

import asyncio
import os
import resource
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path

import psycopg
from attrs import define, frozen
from tests.support.fault_proxy import FaultProxy
from tests.support.postgres import PostgresServer
from tests.support.strict_provider import StrictProvider

from vault_adapters import TokenVault


@define
class Scene:
    """What a fault may lay hands on."""

    vault: TokenVault
    provider: StrictProvider
    url: str = ""
    proxy: FaultProxy | None = None
    server: PostgresServer | None = None
    path: Path | None = None


@frozen
class SceneFault:
    """A row of the page; `store` is the store that it is measured on."""

    title: str
    store: str
    make: Callable[[Scene], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def _stopped(scene: Scene) -> AsyncIterator[None]:
    await asyncio.to_thread(scene.server.stop, "immediate")
    yield
    await asyncio.to_thread(scene.server.start)


def _proxied(name: str, *arguments):
    @asynccontextmanager
    async def make(scene: Scene) -> AsyncIterator[None]:
        getattr(scene.proxy, name)(*arguments)
        yield
        scene.proxy.heal()

    return make


@asynccontextmanager
async def _rows_locked(scene: Scene) -> AsyncIterator[None]:
    async with await psycopg.AsyncConnection.connect(scene.url) as connection:
        await connection.execute("SELECT 1 FROM token_vault.token FOR UPDATE")
        yield
        await connection.rollback()


@asynccontextmanager
async def _write_lock(scene: Scene) -> AsyncIterator[None]:
    with closing(sqlite3.connect(scene.path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


@asynccontextmanager
async def _disk_full(scene: Scene) -> AsyncIterator[None]:
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)


@asynccontextmanager
async def _replaced(scene: Scene) -> AsyncIterator[None]:
    aside = scene.path.with_suffix(".aside")
    scene.path.rename(aside)
    scene.path.touch()
    yield
    os.replace(aside, scene.path)


def _provider(fault, *, latency: float = 0.0):
    @asynccontextmanager
    async def make(scene: Scene) -> AsyncIterator[None]:
        scene.provider.weather(fault, latency=latency)
        yield
        scene.provider.weather()

    return make


FAULTS = (
    SceneFault("Postgres is stopped", "postgres", _stopped),
    SceneFault("Postgres refuses connections", "postgres", _proxied("refuse")),
    SceneFault("all connections are reset, new ones work", "postgres", _proxied("reset")),
    SceneFault("all connections fall silent, new ones work", "postgres", _proxied("silence")),
    SceneFault("nothing comes through, and no connection ends", "postgres", _proxied("freeze")),
    SceneFault("every packet takes 0.3 s", "postgres", _proxied("slow", 0.3)),
    SceneFault("a transaction holds the rows' locks", "postgres", _rows_locked),
    SceneFault("another process holds the write lock", "sqlite", _write_lock),
    SceneFault("the disk is full", "sqlite", _disk_full),
    SceneFault("the database file is replaced", "sqlite", _replaced),
    SceneFault("the provider takes 5 s", "sqlite", _provider("none", latency=5)),
    SceneFault("the provider does not answer", "sqlite", _provider("lost", latency=60)),
    SceneFault("the provider resets the connection without an answer", "sqlite", _provider("lost")),
    SceneFault("the connection ends after the JSON, before the last chunk", "sqlite", _provider("no_last_chunk")),
    SceneFault("the provider answers 503", "sqlite", _provider("unavailable")),
    SceneFault("the provider answers 500", "sqlite", _provider("failing")),
)
