"""If Postgres cannot be used, errors, logs and health name the cause, host, port and database, and no secret."""

import asyncio
import contextlib
import logging
import time
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import uuid4

import psycopg
import pytest
from tests.adapters.postgres.samples import ACCESS, SCHEMA, prepare, write
from tests.security.reporters import reports
from tests.support.fault_proxy import fault_proxy
from tests.support.postgres import start_postgres

from vault_adapters.stores.postgres.causes import cause_of_refusal
from vault_adapters.stores.postgres.peer import peer_of
from vault_adapters.stores.postgres.store import open_postgres_store
from vault_domain.entities.causes import STORAGE_CAUSES
from vault_domain.entities.errors import StorageError
from vault_domain.entities.secret import Secret
from vault_domain.ports.pages import Owned
from vault_domain.services.tokens.account_changes import AccountChanges

PASSWORD = "hunter2secret"
CROWDED, WEAK = "vault_crowded", "vault_weak"


@pytest.fixture(scope="module")
def server():
    """Give a server with a role whose password it checks, and a role that may have one connection."""
    with start_postgres(private=True) as started:
        with psycopg.connect(started.url, autocommit=True) as connection:
            connection.execute(f"CREATE ROLE {WEAK} LOGIN PASSWORD 'another'")
            connection.execute(f"CREATE ROLE {CROWDED} LOGIN CONNECTION LIMIT 1")
            rules = started.data_dir / "pg_hba.conf"
            rules.write_text(f"local all {WEAK} scram-sha-256\nlocal all all trust\n")
            connection.execute("SELECT pg_reload_conf()")
        yield started


@pytest.fixture
def own_url(server, request):
    return server.create_database(f"causes_{abs(hash(request.node.name))}")


def told(error, caplog, reason, place):
    """Assert what an error and the log say about a failure."""
    assert (error.reason, error.__cause__, error.__context__) == (reason, None, None)
    assert place in str(error)
    assert f"({reason}, " in str(error)
    lines = [record for record in caplog.records if reason in record.getMessage()]
    assert [(record.levelno, record.name[:6]) for record in lines] == [(logging.WARNING, "vault_")]
    text = caplog.text + str(error) + "".join(reports(error).values())
    assert PASSWORD not in text
    assert "billing" not in text


async def opening(url):
    """Return the error with which a store cannot be opened."""
    url = Secret(url)  # the test's own frames are in the reports
    with pytest.raises(StorageError) as caught:
        async with open_postgres_store(url, migrate=True):
            pass
    return caught.value


def as_user(url, user, password=PASSWORD):
    return url.replace("//postgres@", f"//{user}:{password}@")


async def test_wrong_port_and_wrong_host(caplog):
    url = f"postgresql://ann:{PASSWORD}@127.0.0.1:1/app?application_name=billing"
    told(await opening(url), caplog, "connection_refused", "127.0.0.1:1/app")
    caplog.clear()
    told(
        await opening(url.replace("127.0.0.1:1", "no-such.invalid")), caplog, "unknown_host", "no-such.invalid:5432/app"
    )


@pytest.mark.parametrize(
    ("user", "reason"), [(WEAK, "authentication_failed"), ("vault_nobody", "authentication_failed")]
)
async def test_a_password_or_a_role_is_wrong(own_url, caplog, user, reason):
    told(await opening(as_user(own_url, user)), caplog, reason, "5432/causes_")


async def test_a_database_is_missing_or_closed_to_a_role(server, own_url, caplog):
    name = own_url.split("?")[0].rsplit("/", 1)[1]
    told(await opening(own_url.replace(name, "no_such")), caplog, "database_missing", ":5432/no_such")
    caplog.clear()
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC")
    told(await opening(as_user(own_url, CROWDED)), caplog, "permission_denied", f":5432/{name}")


async def test_too_many_connections(own_url, caplog):
    url = as_user(own_url, CROWDED)
    async with await psycopg.AsyncConnection.connect(url):
        told(await opening(url), caplog, "too_many_connections", ":5432/causes_")


def connected(url):
    """Connect as soon as the server has room; it makes room a moment after a connection was closed."""
    end = time.monotonic() + 20
    while True:
        try:
            return psycopg.connect(url)
        except psycopg.OperationalError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


async def test_the_server_takes_no_more_connections(caplog):
    """The last connections are reserved for superusers. When superusers have these too, the server refuses everyone."""
    few = {"max_connections": "6", "superuser_reserved_connections": "2", "max_wal_senders": "0"}
    with start_postgres(settings=few) as server, contextlib.ExitStack() as held:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(f"CREATE ROLE {CROWDED} LOGIN; CREATE SCHEMA {SCHEMA} AUTHORIZATION {CROWDED}")
        url = as_user(server.url, CROWDED)
        for _ in range(4):
            held.enter_context(connected(url))
        told(await opening(url), caplog, "too_many_connections", ":5432/postgres")
        for _ in range(2):
            held.enter_context(connected(server.url))
        caplog.clear()
        told(await opening(server.url), caplog, "too_many_connections", ":5432/postgres")
        held.close()
        for _ in range(2):
            held.enter_context(connected(url))
        async with open_postgres_store(url, migrate=True, schema=SCHEMA) as store:
            await prepare(store)


async def test_tls_is_refused(own_url, caplog):
    with fault_proxy(own_url) as proxy:
        url = f"{proxy.url}?sslmode=require&application_name=billing"
        told(await opening(url), caplog, "tls", proxy.url.rpartition("@")[2])


@asynccontextmanager
async def opened(url):
    async with open_postgres_store(url, migrate=True, schema=SCHEMA) as store:
        await prepare(store)
        await store.accounts.store([write()], actor=None)
        yield store


