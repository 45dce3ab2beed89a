"""Calls that store one value and wait at the same moment share a statement; each call succeeds or fails by itself."""

import asyncio
import time
from contextlib import asynccontextmanager
from datetime import timedelta

import psycopg
import pytest
from tests.adapters.postgres.samples import ACCESS, REFRESH, SCHEMA, prepare, write
from tests.support.postgres import start_postgres

from vault_adapters.stores.postgres.notifying import lock_of
from vault_adapters.stores.postgres.store import open_postgres_store
from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.errors import StorageError
from vault_domain.ports.change import DataKeyInactiveError

TRANSACTIONS = f"SELECT count(DISTINCT xmin::text) FROM {SCHEMA}.audit_event"
IDENTIFIERS = f"SELECT identifier FROM {SCHEMA}.token ORDER BY 1"
SLOW = "pg_catalog.pg_sleep(3)"


@asynccontextmanager
async def connected(url):
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        yield connection


def key_of(number):
    return Account("acme", "google", f"u{number:03}").key(TokenKind.ACCESS_TOKEN)


def storing(store, keys, *, actor=None, **fields):
    return [store.accounts.store([write(key, **fields)], actor=actor) for key in keys]


async def stored(store, keys, **fields):
    changes = await asyncio.gather(*storing(store, keys, **fields))
    return [change.result[0] for change in changes]


def at_identifier(execute, identifier, statement):
    """Run a statement of PL/pgSQL in each transaction that stores a token with this identifier."""
    execute(
        f"CREATE FUNCTION {SCHEMA}.disturb() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {statement}; RETURN NEW; END$$"
    )
    execute(
        f"CREATE TRIGGER disturbed BEFORE INSERT ON {SCHEMA}.token FOR EACH ROW WHEN (NEW.identifier = '{identifier}') "
        f"EXECUTE FUNCTION {SCHEMA}.disturb()"
    )


