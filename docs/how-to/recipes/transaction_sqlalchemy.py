"""Keeps a customer and the customer's API key in one transaction of SQLAlchemy, with and without an event loop."""

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from vault_adapters import Account, SyncVault, TokenKind, TokenVault


class Base(DeclarativeBase):
    pass


class Customer(Base):
    __tablename__ = "customer"

    name: Mapped[str] = mapped_column(primary_key=True)


def add(session: Session, vault: SyncVault, name: str, api_key: str) -> None:
    with session.begin():
        session.add(Customer(name=name))
        vault.on(session).store_token(Account("tenant-1", "stripe", name).key(TokenKind.API_KEY), api_key)


async def add_async(session: AsyncSession, vault: TokenVault, name: str, api_key: str) -> None:
    async with session.begin():
        session.add(Customer(name=name))
        await vault.on(session).store_token(Account("tenant-1", "stripe", name).key(TokenKind.API_KEY), api_key)
