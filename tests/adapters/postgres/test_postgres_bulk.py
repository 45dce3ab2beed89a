"""Many values at once: the next ones are sealed while the server stores those before."""

import asyncio
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool
from tests.adapters.postgres.samples import SCHEMA, prepare, write

from vault_adapters import TokenKey, VaultConfig, open_vault
from vault_adapters.stores.postgres.limits import Pace, limits_of
from vault_adapters.stores.postgres.line import Line
from vault_adapters.stores.postgres.own_connection import OwnConnection
from vault_adapters.stores.postgres.querying import query_in_steps
from vault_adapters.stores.taking import VALUES_AT_ONCE
from vault_adapters.testing import ScriptedRefresher
from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.audit import AuditAction
from vault_domain.entities.imported import ImportedToken
from vault_domain.entities.secret import Secret
from vault_domain.ports.late_writes import LateWrites

MANY = 2500
SOON = datetime.now(UTC) + timedelta(minutes=30)
PER_STATEMENT = 1000
LIMITS = limits_of(timedelta(seconds=30))[Pace.QUICK]


def keys(count=MANY):
    return [Account("acme", "google", f"u{number:04}").key(TokenKind.ACCESS_TOKEN) for number in range(count)]


def config(url, **options):
    return VaultConfig(database_url=url, encryption_secret="0123456789abcdefghijklmnopqrstuv", **options)


class Sealing:
    """Seals when it is asked, and notes for which keys it was asked."""

    def __init__(self, keys):
        self.keys = keys
        self.taken = []
        self.most = 0

    def take(self, indexes):
        self.taken += indexes
        self.most = max(self.most, len(indexes))
        return [write(self.keys[index]) for index in indexes]

    @property
    def writes(self):
        return LateWrites(self.keys, self.take)


class Lasting(ScriptedRefresher):
    default_lifetime = timedelta(hours=1)


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what it waits for happens in the code under test
            await asyncio.sleep(0.01)


async def test_the_next_values_are_sealed_while_the_server_stores_the_last_ones(store, raw, execute):
    await prepare(store)
    sealing = Sealing(keys())
    await raw.execute("BEGIN")
    await raw.execute(f"LOCK TABLE {SCHEMA}.token IN SHARE ROW EXCLUSIVE MODE")
    storing = asyncio.create_task(store.accounts.store(sealing.writes, actor=None))
    await until(lambda: len(sealing.taken) == 2 * PER_STATEMENT)
    await asyncio.sleep(0.1)
    assert len(sealing.taken) == 2 * PER_STATEMENT  # those of the third statement are not sealed yet
    await raw.execute("ROLLBACK")
    assert [info.key for info in (await storing).result] == sealing.keys
    assert sealing.taken == list(range(MANY))
    assert sealing.most <= VALUES_AT_ONCE
    assert execute(f"SELECT count(*) FROM {SCHEMA}.token") == [(MANY,)]


async def test_values_are_sealed_in_the_order_in_which_tokens_are_locked(store):
    await prepare(store)
    sealing = Sealing(keys()[::-1])
    change = await store.accounts.store(sealing.writes, actor=None)
    assert [info.key for info in change.result] == sealing.keys
    assert sealing.taken == list(range(MANY))[::-1]


async def test_the_next_batch_of_an_import_is_prepared_while_the_server_stores_the_last_one(postgres):
    rows = [ImportedToken(key, Secret("v")) for key in keys(3 * PER_STATEMENT)]
    read = []

    async def reading():
        for row in rows:
            read.append(row)
            yield row

    url = postgres.create_database("bulk_import")
    async with open_vault(config(url)) as vault:
        await vault.store_token(TokenKey("acme", "google", "api_key"), "v")
        with psycopg.connect(url) as blocking:
            blocking.execute(f"LOCK TABLE {SCHEMA}.token IN SHARE ROW EXCLUSIVE MODE")
            importing = asyncio.create_task(vault.import_tokens(reading()))
            await until(lambda: len(read) == 2 * PER_STATEMENT)
            await asyncio.sleep(0.1)
            assert len(read) == 2 * PER_STATEMENT
        report = await importing
    assert report.imported == len(rows)


@pytest.mark.parametrize("way", ["store", "import"])
async def test_one_connection_is_enough_for_many_values_of_new_tenants(postgres, way):
    """A transaction that waited for a data key would wait for a second connection."""
    url = postgres.create_database(f"bulk_with_one_connection_{way}")
    wanted = [TokenKey(f"t{number % 50}", "google", "api_key", str(number)) for number in range(MANY)]
    async with open_vault(config(url, pool_size=1)) as vault:
        async with asyncio.timeout(60):
            if way == "store":
                await vault.store_tokens([(key, "v") for key in wanted])
            else:
                await vault.import_tokens([ImportedToken(key, Secret("v")) for key in wanted])
        assert len(await vault.get_tokens(wanted)) == MANY