async def until_asleep(raw):
    """Wait until a session sleeps; return its process id."""
    while True:
        cursor = await raw.execute("SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
        if found := await cursor.fetchall():
            return found[0][0]
        await asyncio.sleep(0.01)


async def test_many_callers_cost_two_transactions_and_each_gets_its_own(store, execute):
    await prepare(store, "acme", "other")
    keys = [key_of(number) for number in range(60)]
    keys += [Account("other", "google", f"u{number:03}").key(TokenKind.ACCESS_TOKEN) for number in range(3)]
    for generation in (1, 2):
        changes = await asyncio.gather(*storing(store, keys, actor="ann", lifetime=timedelta(hours=1)))
        assert [[info.key for info in change.result] for change in changes] == [[key] for key in keys]
        assert {info.generation for change in changes for info in change.result} == {generation}
        for change in changes:
            [info], [event] = change.result, change.events
            assert (event.account, event.kind) == (info.key.account, info.key.kind)
            assert (event.generation, event.actor) == (generation, "ann")
            assert (event.action, event.occurred_at) == ("token_stored", info.updated_at)
            row = (await store.accounts.get(info.key)).row
            assert row.info == info
        assert execute(TRANSACTIONS) == [(2 * generation,)]


async def test_a_single_store_makes_no_task_of_the_batcher(store):
    await prepare(store)
    made = []

    def factory(loop, coroutine, **options):
        made.append(coroutine.__qualname__)
        return asyncio.Task(coroutine, loop=loop, **options)

    loop = asyncio.get_running_loop()
    await store.accounts.store([write()], actor=None)
    loop.set_task_factory(factory)
    try:
        for _ in range(3):
            await store.accounts.store([write()], actor=None)
    finally:
        loop.set_task_factory(None)
    assert made == ["translated"] * 3


async def test_a_value_whose_data_key_is_not_active_fails_alone(store, execute):
    await prepare(store)
    keys = [key_of(number) for number in range(20)]
    works = storing(store, keys)
    works.insert(7, store.accounts.store([write(key_id=b"?" * 16)], actor=None))
    results = await asyncio.gather(*works, return_exceptions=True)
    assert isinstance(results.pop(7), DataKeyInactiveError)
    assert [change.result[0].key for change in results] == keys
    assert execute(TRANSACTIONS) == [(2,)]
    assert (await store.accounts.get(ACCESS)).row is None


LOCKS = {
    "token": f"SELECT FROM {SCHEMA}.token WHERE identifier = 'u007' FOR UPDATE",
    "account": f"SELECT FROM {SCHEMA}.account WHERE identifier = 'u007' FOR UPDATE",
    "data key": f"SELECT FROM {SCHEMA}.data_key WHERE tenant_id = 'other' FOR UPDATE",
}


@pytest.mark.parametrize("what", LOCKS)
async def test_a_locked_row_delays_the_others_only_briefly(store, raw, what):
    await prepare(store, "acme", "other")
    keys = [key_of(number) for number in range(20)]
    locked = keys[7]
    if what == "data key":
        locked = keys[7] = Account("other", "google", "u007").key(TokenKind.ACCESS_TOKEN)
    await stored(store, keys, due_in=timedelta(hours=2))
    async with raw.transaction():
        await raw.execute(LOCKS[what])
        began = time.monotonic()
        tasks = {key: asyncio.ensure_future(work) for key, work in zip(keys, storing(store, keys), strict=True)}
        waiting = tasks.pop(locked)
        async with asyncio.timeout(10):
            others = await asyncio.gather(*tasks.values())
            assert time.monotonic() - began < 2
            assert {change.result[0].generation for change in others} == {2}
            # Only the call that needs the locked row waits. Calls that store the other keys again do not.
            again = await stored(store, list(tasks))
            assert time.monotonic() - began < 3
        assert {info.generation for info in again} == {3}
        assert not waiting.done()
    assert (await waiting).result[0].generation == 2


async def test_the_stores_of_one_key_keep_their_order(store, execute):
    await prepare(store)
    for first in (key_of(1), ACCESS):
        works = storing(store, [first, key_of(2)]) + [
            store.accounts.store([write(blob=b"%d" % turn)], actor=None) for turn in range(4)
        ]
        changes = await asyncio.gather(*works)
        generations = [change.result[0].generation for change in changes[2:]]
        assert generations == list(range(generations[0], generations[0] + 4))
        assert execute(f"SELECT blob FROM {SCHEMA}.token WHERE identifier = 'ann@example.com'") == [(b"3",)]


async def test_each_event_names_its_own_actor(store):
    await prepare(store)
    actors = {key_of(number).identifier: f"actor-{number % 3}" for number in range(30)}
    works = [
        store.accounts.store([write(key_of(number))], actor=actors[key_of(number).identifier]) for number in range(30)
    ]
    changes = await asyncio.gather(*works)
    events = [event for change in changes for event in change.events] + await store.audit.page(
        "acme", limit=99, after=None
    )
    assert len(events) == 60
    assert all(event.actor == actors[event.account.identifier] for event in events)


async def test_refreshes_are_stored_as_refreshes(store):
    await prepare(store)
    works = [store.accounts.store([write(key_of(n), refreshed=n % 2 == 1)], actor=None) for n in range(8)]
    for number, change in enumerate(await asyncio.gather(*works)):
        [info], [event] = change.result, change.events
        assert (info.last_refreshed_at is not None) == (number % 2 == 1)
        assert event.action == ("token_refreshed" if number % 2 else "token_stored")


async def test_each_value_sets_its_accounts_due_time_as_if_it_came_alone(store, execute):
    """If one statement stores both tokens of an account, only the access token decides the account's due time."""
    await prepare(store)
    hour = timedelta(hours=1)
    await store.accounts.store([write(lifetime=4 * hour, lead=hour)], actor=None)
    await asyncio.gather(
        store.accounts.store([write(key_of(1))], actor=None),
        store.accounts.store([write(lifetime=8 * hour, lead=hour)], actor=None),
        store.accounts.store([write(REFRESH)], actor=None),
        store.accounts.store([write(key_of(2), lifetime=8 * hour, lead=hour)], actor=None),
    )
    due = f"SELECT identifier, round(extract(epoch FROM due_at - now()) / 600) FROM {SCHEMA}.account ORDER BY 1"
    assert execute(due) == [("ann@example.com", 0), ("u002", 42)]


async def test_cancelling_a_caller_cancels_no_store(store):
    await prepare(store)
    keys = [key_of(number) for number in range(9)]
    tasks = [asyncio.ensure_future(work) for work in storing(store, keys)]
    await asyncio.sleep(0)
    for number in (0, 4):  # one goes alone, one waits for the batch
        tasks[number].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [number for number, result in enumerate(results) if isinstance(result, asyncio.CancelledError)] == [0, 4]
    async with asyncio.timeout(10):
        await store.accounts.close()  # waits for batches
        await store.accounts._database._flights.wait()
    assert len((await store.accounts.get_many(keys))[0]) == len(keys)


async def test_closing_waits_for_stores_that_wait(url, execute):
    async with open_postgres_store(url, migrate=True, schema=SCHEMA, pool_size=2) as store:
        await prepare(store)
        keys = [key_of(number) for number in range(6)]
        tasks = [asyncio.ensure_future(work) for work in storing(store, keys + keys + keys)]
        await asyncio.sleep(0)
    assert all(task.done() for task in tasks)
    assert [task.result().result[0].generation for task in tasks[12:]] == [3] * 6
    assert execute(f"SELECT count(*) FROM {SCHEMA}.audit_event") == [(18,)]


async def test_a_value_that_the_server_refuses_fails_alone(store, execute):
    await prepare(store)
    at_identifier(execute, "u005", "RAISE 'refused'")
    keys = [key_of(number) for number in range(9)]
    results = await asyncio.gather(*storing(store, keys), return_exceptions=True)
    error = results.pop(5)
    assert (type(error), error.reason, error.retryable) == (StorageError, "P0001", False)
    assert {change.result[0].generation for change in results} == {1}
    assert len(execute(IDENTIFIERS)) == 8


async def test_after_a_lost_connection_nothing_is_repeated(store, raw, execute):
    await prepare(store)
    at_identifier(execute, "u005", f"PERFORM {SLOW}")
    keys = [key_of(number) for number in range(9)]
    tasks = [asyncio.ensure_future(work) for work in storing(store, keys)]
    async with asyncio.timeout(20):
        await raw.execute("SELECT pg_terminate_backend(%s)", [await until_asleep(raw)])
        first, *errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert first.result[0].key == keys[0]
    assert all(isinstance(error, StorageError) and error.retryable for error in errors)
    assert all(error.__cause__ is error.__context__ is None for error in errors)
    assert len(set(map(id, errors))) == 8
    await store.accounts.store([write()], actor=None)  # the batcher goes on
    assert execute(IDENTIFIERS) == [("ann@example.com",), ("u000",)]
    assert execute(TRANSACTIONS) == [(2,)]


async def test_a_batch_that_takes_too_long_costs_its_callers_the_time_once(url, execute):
    timeout = timedelta(seconds=1)
    async with open_postgres_store(url, migrate=True, schema=SCHEMA, timeout=timeout) as store:
        await prepare(store)
        at_identifier(execute, "u005", f"PERFORM {SLOW}")
        tasks = [asyncio.ensure_future(work) for work in storing(store, [key_of(number) for number in range(9)])]
        await tasks[0]
        began = time.monotonic()
        errors = await asyncio.gather(*tasks[1:], return_exceptions=True)
        assert time.monotonic() - began < 1.8
        assert {(error.reason, error.retryable) for error in errors} == {("timeout", True)}
        assert execute(IDENTIFIERS) == [("u000",)]


async def test_the_commit_of_a_batch_waits_for_its_turn_to_notify_as_long_as_any_other():
    """Transactions with a `NOTIFY` commit one after the other, and a commit may wait for a synchronous standby."""
    with start_postgres(private=True) as server:
        url = server.create_database("notifying")
        first, second = lock_of(SCHEMA)
        async with (
            open_postgres_store(f"{url}&options=-csynchronous_commit%3Dlocal", migrate=True, schema=SCHEMA) as store,
            connected(url) as listener,
            connected(f"{url}&options=-csynchronous_commit%3Don") as notifier,
        ):
            await prepare(store)
            await listener.execute(f"SELECT pg_advisory_lock_shared({first}, {second})")
            await listener.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
            await listener.execute("SELECT pg_reload_conf()")
            await asyncio.sleep(0.3)
            blocking = asyncio.ensure_future(notifier.execute("CREATE TABLE written (); NOTIFY something"))
            await asyncio.sleep(0.3)
            tasks = [asyncio.ensure_future(work) for work in storing(store, [key_of(number) for number in range(9)])]
            await asyncio.sleep(1)
            assert not any(task.done() for task in tasks)
            await listener.execute("SELECT pg_cancel_backend(%s)", [notifier.info.backend_pid])
            await blocking
            await asyncio.gather(*tasks)
            assert await (await listener.execute(TRANSACTIONS)).fetchall() == [(2,)]


async def test_the_brief_wait_for_locks_ends_with_the_statement(store, execute):
    await prepare(store)
    settings = "SELECT pg_catalog.current_setting('lock_timeout')"
    before = await store.accounts._database.fetch(settings)
    await stored(store, [key_of(number) for number in range(9)])
    pool_size = store.accounts._database.most_connections
    after = await asyncio.gather(*(store.accounts._database.fetch(settings) for _ in range(pool_size)))
    assert after == [before] * pool_size
