"""The recipes of transactions keep the host's row and the API key together, in the frameworks that they are for."""

import importlib.util

import psycopg
import pytest
from sqlalchemy import create_engine, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from tests.docs.test_django_recipes import SETTINGS, SQLITE, project
from tests.docs.test_recipes import RECIPES, environment, run

from vault_adapters import Account, VaultConfig, generate_encryption_secret, open_sync_vault, open_vault

pytestmark = [pytest.mark.pages, pytest.mark.real_scrypt]

__all__ = ["environment", "project"]

POSTGRES = (
    '{"ENGINE": "django.db.backends.postgresql", "NAME": os.environ["PGDATABASE"], "HOST": os.environ["PGHOST"],'
    ' "PORT": os.environ["PGPORT"], "USER": os.environ["PGUSER"], "PASSWORD": os.environ["PGPASSWORD"]}'
)


def key(name):
    return Account("tenant-1", "stripe", name).key("api_key")


async def test_fastapi(environment, postgres):
    url = postgres.create_database("transaction_fastapi")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE customer (name text PRIMARY KEY)")
    script = """
import warnings
warnings.simplefilter("ignore")  # the test client's own warnings
from fastapi.testclient import TestClient
from transaction_fastapi import app
with TestClient(app, raise_server_exceptions=False) as client:
    for api_key in ("sk_one", "sk_two", ""):
        print(client.put("/customers/ada", json={"api_key": api_key}).status_code)
    print(client.put("/customers/bob", json={"api_key": ""}).status_code)
    print(client.put("/customers/eve", json={"api_key": "sk_three"}).status_code)
    print(client.delete("/customers/eve").status_code)
"""
    found = await run(script, {**environment, "DATABASE_URL": url})
    assert found.split() == ["200", "500", "500", "500", "200", "200"]
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT name FROM customer").fetchall() == [("ada",)]
    config = VaultConfig(url, encryption_secret=environment["ENCRYPTION_SECRET"], scrypt_log2_n=14)
    async with open_vault(config) as vault:
        assert (await vault.get_token(key("ada"))).value.reveal() == "sk_one"
        assert [info.key async for info in vault.iter_tokens("tenant-1")] == [key("ada")]


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_django(project, request, kind):
    if kind == "postgres":
        server = request.getfixturevalue("postgres")
        found = psycopg.conninfo.conninfo_to_dict(server.create_database("transaction_django"))
        names = {"PGHOST": "host", "PGPORT": "port", "PGUSER": "user", "PGPASSWORD": "password", "PGDATABASE": "dbname"}
        project = project | {name: str(found.get(part) or "") for name, part in names.items()}
    script = (
        SETTINGS % (SQLITE if kind == "sqlite" else POSTGRES)
        + """
from django.core.management import call_command
call_command("migrate", verbosity=0)
import transaction_django as recipe
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from vault_adapters import *
def kept():
    tokens = [info.key.identifier for info in recipe.django_project.vault.iter_tokens("tenant-1")]
    print(sorted(user.username for user in User.objects.all()), sorted(tokens))
recipe.django_project.vault.open()
recipe.add("ada", "sk_one")
for name, api_key, error in (("ada", "sk_two", IntegrityError), ("bob", "", InvalidInputError)):
    try:
        recipe.add(name, api_key)
    except error:
        kept()
try:
    recipe.django_project.vault.on(connection).store_token(Account("tenant-1", "stripe", "x").key("api_key"), "v")
except HostTransactionError as refusal:
    print(refusal.reason)
with transaction.atomic():
    recipe.add("eve", "sk_three")  # a savepoint of Django
    transaction.set_rollback(True)
    try:
        recipe.django_project.vault.on(connection).delete_account(Account("tenant-1", "stripe", "ada"))
    except HostTransactionError as refusal:
        print(refusal.reason)
kept()
recipe.remove("ada")
kept()
"""
    )
    assert (await run(script, project)).splitlines() == [
        "['ada'] ['ada']",
        "['ada'] ['ada']",
        "no_transaction",
        "failed_transaction",
        "['ada'] ['ada']",
        "[] []",
    ]


def recipe():
    spec = importlib.util.spec_from_file_location("transaction_sqlalchemy", RECIPES / "transaction_sqlalchemy.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    """Give the URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'app.db'}"
    name = f"transaction_sqlalchemy_{request.node.originalname.removeprefix('test_')[:20]}"
    return request.getfixturevalue("postgres").create_database(name)


def config(url):
    return VaultConfig(url, encryption_secret=generate_encryption_secret(), scrypt_log2_n=14)


def alchemy(url, driver):
    return url.replace("postgresql:", "postgresql+psycopg:").replace("sqlite:", f"sqlite{driver}:")


def test_sqlalchemy(url):
    module, engine = recipe(), create_engine(alchemy(url, ""))
    module.Base.metadata.create_all(engine)
    with open_sync_vault(config(url)) as vault:
        with Session(engine) as session:
            module.add(session, vault, "ada", "sk_one")
        with Session(engine) as session, pytest.raises(IntegrityError):
            module.add(session, vault, "ada", "sk_two")
        assert vault.get_token(key("ada")).value.reveal() == "sk_one"
        with Session(engine) as session:
            assert session.scalars(select(module.Customer.name)).all() == ["ada"]
    engine.dispose()


async def test_sqlalchemy_asyncio(url):
    module, engine = recipe(), create_async_engine(alchemy(url, "+aiosqlite"))
    async with engine.begin() as connection:
        await connection.run_sync(module.Base.metadata.create_all)
    async with open_vault(config(url)) as vault:
        async with AsyncSession(engine) as session:
            await module.add_async(session, vault, "ada", "sk_one")
        async with AsyncSession(engine) as session:
            with pytest.raises(IntegrityError):
                await module.add_async(session, vault, "ada", "sk_two")
        assert (await vault.get_token(key("ada"))).value.reveal() == "sk_one"
        async with AsyncSession(engine) as session:
            assert (await session.scalars(select(module.Customer.name))).all() == ["ada"]
    await engine.dispose()
