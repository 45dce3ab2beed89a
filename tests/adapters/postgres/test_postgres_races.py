"""Several processes write to the same rows at the same moment."""

import asyncio
from collections import Counter
from datetime import timedelta
from uuid import uuid4

import pytest
from tests.adapters.postgres.samples import ACCESS, ACCOUNT, MASTER_KEY, REFRESH, SCHEMA, data_key, prepare, write
from tests.services.fakes import EventList
from tests.support.processes import Call, run_processes

from vault_adapters.stores.postgres.store import open_postgres_store
from vault_adapters.testing.contract import master_keys
from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.attempt import Attempt, Commit, CommitOutcome
from vault_domain.entities.clients import MASS_REJECTION, ClientScope
from vault_domain.entities.errors import GenerationConflictError
from vault_domain.entities.key_records import MasterKeyRecord
from vault_domain.entities.page import decode_cursor
from vault_domain.entities.token import MarkOutcome, TokenRef, TokenStatus
from vault_domain.ports.change import DataKeyInactiveError
from vault_domain.rules.clients import ClientRules
from vault_domain.services.refresh.attempt_ledger import AttemptLedger
from vault_domain.services.refresh.client_ledger import ClientLedger, Verdict
from vault_domain.services.tokens.account_changes import AccountChanges
from vault_domain.services.tokens.revival import RevivalService

pytestmark = pytest.mark.processes


def opened(url):
    return open_postgres_store(url, migrate=True, schema=SCHEMA, pool_size=4)


async def make_data_keys(url):
    """Make the first data key of each of 25 tenants, in the same order in every process.

    The first process at a tenant blocks the other processes until it commits, so all of them reach the next tenant
    together.
    """
    async with opened(url) as store:
        records = [data_key(f"tenant-{number}", key_id=uuid4().bytes) for number in range(25)]
        return [(await store.keys.create_data_key(record)).key_id.hex() for record in records]


async def introduce_first(url, number):
    async with opened(url) as store:
        records = await master_keys.introduce_first(store.keys, MasterKeyRecord(bytes([number]) * 16, "local"))
        return [record.key_id.hex() for record in records]


async def introduce(url, number):
    async with opened(url) as store:
        known = frozenset({MASTER_KEY.key_id})
        records = await master_keys.introduce(store.keys, MasterKeyRecord(bytes([number]) * 16, "local"), known)
        return sorted(record.key_id.hex() for record in records)


async def store_expecting(url, generation):
    async with opened(url) as store:
        try:
            await AccountChanges(store.accounts, uuid4).store_expecting(write(), generation, actor=None)
        except GenerationConflictError:
            return "conflict"
        return "stored"


async def store_many(url, seed):
    """Store the same 300 keys several times, in each process in another order."""
    async with opened(url) as store:
        keys = [Account("acme", "google", f"u{number}").key(TokenKind.ACCESS_TOKEN) for number in range(300)]
        for turn in range(4):
            shift = (seed * 37 + turn * 11) % 300
            await store.accounts.store(
                [write(key) for key in (keys[shift:] + keys[:shift])[:: -1 if seed % 2 else 1]], actor=None
            )


async def claimed(store, account=ACCOUNT):
    """Store a refresh token and claim its account, which has no access token."""
    [info] = (await store.accounts.store([write(account.key(TokenKind.REFRESH_TOKEN))], actor=None)).result
    attempt = Attempt(account, uuid4(), TokenRef.of(info), None, info.updated_at, timedelta(minutes=1))
    assert await AttemptLedger(store.accounts).claim(attempt, None) is not None
    return attempt


async def test_many_processes_make_one_data_key_per_tenant(url, store):
    await prepare(store, "other")
    answers = run_processes([Call(make_data_keys, [url])] * 8)
    assert answers == [answers[0]] * 8
    assert len(set(answers[0])) == 25


async def test_of_many_first_master_keys_one_wins(url, store):
    answers = run_processes([Call(introduce_first, [url, number]) for number in range(16)])
    assert len({tuple(answer) for answer in answers}) == 1
    assert len(answers[0]) == 1


async def test_of_many_further_master_keys_one_wins(url, store):
    await prepare(store)
    answers = run_processes([Call(introduce, [url, number]) for number in range(16)])
    assert len({tuple(answer) for answer in answers}) == 1
    assert len(answers[0]) == 2


