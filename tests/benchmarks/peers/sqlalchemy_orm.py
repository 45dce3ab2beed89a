"""SQLAlchemy's ORM, asynchronous, with an encrypted column; a session for each unit of work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from cryptography.fernet import Fernet
from dogpile.cache import make_region
from dogpile.cache.api import NO_VALUE
from sqlalchemy import DateTime, Dialect, Text, TypeDecorator, UniqueConstraint, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from tests.benchmarks.bench import at_once
from tests.benchmarks.peers.peer import Peer, Place
from tests.benchmarks.vaults import EXPIRY, VALUE


class FernetText(TypeDecorator[str]):
    """An encrypted column as many blog posts show it."""

    impl = Text
    cache_ok = True
    _fernet = Fernet(Fernet.generate_key())

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Encrypt."""
        return None if value is None else self._fernet.encrypt(value.encode()).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        """Decrypt."""
        return None if value is None else self._fernet.decrypt(value).decode()


@asynccontextmanager
async def sqlalchemy_peer(
    name: str, url: str, driver: str, table: str, column: Any, places: Sequence[Place], next_place: Callable[[], Place]
) -> AsyncIterator[Peer]:
    """Give a peer over a table of its own, filled.

    Args:
        name: the name that the results show.
        url: a libpq URL.
        driver: ``psycopg`` or ``asyncpg``.
        table: the table's name.
        column: the type of the encrypted column.
        places: the keys of the stored tokens.
        next_place: returns the key to fetch next.
    """
    engine = create_async_engine(url.replace("postgresql://", f"postgresql+{driver}://"), pool_size=10, max_overflow=0)
    session = async_sessionmaker(engine, expire_on_commit=False)
    base, row = _model(table, column)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(base.metadata.create_all)
        await _fill(session, row, places)

        async def fetch(place: Place) -> str:
            tenant, provider, kind, identifier = place
            wanted = select(row).where(
                row.tenant == tenant, row.provider == provider, row.kind == kind, row.identifier == identifier
            )
            async with session() as one:
                value: str = (await one.execute(wanted)).scalar_one().value
                return value

        async def get() -> None:
            _check(await fetch(next_place()))

        # The cache keeps decrypted values, the cheapest way: a hit neither decrypts nor makes an object.
        region = make_region().configure("dogpile.cache.memory", expiration_time=86_400)

        async def get_cached() -> None:
            place = next_place()
            value = region.get("\0".join(place))
            if value is NO_VALUE:
                value = await fetch(place)
                region.set("\0".join(place), value)
            _check(value)

        yield Peer(
            name,
            lambda callers, each: at_once(callers, each, get),
            cached=lambda callers, each: at_once(callers, each, get_cached),
            cached_name=f"{name}, values in clear in dogpile.cache",
        )
    finally:
        await engine.dispose()


def _check(value: object) -> None:
    if value != VALUE:
        raise RuntimeError("not the value that was stored")


def _model(table: str, column: Any) -> tuple[type[DeclarativeBase], Any]:
    class Base(DeclarativeBase):
        pass

    class Token(Base):
        __tablename__ = table
        __table_args__ = (UniqueConstraint("tenant", "provider", "kind", "identifier"),)
        id: Mapped[int] = mapped_column(primary_key=True)
        tenant: Mapped[str] = mapped_column(Text)
        provider: Mapped[str] = mapped_column(Text)
        kind: Mapped[str] = mapped_column(Text)
        identifier: Mapped[str] = mapped_column(Text)
        status: Mapped[str] = mapped_column(Text)
        expires_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
        value: Mapped[str] = mapped_column(column)

    return Base, Token


async def _fill(session: async_sessionmaker[AsyncSession], row: Any, places: Sequence[Place]) -> None:
    async with session.begin() as one:
        for tenant, provider, kind, identifier in places:
            one.add(
                row(
                    tenant=tenant,
                    provider=provider,
                    kind=kind,
                    identifier=identifier,
                    status="valid",
                    expires_at=EXPIRY,
                    value=VALUE,
                )
            )
