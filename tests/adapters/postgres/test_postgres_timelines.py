"""The timeline of the server, and the behaviour for a role that may not ask for it."""

import asyncio
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import psycopg
import pytest
from tests.adapters.postgres.samples import ACCOUNT, SCHEMA, prepare, write

from vault_adapters import TokenKey, TokenKind, VaultConfig, open_vault
from vault_adapters.stores.postgres.store import open_postgres_store
from vault_domain.ports.audit_log import Sought

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
KEYS = [TokenKey("t1", "acme", TokenKind.API_KEY, f"a{number}") for number in range(5)]
TURN = "UPDATE token_vault.timeline SET timeline = 'older' WHERE timeline <> 'older'"
"""Makes the present timeline new to the vault, as after a promotion."""
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


async def look(store):
    return await store.accounts.read(ACCOUNT)


def opened(url):
    return open_postgres_store(url, migrate=True, schema=SCHEMA)


async def test_the_first_timeline_is_no_failover(store):
    snapshot = await look(store)
    assert (snapshot.timeline, snapshot.turned_at) == ("00000001", EPOCH)


async def test_processes_agree_when_a_timeline_was_first_met(store, url, execute):
    execute(TURN)
    first = await look(store)
    assert first.turned_at == first.now
    async with opened(url) as later:
        turned_at = (await look(later)).turned_at
    assert timedelta(0) <= turned_at - first.now < timedelta(minutes=1)
    assert (await look(store)).turned_at == turned_at


async def test_a_process_that_starts_notes_a_new_timeline(store, url, execute):
    execute(TURN)
    async with opened(url):
        [(met_at,)] = execute("SELECT met_at FROM token_vault.timeline WHERE timeline <> 'older'")
    assert met_at > EPOCH
    assert (await look(store)).turned_at == met_at


async def test_a_timeline_that_cannot_be_noted_counts_as_met_now(store, execute):
    execute(TURN)
    execute("ALTER TABLE token_vault.timeline ADD CHECK (timeline = 'older') NOT VALID")
    snapshot = await look(store)
    assert snapshot.turned_at == snapshot.now


@pytest.fixture
def plain_url(url, execute):
    """Give the URL for a role that owns its schema and has no other right."""
    name = f"plain_{urlsplit(url).path.strip('/')}"
    execute(f"CREATE ROLE {name} LOGIN; CREATE SCHEMA token_vault AUTHORIZATION {name}")
    parts = urlsplit(url)
    yield parts._replace(netloc=f"{name}@").geturl()
    execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


async def test_a_plain_role_may_ask(plain_url):
    async with opened(plain_url) as store:
        assert (await look(store)).timeline == "00000001"


def vault_at(url):
    return open_vault(VaultConfig(url, encryption_secret="a secret for tests of timelines 123456", scrypt_log2_n=14))


async def test_a_role_that_may_not_ask_works_as_before(plain_url, execute):
    execute("REVOKE EXECUTE ON FUNCTION pg_walfile_name(pg_lsn) FROM PUBLIC")
    async with opened(plain_url) as store:
        snapshot = await look(store)
        assert (snapshot.timeline, snapshot.turned_at) == (None, None)
    async with vault_at(plain_url) as vault:
        await vault.store_token(KEYS[0], "value")
        page = await vault.audit_events(tenant_id="t1")
        assert [event.account.identifier for event in page.items if event.account] == ["a0"]
        again = await vault.audit_events(tenant_id="t1", after=page.items[-1].cursor)
        assert again.items == ()


async def placed_higher(vault, cursor, more):
    """Return the cursor of a server that had given out ``more`` further transaction numbers before it was lost."""
    seal = await vault._services.listing._seal.get()
    place, seq = seal.open(cursor, "t1")
    return seal.seal((place + more, seq + more), "t1")


async def test_a_reader_misses_no_event_after_a_failover_and_gets_some_again(url, execute):
    async with vault_at(url) as vault:
        await vault.store_token(KEYS[0], "value")
        cursor = (await vault.audit_events(tenant_id="t1")).items[-1].cursor
        lost = await placed_higher(vault, cursor, 8)
        for key in KEYS[1:3]:
            await vault.store_token(key, "value")
        for _ in range(10):
            execute("SELECT pg_current_xact_id()")

        async def after(cursor):
            page = await vault.audit_events(tenant_id="t1", after=cursor)
            return [event.account.identifier for event in page.items if event.account], page

        found, _ = await after(lost)
        assert found == []  # the timeline is the same, so the reader has these events
        execute("UPDATE token_vault.timeline SET timeline = '00000000'")
        sealed = await as_of_timeline(vault, lost, 7)
        found, page = await after(sealed)
        assert found == ["a0", "a1", "a2"]
        found, _ = await after(page.items[-1].cursor)
        assert found == []


@pytest.mark.parametrize(
    "read",
    [
        lambda audit: audit.page("acme", limit=100, after=None),
        lambda audit: audit.latest("acme", Sought(), limit=100),
    ],
    ids=["page", "latest"],
)
async def test_the_timeline_is_read_before_the_events(store, raw, execute, read):
    """If the events were read first and a failover followed, the cursor would name the new timeline.

    The reader would then miss events of this timeline.
    """
    await prepare(store)
    async with raw.transaction():
        await raw.execute("LOCK TABLE token_vault.timeline")
        reading = asyncio.create_task(read(store.audit))
        while execute(WAITING) == [(0,)]:  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.005)
        await store.accounts.store([write()], actor=None)
    assert [event.action.value for event in await reading][-1] == "token_stored"


async def as_of_timeline(vault, cursor, timeline):
    seal = await vault._services.listing._seal.get()
    place, seq = seal.open(cursor, "t1")
    return seal.seal((timeline * 2**48 + place % 2**48, seq), "t1")


async def test_old_events_do_not_come_again(url, execute):
    async with vault_at(url) as vault:
        for key in KEYS[:2]:
            await vault.store_token(key, "value")
        older = "(SELECT seq FROM token_vault.audit_event WHERE identifier = 'a0')"
        execute(
            f"UPDATE token_vault.audit_event SET occurred_at = occurred_at - interval '2 days' WHERE seq <= {older}"
        )
        first = (await vault.audit_events(tenant_id="t1")).items[-1].cursor
        execute("UPDATE token_vault.timeline SET timeline = '00000000'")
        page = await vault.audit_events(tenant_id="t1", after=await as_of_timeline(vault, first, 7))
        assert [event.account.identifier for event in page.items if event.account] == ["a1"]


def test_the_server_tells_the_timeline_in_hexadecimal(url):
    from vault_adapters.stores.postgres.timelines import TIMELINE

    with psycopg.connect(url) as connection:
        [(timeline,)] = connection.execute(f"SELECT {TIMELINE}").fetchall()
    assert int(timeline, 16) == 1