@pytest.mark.parametrize("generation", [0, 1])
async def test_of_many_with_one_expected_generation_one_stores(url, store, generation):
    await prepare(store)
    if generation:
        await store.accounts.store([write()], actor=None)
    outcomes = Counter(run_processes([Call(store_expecting, [url, generation])] * 16))
    assert outcomes == {"stored": 1, "conflict": 15}


async def test_bulk_writers_of_the_same_keys_do_not_deadlock(url, store, execute):
    await prepare(store)
    run_processes([Call(store_many, [url, seed]) for seed in range(8)])
    assert execute(f"SELECT DISTINCT generation FROM {SCHEMA}.token") == [(32,)]
    assert execute(f"SELECT count(*) FROM {SCHEMA}.audit_event") == [(32 * 300,)]


async def test_an_expected_generation_is_not_met_by_a_row_that_is_gone(store):
    await prepare(store)
    await store.accounts.store([write()], actor=None)
    await AccountChanges(store.accounts, uuid4).delete_token(ACCESS, actor=None)
    with pytest.raises(GenerationConflictError):
        await AccountChanges(store.accounts, uuid4).store_expecting(write(), 1, actor=None)
    assert (await store.accounts.get(ACCESS)).row is None


@pytest.mark.parametrize("many", [False, True])
async def test_a_write_waits_for_whoever_ends_its_data_key_and_is_refused(store, raw, many):
    await prepare(store)
    writes = [write(), write(REFRESH)] if many else [write()]
    async with raw.transaction():
        await raw.execute(f"UPDATE {SCHEMA}.data_key SET state = 'decrypt_only'")
        waiting = asyncio.create_task(store.accounts.store(writes, actor=None))
        await asyncio.sleep(0.2)
        assert not waiting.done()
    with pytest.raises(DataKeyInactiveError):
        await waiting
    assert (await store.accounts.get(ACCESS)).row is None
    assert await store.audit.page(None, limit=9, after=None) == []


async def test_whoever_ends_a_data_key_waits_for_the_writes_under_it(store, raw, execute):
    """A foreign key would not suffice, because it blocks the data key's deletion but not a change of its state."""
    await prepare(store)
    async with raw.transaction():
        # Take the locks that a write of a token holds until its commit.
        await raw.execute(f"SELECT FROM {SCHEMA}.token FOR UPDATE")
        await raw.execute(f"SELECT FROM {SCHEMA}.data_key WHERE state = 'active' FOR SHARE")
        ending = asyncio.create_task(asyncio.to_thread(execute, f"UPDATE {SCHEMA}.data_key SET state = 'destroyed'"))
        await asyncio.sleep(0.2)
        assert not ending.done()
    await ending


async def test_the_store_itself_holds_its_data_key(store, raw, execute):
    await prepare(store)
    await raw.execute("BEGIN")
    await raw.execute(
        f"INSERT INTO {SCHEMA}.token (tenant_id, provider, kind, identifier, id, value_id, data_key_id, blob, status, "
        "generation, created_at, updated_at) "
        "SELECT 'acme', 'google', 'access_token', 'ann@example.com', gen_random_uuid(), gen_random_uuid(), "
        "decode(repeat('64', 16), 'hex'), 'x', 'valid', 1, now(), now()"
    )
    storing = asyncio.create_task(store.accounts.store([write()], actor=None))  # waits for the row
    await asyncio.sleep(0.2)
    ending = asyncio.create_task(asyncio.to_thread(execute, f"UPDATE {SCHEMA}.data_key SET state = 'destroyed'"))
    await asyncio.sleep(0.2)
    assert not storing.done()
    assert not ending.done()
    await raw.execute("COMMIT")
    assert (await storing).result[0].generation == 2
    await ending


async def test_a_mark_that_waited_does_not_hit_the_newer_value(store, raw):
    await prepare(store)
    [info] = (await store.accounts.store([write()], actor=None)).result
    async with raw.transaction():
        await raw.execute(f"UPDATE {SCHEMA}.token SET generation = generation + 1, value_id = gen_random_uuid()")
        marking = asyncio.create_task(
            AccountChanges(store.accounts, uuid4).mark_invalid(TokenRef.of(info), "dead", actor=None)
        )
        await asyncio.sleep(0.2)
        assert not marking.done()
    assert (await marking).result is MarkOutcome.STALE
    assert (await store.accounts.get(ACCESS)).row.info.status == "valid"


