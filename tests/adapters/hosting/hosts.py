"""Hosts with a table of their own beside the vault's tables, one for each way to hold a connection."""

from __future__ import annotations

import sqlite3
from contextlib import asynccontextmanager, contextmanager

import aiosqlite
import psycopg

TABLE = "app_customer"


def table_of(database):
    """Return the name of the host's table; schemas share one database."""
    return TABLE if database.kind == "sqlite" else f"{database.schema}_customer"


def create_table(database):
    """Create the host's table."""
    database.execute(f"CREATE TABLE {table_of(database)} (name text PRIMARY KEY)")


def names(database):
    """Return the committed rows of the host."""
    return {name for (name,) in database.execute(f"SELECT name FROM {table_of(database)}")}


def _alchemy_url(database, *, asynchronous):
    if database.kind == "sqlite":
        return f"sqlite{'+aiosqlite' if asynchronous else ''}:///{database.path}"
    return database.url.replace("postgresql://", "postgresql+psycopg://", 1)


@asynccontextmanager
async def driver(database):
    """Give a connection of the driver, and a function that runs the host's own statement."""
    if database.kind == "sqlite":
        async with aiosqlite.connect(database.path) as connection:
            yield connection, connection.execute
    else:
        async with await psycopg.AsyncConnection.connect(database.url) as connection:
            yield connection, connection.execute


@asynccontextmanager
async def alchemy(database):
    """Do what `driver` does, with SQLAlchemy's connection."""
    from sqlalchemy import text  # processes that are killed load this module without SQLAlchemy
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine(_alchemy_url(database, asynchronous=True))
    try:
        async with engine.connect() as connection:
            yield connection, lambda sql: connection.execute(text(sql))
    finally:
        await engine.dispose()


@asynccontextmanager
async def alchemy_session(database):
    """Do what `driver` does, with SQLAlchemy's session."""
    from sqlalchemy import text
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

    engine = create_async_engine(_alchemy_url(database, asynchronous=True))
    try:
        async with AsyncSession(engine) as session:
            yield session, lambda sql: session.execute(text(sql))
    finally:
        await engine.dispose()


ASYNCHRONOUS = [driver, alchemy, alchemy_session]


@contextmanager
def sync_driver(database):
    """Give a blocking connection of the driver, and a function that runs the host's own statement."""
    connection = sqlite3.connect(database.path) if database.kind == "sqlite" else psycopg.connect(database.url)
    try:
        yield connection, connection.execute
    finally:
        connection.close()


@contextmanager
def sync_alchemy(database):
    """Do what `sync_driver` does, with SQLAlchemy's connection."""
    from sqlalchemy import create_engine, text

    engine = create_engine(_alchemy_url(database, asynchronous=False))
    try:
        with engine.connect() as connection:
            yield connection, lambda sql: connection.execute(text(sql))
    finally:
        engine.dispose()


@contextmanager
def sync_alchemy_session(database):
    """Do what `sync_driver` does, with SQLAlchemy's session."""
    from sqlalchemy import create_engine, text
    from sqlalchemy.orm import Session

    engine = create_engine(_alchemy_url(database, asynchronous=False))
    try:
        with Session(engine) as session:
            yield session, lambda sql: session.execute(text(sql))
    finally:
        engine.dispose()


BLOCKING = [sync_driver, sync_alchemy, sync_alchemy_session]
