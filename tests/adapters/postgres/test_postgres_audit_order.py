"""Pages of audit events give each key's events in the order of its generations, and lose none, while others write."""

import asyncio
from uuid import uuid4

import pytest
from tests.adapters.postgres.samples import ACCESS, REFRESH, SCHEMA, prepare, write

from vault_domain.entities.audit import AuditAction
from vault_domain.entities.page import decode_cursor
from vault_domain.services.tokens.account_changes import AccountChanges

WRITERS, WRITES = 8, 25


async def follow(store, tenant_id, is_done, limit=7):
    """Page through the events while others write; return all of them in the order of the pages."""
    seen, after, last = [], None, False
    while True:
        page = await store.audit.page(tenant_id, limit=limit, after=after)
        seen += page
        if page:
            after = decode_cursor(page[-1].cursor, int, int)
        elif last:
            return seen
        last = is_done()


@pytest.mark.parametrize("tenant_id", ["acme", None])
@pytest.mark.parametrize("others", [[], [write(REFRESH)]], ids=["one", "many"])
async def test_events_of_one_key_are_listed_by_generation_while_it_is_written(store, tenant_id, others):
    await prepare(store)
    before = len(await store.audit.page(tenant_id, limit=100, after=None))

    async def writer():
        for _ in range(WRITES):
            await store.accounts.store([write(), *others], actor=None)

    writers = asyncio.gather(*(writer() for _ in range(WRITERS)))
    seen = (await follow(store, tenant_id, writers.done))[before:]
    await writers
    for key in (ACCESS, *(other.key for other in others)):
        generations = [event.generation for event in seen if event.kind is key.kind]
        assert generations == list(range(1, WRITERS * WRITES + 1))


async def test_events_of_a_key_that_is_deleted_and_stored_again_are_listed_in_order(store):
    await prepare(store)

    async def writer():
        for _ in range(WRITES):
            await store.accounts.store([write()], actor=None)

    async def deleter():
        for _ in range(WRITES):
            await AccountChanges(store.accounts, uuid4).delete_token(ACCESS, actor=None)

    turns = [work() for work in (writer, writer, writer, deleter, deleter, deleter)]
    writers = asyncio.gather(*turns)
    seen = await follow(store, "acme", writers.done)
    await writers
    generation = 0
    for event in seen:
        if event.action is AuditAction.TOKEN_DELETED:
            assert event.generation == generation > 0
            generation = 0
        else:
            assert event.generation == generation + 1
            generation += 1
    assert len([event for event in seen if event.action is AuditAction.TOKEN_STORED]) >= 1


async def test_a_writer_that_waited_comes_after_the_one_that_it_waited_for(store, raw, execute):
    """One transaction gets its id first, and writes the row last."""
    await prepare(store)
    await store.accounts.store([write()], actor=None)
    await raw.execute("BEGIN")
    await raw.execute("SELECT pg_current_xact_id()")
    await store.accounts.store([write()], actor=None)
    await raw.execute(f"SELECT FROM {SCHEMA}.token FOR UPDATE")
    await raw.execute(
        f"INSERT INTO {SCHEMA}.audit_event (tenant_id, action, occurred_at, provider, identifier, kind, generation) "
        "VALUES ('acme', 'token_stored', now(), 'google', '', 'access_token', 3)"
    )
    await raw.execute("COMMIT")
    events = await store.audit.page("acme", limit=9, after=None)
    assert [event.generation for event in events] == [1, 2, 3]