async def test_the_last_two_tokens_deleted_at_once_take_the_account_along(store, execute):
    await prepare(store)
    for _ in range(30):
        await AccountChanges(store.accounts, uuid4).store_set(
            ACCOUNT, [write(), write(REFRESH)], label="Ann", actor=None
        )
        await asyncio.gather(
            AccountChanges(store.accounts, uuid4).delete_token(ACCESS, actor=None),
            AccountChanges(store.accounts, uuid4).delete_token(REFRESH, actor=None),
        )
        assert execute(f"SELECT count(*) FROM {SCHEMA}.account") == [(0,)]


async def test_deletions_and_stores_at_once_end_in_a_whole_state(store, execute):
    await prepare(store)

    async def turn(number):
        if number % 3 == 0:
            await AccountChanges(store.accounts, uuid4).delete_account(ACCOUNT, actor=None)
        elif number % 3 == 1:
            await AccountChanges(store.accounts, uuid4).store_set(
                ACCOUNT, [write(), write(REFRESH)], label="Ann", actor=None
            )
        else:
            await AccountChanges(store.accounts, uuid4).delete_token(ACCESS, actor=None)

    await asyncio.gather(*map(turn, range(90)))
    await AccountChanges(store.accounts, uuid4).delete_account(ACCOUNT, actor=None)
    assert execute(f"SELECT count(*) FROM {SCHEMA}.token") == [(0,)]
    assert execute(f"SELECT count(*) FROM {SCHEMA}.account") == [(0,)]


async def test_a_commit_does_not_overwrite_an_access_token_that_is_being_stored(store, raw):
    """The commit cannot see the other transaction's row when it reads the tokens; its own insert waits for that row."""
    await prepare(store)
    attempt = await claimed(store)
    async with raw.transaction():
        await raw.execute(
            f"INSERT INTO {SCHEMA}.token (tenant_id, provider, kind, identifier, id, value_id, data_key_id, blob, "
            "status, generation, created_at, updated_at) "
            "SELECT tenant_id, provider, 'access_token', identifier, gen_random_uuid(), gen_random_uuid(), "
            f"data_key_id, 'theirs', 'valid', 1, now(), now() FROM {SCHEMA}.token"
        )
        writes = [write(ACCESS, b"ours"), write(REFRESH, b"new")]
        committing = asyncio.create_task(AttemptLedger(store.accounts).commit(attempt, writes, actor=None))
        await asyncio.sleep(0.2)
        assert not committing.done()
    assert (await committing).result == Commit(CommitOutcome.ACCESS_MOVED)
    sealed = (await store.accounts.read(ACCOUNT)).sealed
    assert {kind: value.blob for kind, value in sealed.items()} == {
        TokenKind.ACCESS_TOKEN: b"theirs",
        TokenKind.REFRESH_TOKEN: b"new",
    }


async def test_a_commit_waits_for_whoever_replaces_the_credential_and_is_dropped(store, raw):
    await prepare(store)
    attempt = await claimed(store)
    async with raw.transaction():
        await raw.execute(
            f"UPDATE {SCHEMA}.token SET generation = generation + 1, value_id = gen_random_uuid(), blob = 'theirs'"
        )
        committing = asyncio.create_task(
            AttemptLedger(store.accounts).commit(attempt, [write(REFRESH, b"new")], actor=None)
        )
        await asyncio.sleep(0.2)
        assert not committing.done()
    assert (await committing).result == Commit(CommitOutcome.CREDENTIAL_MOVED)
    assert (await store.accounts.read(ACCOUNT)).sealed[TokenKind.REFRESH_TOKEN].blob == b"theirs"


async def test_a_sweep_passes_over_an_account_that_another_sweep_is_taking(store, raw):
    await prepare(store)
    other = Account("acme", "google", "bob")
    for account in (ACCOUNT, other):
        keys = account.key(TokenKind.ACCESS_TOKEN), account.key(TokenKind.REFRESH_TOKEN)
        await AccountChanges(store.accounts, uuid4).store_set(
            account, [write(key) for key in keys], label="it has a row", actor=None
        )
    await raw.execute(f"UPDATE {SCHEMA}.account SET due_at = now() - interval '1 s'")
    async with raw.transaction():
        await raw.execute(f"SELECT FROM {SCHEMA}.account WHERE identifier = 'bob' FOR UPDATE")
        async with asyncio.timeout(10):
            taken, _ = await store.accounts.reserve_due(
                "google", hold=timedelta(minutes=1), limit=10, since=None, until=None
            )
        assert [each.account for each in taken] == [ACCOUNT]