async def failing(work):
    with pytest.raises(StorageError) as caught:
        await work
    return caught.value


async def test_a_grant_is_missing(own_url, caplog):
    async with opened(own_url):
        with psycopg.connect(own_url, autocommit=True) as connection:
            connection.execute(f"CREATE ROLE vault_reader LOGIN; GRANT USAGE ON SCHEMA {SCHEMA} TO vault_reader")
            connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {SCHEMA} TO vault_reader")
        async with open_postgres_store(as_user(own_url, "vault_reader"), migrate=False, schema=SCHEMA) as reader:
            assert (await reader.accounts.get(ACCESS)).row is not None
            error = await failing(AccountChanges(reader.accounts, uuid4).delete_token(ACCESS, actor=None))
            told(error, caplog, "permission_denied", ":5432/causes_")
            assert not error.retryable


async def test_the_disk_is_full(own_url, caplog):
    async with opened(own_url) as store:
        with psycopg.connect(own_url, autocommit=True) as connection:
            connection.execute(
                "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS"
                " $$BEGIN RAISE 'could not extend file' USING ERRCODE = '53100'; END$$"
            )
            connection.execute(f"CREATE TRIGGER t BEFORE INSERT ON {SCHEMA}.audit_event EXECUTE FUNCTION full_disk()")
        told(await failing(store.accounts.store([write()], actor=None)), caplog, "disk_full", ":5432/causes_")


async def test_the_server_stops_and_comes_back(server, own_url, caplog):
    """The log says once for each cause that the database fails, and once that it works again.

    A read tries to connect until its time is over. On a busy machine, one second is too short for the other calls.
    """
    async with open_postgres_store(own_url, migrate=True, pool_size=1, timeout=timedelta(seconds=6)) as store:
        await prepare(store)
        server.stop("fast")
        try:
            errors = [await failing(store.accounts.store([write()], actor=None))]
            reads = store.accounts.get(ACCESS), store.pages.tokens(Owned("t1"), limit=1, after=None)
            errors += await asyncio.gather(*map(failing, reads))
        finally:
            server.start()
        assert [error.reason for error in errors] == ["shutting_down", *["connection_refused"] * 2]
        await store.accounts.get(ACCESS)
    lines = [record.getMessage() for record in caplog.records if "discarding" not in record.getMessage()]
    place = f"the Postgres database {server.data_dir.parent}:5432/{own_url.split('?')[0].rsplit('/', 1)[1]}"
    assert lines == [
        f"{place} fails: shutting_down",
        f"{place} fails: connection_refused",
        f"{place} works again; failures: 3, the last one: connection_refused",
    ]


async def test_an_outage_ends_with_an_answer_and_not_with_a_closed_connection(server, own_url, caplog):
    """Neither giving a connection back nor closing the store shows that the database works."""
    with contextlib.ExitStack() as stack:
        async with open_postgres_store(own_url, migrate=True, pool_size=1, timeout=timedelta(seconds=1)) as store:
            server.stop("fast")
            stack.callback(server.start)
            for _ in range(2):
                await failing(store.pages.tokens(Owned("t1"), limit=1, after=None))
    assert "fails: connection_refused" in caplog.text
    assert "works again" not in caplog.text


async def test_a_page_is_damaged(server, own_url, caplog):
    async with opened(own_url):
        with psycopg.connect(own_url, autocommit=True) as connection:
            [path] = connection.execute(f"SELECT pg_relation_filepath('{SCHEMA}.token')").fetchone()
    server.stop("fast")
    file = server.data_dir / path
    file.write_bytes(b"\xff" * file.stat().st_size)
    server.start()
    async with open_postgres_store(own_url, migrate=False, schema=SCHEMA) as store:
        told(await failing(store.accounts.get(ACCESS)), caplog, "corrupt", ":5432/causes_")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("postgresql://ann:hunter2secret@a:1,b:2/app?sslmode=require", "a:1,b:2/app"),
        ("postgresql://ann:hunter2secret@a,b/app", "a:5432,b:5432/app"),
        ("postgresql://ann:hunter2secret@[::1]:6432/app", "::1:6432/app"),
        ("postgresql://ann:hunter2secret@/app?host=/run/pg", "/run/pg:5432/app"),
        ("postgresql://ann:x@hunter2secret,y@db/app", "***"),
        ("postgresql://ann:1/hunter2secret@db/app", "ann:1/***"),
        ("postgresql://ann:1/app?sslmode=x@hunter2secret", "***"),
        ("postgresql://ann:hunter2secret", "ann:***/"),
    ],
)
def test_no_part_of_a_password_is_a_place(url, name, monkeypatch):
    monkeypatch.delenv("PGUSER", raising=False)
    shown = peer_of(Secret(url)).name
    assert shown.startswith(f"the Postgres database {name}")
    assert "hunter2secret" not in shown


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ('connection failed: FATAL:  role "SSL certificate" does not exist', "authentication_failed"),
        ("connection failed: FATAL:  the database system is starting up", "shutting_down"),
        ("FATAL: no more connections allowed (max_client_conn)", "too_many_connections"),
        ("connection failed: FATAL:  Passwort-Authentifizierung fehlgeschlagen", "connection_failed"),
        ("connection failed: certificate verify failed", "tls"),
        ("SSL SYSCALL error: EOF detected", "connection_failed"),
        # What listens there is another kind of server, so nobody should look at certificates.
        ("connection failed: received invalid response to SSL negotiation: H", "connection_failed"),
    ],
)
def test_texts_of_libpq(text, cause):
    assert cause_of_refusal(psycopg.OperationalError(text)) == cause
    assert cause in STORAGE_CAUSES