async def test_a_write_of_many_values_locks_no_account_before_a_token(postgres):
    """While the first statement waits for nothing and the second for a token, a neighbour needs both of their accounts.

    If the first statement had locked its accounts, the neighbour and the second statement would wait for each other.
    """
    url = postgres.create_database("bulk_lock_order")
    many = keys(2 * PER_STATEMENT)
    blocked, taken = many[PER_STATEMENT + 500], many[PER_STATEMENT + 600]
    neighbour = [(many[10].account.key(TokenKind.REFRESH_TOKEN), "r"), (taken, "w", SOON)]
    async with open_vault(config(url)) as vault:
        await vault.store_tokens([(key, "v", SOON) for key in many])
        with psycopg.connect(url) as blocking:
            locked = blocking.execute(
                f"SELECT FROM {SCHEMA}.token WHERE identifier = %s FOR UPDATE", [blocked.identifier]
            )
            assert locked.rowcount == 1
            storing = asyncio.create_task(vault.store_tokens([(key, "w", SOON) for key in many]))
            await waiting(url, 1)
            beside = asyncio.create_task(vault.store_tokens(neighbour))
            await asyncio.sleep(0.3)
        assert len(await storing) == len(many)
        assert len(await beside) == len(neighbour)


async def test_an_account_whose_values_go_in_two_statements_is_due_as_if_they_went_in_one(postgres):
    """Its access token is the last value of the first statement, and its refresh token the first of the second."""
    url = postgres.create_database("bulk_account_in_two")
    items = [(key, "v", SOON) for key in keys(PER_STATEMENT)]
    account = items[-1][0].account
    items += [(account.key(TokenKind.REFRESH_TOKEN), "r"), (Account("acme", "google", "v").key(TokenKind.API_KEY), "k")]
    async with open_vault(config(url)) as vault:
        await vault.store_tokens(items)
    with psycopg.connect(url) as connection:
        found = connection.execute(f"SELECT identifier, due_at FROM {SCHEMA}.account").fetchall()
    assert len(found) == PER_STATEMENT
    assert len({due_at for _, due_at in found}) == 1


async def waiting(url, count):
    """Wait until so many statements wait for a lock."""
    with psycopg.connect(url, autocommit=True) as watching:

        def are_waiting():
            row = watching.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'").fetchone()
            return row == (count,)

        await until(are_waiting)


SLOW = f"""
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.002); RETURN NEW; END';
CREATE TRIGGER slow BEFORE INSERT ON {SCHEMA}.token FOR EACH ROW EXECUTE FUNCTION slow();
"""


async def test_an_import_that_holds_all_connections_needs_no_further_one(postgres):
    """The next batch asks for the store's time. No connection is free for it until the batch before is stored."""
    url = postgres.create_database("bulk_imports_need_one")
    rows = [ImportedToken(key, Secret("v")) for key in keys(2 * PER_STATEMENT)]
    few = config(url, pool_size=1, storage_timeout=timedelta(seconds=1))
    async with open_vault(few, refreshers={"google": Lasting()}) as vault:
        with psycopg.connect(url) as connection:
            connection.execute(SLOW)
        report = await vault.import_tokens(rows)
    assert report.imported == len(rows)


@pytest.mark.parametrize("overwrite", [False, True])
async def test_an_import_decides_again_about_a_key_that_another_writer_fills_meanwhile(postgres, overwrite):
    """The import has found nothing under the key; it then waits for a writer that stores a token there."""
    url = postgres.create_database(f"bulk_import_again_{overwrite}")
    wanted = keys(10)
    copied = f"""INSERT INTO {SCHEMA}.token (tenant_id, provider, kind, identifier, id, value_id, data_key_id, blob,
            status, generation, created_at, updated_at)
        SELECT tenant_id, provider, kind, %s, gen_random_uuid(), gen_random_uuid(), data_key_id, blob, status, 1,
            created_at, updated_at
        FROM {SCHEMA}.token"""
    async with open_vault(config(url)) as vault:
        await vault.store_token(Account("acme", "google", "first").key(TokenKind.ACCESS_TOKEN), "v")
        with psycopg.connect(url) as writer:
            writer.execute(copied, [wanted[5].identifier])
            rows = [ImportedToken(key, Secret("w"), expires_at=SOON) for key in wanted]
            importing = asyncio.create_task(vault.import_tokens(rows, overwrite=overwrite))
            await waiting(url, 1)
        report = await importing
        assert (report.imported, report.replaced, report.skipped) == (9, int(overwrite), int(not overwrite))
        found = await vault.get_tokens([key for key in wanted if key is not wanted[5] or overwrite])
        assert {token.value.reveal() for token in found.values()} == {"w"}
        page = await vault.audit_events(tenant_id="acme")
        events = [event for event in page.items if event.action is AuditAction.TOKEN_IMPORTED]
        assert sorted(event.code or "" for event in events) == [*[""] * 9, *["replaced"] * overwrite]