async def test_a_page_of_events_ends_before_the_oldest_running_transaction(store, raw):
    await prepare(store)
    await raw.execute("BEGIN")
    await raw.execute(f"INSERT INTO {SCHEMA}.audit_event (action, occurred_at) VALUES ('token_deleted', now())")
    await store.accounts.store([write()], actor=None)
    assert await store.audit.page(None, limit=9, after=None) == []
    assert await store.audit.page("acme", limit=9, after=None) == []
    await raw.execute("COMMIT")
    late, stored = await store.audit.page(None, limit=9, after=None)
    assert (late.action, stored.action) == ("token_deleted", "token_stored")


@pytest.mark.parametrize("tenant_id", [None, "acme"])
async def test_events_are_in_the_order_of_their_transactions_numbers_not_texts(store, execute, tenant_id):
    for xid in (10, 9, 101, 100, 8):
        execute(
            f"INSERT INTO {SCHEMA}.audit_event (tenant_id, xid, action, occurred_at, generation)"
            " VALUES ('acme', %s::text::xid8, 'token_stored', now(), %s)",
            [str(xid), xid],
        )
    events, after = [], None
    while page := await store.audit.page(tenant_id, limit=2, after=after):
        events += page
        after = decode_cursor(page[-1].cursor, int, int)
    assert [event.generation for event in events] == [8, 9, 10, 100, 101]


async def test_uses_of_tokens_that_are_being_deleted_are_dropped(store, raw):
    await prepare(store)
    keys = [Account("acme", "google", f"u{number}").key(TokenKind.ACCESS_TOKEN) for number in range(20)]
    infos = (await store.accounts.store([write(key) for key in keys], actor=None)).result
    used_at = (await store.accounts.get(keys[0])).now
    async with raw.transaction():
        await raw.execute(f"DELETE FROM {SCHEMA}.token WHERE identifier = 'u7'")
        recording = asyncio.create_task(store.accounts.record_uses({TokenRef.of(info): used_at for info in infos}))
        await asyncio.sleep(0.2)
        assert not recording.done()
    await recording
    rows = (await store.accounts.get_many(keys))[0]
    assert [row.info.last_used_at for row in rows] == [used_at] * 19


async def test_an_erasure_and_deletions_do_not_wait_for_each_other(store):
    await prepare(store, "other")
    for turn in range(40):
        key_id = turn.to_bytes(16, "big")
        await store.keys.create_data_key(data_key(key_id=key_id))
        writes = [write(key_id=key_id), write(REFRESH, key_id=key_id)]
        await AccountChanges(store.accounts, uuid4).store_set(ACCOUNT, writes, label="Ann", actor=None)
        await asyncio.gather(
            AccountChanges(store.accounts, uuid4).delete_token(REFRESH, actor=None),
            store.accounts.erase("acme", actor=None),
            AccountChanges(store.accounts, uuid4).delete_account(ACCOUNT, actor=None),
        )


async def test_rejections_at_the_same_moment_see_each_other(url):
    scope, sink = ClientScope("google", None, MASS_REJECTION), EventList()
    async with opened(url) as store:
        await prepare(store)
        accounts = [Account("acme", "google", f"user-{number}") for number in range(8)]
        attempts = [await claimed(store, account) for account in accounts]
        ledger = ClientLedger(
            *(
                store.clients,
                AttemptLedger(store.accounts),
                RevivalService(store.accounts, store.pages, AccountChanges(store.accounts, uuid4), sink),
                store.pages,
                sink,
                ClientRules(),
            )
        )
        judged = [ledger.condemn(each, "invalid_grant", scope, is_believed=False, actor=None) for each in attempts]
        verdicts = [verdict for verdict, _ in await asyncio.gather(*judged)]
        assert verdicts.count(Verdict.SPARED) >= 4
        for account in accounts:
            record = (await store.accounts.read(account)).record
            assert record.tokens[TokenKind.REFRESH_TOKEN].status is TokenStatus.VALID
