"""Writes that must survive a crash of the server are durable, even if the server's other commits are not."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest
from tests.adapters.postgres.samples import ACCESS, ACCOUNT, REFRESH, prepare, write
from tests.support.postgres import start_postgres

from vault_adapters.stores.postgres.store import open_postgres_store
from vault_adapters.stores.postgres.tenants import tenants_trigger_sql
from vault_domain.entities.attempt import Attempt
from vault_domain.entities.clients import ClientDecision, ClientRecord, ClientScope
from vault_domain.entities.suspicion import ConfirmationWindow
from vault_domain.entities.token import MarkOutcome, TokenRef
from vault_domain.services.refresh.attempt_ledger import AttemptLedger
from vault_domain.services.tokens.account_changes import AccountChanges

pytestmark = pytest.mark.processes


async def attempt_of(store):
    tokens = (await store.accounts.read(ACCOUNT)).record.tokens
    credential, access = TokenRef.of(tokens[REFRESH.kind]), TokenRef.of(tokens[ACCESS.kind])
    return Attempt(ACCOUNT, uuid4(), credential, access, datetime.now(UTC), timedelta(seconds=20))


async def claim(store, attempt):
    assert await AttemptLedger(store.accounts).claim(attempt, None) is not None


async def renew(store, attempt):
    # Insert the lease without a claim, which would be durable too.
    columns = "tenant_id, provider, identifier, attempt_id, lease_until"
    lease = f"INSERT INTO token_vault.account ({columns}) VALUES (%(t)b, %(p)b, %(i)b, %(a)b::uuid, now()) RETURNING 1"
    values = {"t": ACCOUNT.tenant_id, "p": ACCOUNT.provider, "i": ACCOUNT.identifier, "a": attempt.attempt_id}
    await store.accounts._database.write(lease, values)
    assert await AttemptLedger(store.accounts).renew(attempt, timedelta(seconds=20))


async def commit(store, attempt):
    await AttemptLedger(store.accounts).commit(attempt, [write(), write(REFRESH)], actor=None)


async def reject(store, attempt):
    assert (await AttemptLedger(store.accounts).reject(attempt, "invalid_grant", actor=None)).result


async def mark_invalid(store, attempt):
    record = (await store.accounts.read(ACCOUNT)).record
    await AccountChanges(store.accounts, uuid4).mark_invalid(TokenRef.of(record.tokens[REFRESH.kind]), "x", actor=None)


async def erase(store, attempt):
    await store.accounts.erase("acme", actor=None)


async def pause(store, attempt):
    scope = ClientScope("google", None, "mass_rejection")
    await store.clients.change(scope, lambda _, now: ClientDecision(ClientRecord(scope, now, now, (b"1234",)), None))


async def report(store, attempt):
    # Suspect the token without a report, which would be durable too.
    await store.accounts._database.write("UPDATE token_vault.token SET suspect_since = now() RETURNING 1", {})
    ref, window = attempt.credential, ConfirmationWindow(timedelta(0), timedelta(minutes=1))
    change = await AccountChanges(store.accounts, uuid4).report_rejected(
        ref, "invalid_token", window=window, actor=None
    )
    assert change.result is MarkOutcome.APPLIED


async def erase_by_trigger(store, attempt):
    await store.accounts._database.transact(lambda transaction: transaction.run_script("DELETE FROM public.tenants"))


WORKS = (claim, renew, commit, reject, pause, mark_invalid, report, erase, erase_by_trigger)
DURABLE = {work.__name__: work for work in WORKS}
WAYS = {"plain": "", "in a transaction": "&options=-cdefault_transaction_isolation%3Dserializable"}


@pytest.fixture(scope="module")
def lazy():
    """Give a server that writes lazy commits to its disk only after ten seconds."""
    settings = {"synchronous_commit": "off", "wal_writer_delay": "10s", "wal_writer_flush_after": "1GB"}
    with start_postgres(settings=settings) as server:
        yield server


@pytest.fixture(scope="module")
def lonely():
    """Give a server whose durable commits wait for a standby that does not exist."""
    with start_postgres(settings={"synchronous_commit": "local", "synchronous_standby_names": "nobody"}) as server:
        yield server


@pytest.fixture
def url(request):
    server = request.getfixturevalue("lazy" if "lazy" in request.node.fixturenames else "lonely")
    return server.create_database(f"durable_{abs(hash(request.node.name))}")


async def prepared(store, url):
    await prepare(store)
    with psycopg.connect(url, autocommit=True) as host:
        host.execute("CREATE TABLE public.tenants (id text PRIMARY KEY)")
        host.execute("INSERT INTO public.tenants VALUES ('acme')")
        host.execute(tenants_trigger_sql("token_vault", "public.tenants", "id"))
    await AccountChanges(store.accounts, uuid4).store_set(ACCOUNT, [write(), write(REFRESH)], label=None, actor=None)
    return await attempt_of(store)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("name", DURABLE)
async def test_is_on_the_disk_when_it_returns(lazy, url, name, way):
    async with open_postgres_store(f"{url}{way}", migrate=True) as store:
        attempt = await prepared(store, url)
        with psycopg.connect(url, autocommit=True) as beside:
            [(before,)] = beside.execute("SELECT pg_current_wal_insert_lsn()").fetchall()
            await DURABLE[name](store, attempt)
            [(flushed,)] = beside.execute("SELECT pg_current_wal_flush_lsn() > %s::pg_lsn", [before]).fetchall()
            [(setting,)] = await store.accounts._database.fetch("SELECT current_setting('synchronous_commit')")
    assert flushed
    assert setting == "off"  # the work turned it on for its own transaction only


async def test_a_lazy_commit_is_not(lazy, url):
    """Shows that the test above can fail."""
    async with open_postgres_store(url, migrate=True) as store:
        await prepared(store, url)
        with psycopg.connect(url, autocommit=True) as beside:
            [(before,)] = beside.execute("SELECT pg_current_wal_insert_lsn()").fetchall()
            await store.accounts.store([write()], actor=None)
            [(flushed,)] = beside.execute("SELECT pg_current_wal_flush_lsn() > %s::pg_lsn", [before]).fetchall()
    assert not flushed


async def seen(beside, query, working):
    """Wait until a query has rows, while the work goes on."""
    async with asyncio.timeout(20):
        while not beside.execute(query).fetchall():
            assert not working.done()
            await asyncio.sleep(0.01)


CANCEL_WAIT = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


@pytest.mark.parametrize("name", DURABLE)
async def test_waits_for_the_standby_that_the_server_names(lonely, url, name):
    async with open_postgres_store(url, migrate=True) as store:
        attempt = await prepared(store, url)
        working = asyncio.create_task(DURABLE[name](store, attempt))
        with psycopg.connect(url, autocommit=True) as beside:
            await seen(beside, CANCEL_WAIT, working)
            while not working.done():  # a cancelled wait ends with a commit, and the work may have another one
                beside.execute(CANCEL_WAIT)
                await asyncio.sleep(0.01)
        await working


async def test_a_claim_that_waits_for_the_standby_is_released_also_if_it_inserts_the_account(lonely, url):
    async with open_postgres_store(url, migrate=True) as store:
        attempt = await prepared(store, url)
        with psycopg.connect(url, autocommit=True) as beside:
            beside.execute("DELETE FROM token_vault.account")
            claiming = asyncio.create_task(claim(store, attempt))
            await seen(beside, "SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep'", claiming)
            releasing = asyncio.create_task(AttemptLedger(store.accounts).withdraw(attempt, None))
            await seen(beside, "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'", releasing)
            await seen(beside, CANCEL_WAIT, claiming)
            await asyncio.gather(claiming, releasing)
            rows = beside.execute("SELECT attempt_id, lease_until FROM token_vault.account").fetchall()
        assert rows == [(attempt.attempt_id, None)]


async def test_a_release_leaves_no_account_behind(lonely, url):
    async with open_postgres_store(url, migrate=True) as store:
        attempt = await prepared(store, url)
        with psycopg.connect(url, autocommit=True) as beside:
            beside.execute("DELETE FROM token_vault.account")
            await AttemptLedger(store.accounts).release(attempt)
            assert beside.execute("SELECT * FROM token_vault.account").fetchall() == []