@pytest.mark.parametrize("further", [0, 1500])
async def test_a_deletion_beside_a_write_of_many_values_leaves_the_accounts_row(postgres, further):
    """The account has one token, which is deleted while others are stored; a backoff lets it be due later.

    The row is not written, because it is due early enough. If it were not locked either, it would be deleted together
    with the last token that the deletion sees, and no sweep would find the account again.
    """
    url = postgres.create_database(f"bulk_beside_deletion_{further}")
    first, last = Account("acme", "google", "a"), Account("acme", "google", "b")
    far = SOON + timedelta(days=30)
    items = [(first.key(TokenKind.ACCESS_TOKEN), "v", far), (first.key(TokenKind.REFRESH_TOKEN), "r")]
    items += [(last.key(TokenKind.ACCESS_TOKEN), "w", far), *((key, "f", far) for key in keys(further))]
    due = f"""INSERT INTO {SCHEMA}.account AS a (tenant_id, provider, identifier, due_at)
        VALUES ('acme', 'google', %s, now() + %s::interval)
        ON CONFLICT (tenant_id, provider, identifier) DO UPDATE SET due_at = excluded.due_at"""
    async with open_vault(config(url)) as vault:
        await vault.store_tokens([(first.key(TokenKind.API_KEY), "k"), items[2]])
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(due, ["a", "3 hours"])
            connection.execute(due, ["b", "100 days"])
        with psycopg.connect(url) as blocking:
            blocking.execute(f"SELECT FROM {SCHEMA}.account WHERE identifier = 'b' FOR UPDATE")
            storing = asyncio.create_task(vault.store_tokens(items))
            await waiting(url, 1)
            deleting = asyncio.create_task(vault.delete_token(first.key(TokenKind.API_KEY)))
            await asyncio.wait([deleting], timeout=0.5)
        assert len(await storing) == len(items)
        assert await deleting
        with psycopg.connect(url) as connection:
            found = connection.execute(f"SELECT count(*) FROM {SCHEMA}.account WHERE identifier = 'a'").fetchone()
        assert found == (1,)


async def test_an_account_whose_due_time_was_put_off_while_a_write_waited_is_due_in_time(postgres):
    """The write saw the early due time, waited for another account's token, and then replaced the new token."""
    url = postgres.create_database("bulk_put_off")
    first, second = keys(2)
    late, later = SOON + timedelta(hours=2), SOON + timedelta(hours=20)
    async with open_vault(config(url)) as vault:
        await vault.store_tokens([(first, "a", late), (second, "a", late)])
        with psycopg.connect(url) as blocking:
            blocking.execute(f"SELECT FROM {SCHEMA}.token WHERE identifier = %s FOR UPDATE", [first.identifier])
            storing = asyncio.create_task(
                vault.store_tokens([(key, "b", SOON + timedelta(hours=5)) for key in (first, second)])
            )
            await waiting(url, 1)
            await vault.delete_account(second.account)
            await vault.store_token(second, "c", expires_at=later)
        await storing
    with psycopg.connect(url) as connection:
        query = f"""SELECT t.expires_at > a.due_at FROM {SCHEMA}.token t JOIN {SCHEMA}.account a USING (identifier)
            WHERE identifier = %s"""
        assert connection.execute(query, [second.identifier]).fetchall() == [(True,)]


LONG_AGO = f"""
CREATE FUNCTION long_ago() RETURNS trigger LANGUAGE plpgsql
AS 'BEGIN NEW.updated_at := NEW.updated_at - interval ''2 hours''; RETURN NEW; END';
CREATE TRIGGER long_ago BEFORE UPDATE ON {SCHEMA}.token FOR EACH ROW EXECUTE FUNCTION long_ago();
"""


async def test_a_write_that_began_long_ago_locks_an_account_that_a_sweep_may_have_reserved(postgres):
    """The due time is more than an hour after the write began, but less than an hour from now."""
    url = postgres.create_database("bulk_long_ago")
    many = keys(PER_STATEMENT + 1)
    far = SOON + timedelta(days=30)
    async with open_vault(config(url)) as vault:
        await vault.store_tokens([(key, "v", far) for key in many])
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(LONG_AGO)
            connection.execute(f"UPDATE {SCHEMA}.account SET due_at = now() + interval '30 minutes'")
        with psycopg.connect(url) as sweep:
            sweep.execute(f"SELECT FROM {SCHEMA}.account WHERE identifier = %s FOR UPDATE", [many[7].identifier])
            storing = asyncio.create_task(vault.store_tokens([(key, "w", far) for key in many]))
            await waiting(url, 1)
        assert len(await storing) == len(many)


@pytest.mark.parametrize("change", ["generation = generation", "value_id = gen_random_uuid(), blob = '\\x00'"])
async def test_a_row_that_changes_while_it_is_sealed_again_is_left_for_the_next_pass(postgres, change):
    url = postgres.create_database(f"bulk_reseal_beside_{len(change)}")
    first, other = keys(2)
    async with open_vault(config(url)) as vault:
        await vault.store_tokens([(key, "v") for key in (first, other)])
        await vault.keys.rotate_data_key("acme")
        with psycopg.connect(url) as writing:
            writing.execute(f"UPDATE {SCHEMA}.token SET {change} WHERE identifier = %s", [first.identifier])
            resealing = asyncio.create_task(vault.keys.reencrypt())
            await waiting(url, 1)
        report = await resealing
        assert report.overtaken == 1
        assert (await vault.get_token(other)).value.reveal() == "v"
        if change.startswith("generation"):
            assert (report.reencrypted, report.remaining) == (2, 0)
            assert (await vault.get_token(first)).value.reveal() == "v"
        else:  # nobody can read the new value, and it is still there
            assert [key.count for key in report.unreadable] == [1]


async def test_the_next_values_are_encoded_and_the_last_answer_is_decoded_while_the_server_works(url, monkeypatch):
    """Both together take a sixth of the time in which the server stores a thousand values."""
    order = []
    encode, decode, ask = Line.encoded, Line.rows, Line._result

    def noting_encoded(line, sql, parameters):
        if "value_ids" in (parameters or {}):
            order.append("encoded")
        return encode(line, sql, parameters)

    def noting_rows(line, answer):
        if answer.ntuples == PER_STATEMENT:
            order.append("decoded" if line._rest is None else "decoded too early")
        return decode(line, answer)

    async def noting_result(line, send):
        is_large = order[-1:] in (["encoded"], ["answered"]) and order.count("sent") < order.count("encoded")
        if is_large:
            order.append("sent")
        answer = await ask(line, send)
        if is_large:
            order.append("answered")
        return answer

    async with open_vault(config(url)) as vault:
        await vault.store_tokens([(key, "v") for key in keys(3 * PER_STATEMENT)])  # prepares the statement
        monkeypatch.setattr(Line, "encoded", noting_encoded)
        monkeypatch.setattr(Line, "rows", noting_rows)
        monkeypatch.setattr(Line, "_result", noting_result)
        await vault.store_tokens(
            [(key, "w" * 1000) for key in keys(3 * PER_STATEMENT)]
        )  # more than the socket's buffer
    one = ["encoded", "answered", "sent", "decoded"]
    assert order == ["encoded", "sent", *one, *one, "answered", "decoded"]


async def test_many_values_are_stored_over_a_hosts_pool(url):
    async with (
        AsyncConnectionPool(url, min_size=1, max_size=2, open=False) as pool,
        open_vault(config(url), pool=pool) as vault,
    ):
        items = [(key, str(number)) for number, key in enumerate(keys())]
        assert [info.key for info in await vault.store_tokens(items)] == keys()
        found = await vault.get_tokens(keys())
        assert [found[key].value.reveal() for key in keys()] == [value for _, value in items]


async def test_a_large_statement_is_sent_before_anything_is_decoded(url):
    """The statement does not fit into the socket's buffer; while this process decodes, it sends nothing."""
    sql, parameters = "SELECT length(%(text)b::text), pg_sleep(0.5)", {"text": "x" * 20_000_000}
    async with await OwnConnection.connect(url, autocommit=True) as connection:
        query = query_in_steps(connection, LIMITS, sql, parameters, prepare=False)
        running = asyncio.create_task(query.run())
        await query.sent()
        assert connection.pgconn.flush() == 0
        assert not running.done()
        await running
        [(length, _)] = await query.rows()
        assert length == 20_000_000
