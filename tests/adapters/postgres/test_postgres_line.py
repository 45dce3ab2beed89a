"""Statements that go to libpq directly: the results, the errors, and what is left of a connection."""

import asyncio
import os
import time
from datetime import UTC, datetime
from uuid import UUID

import psycopg
import pytest
from psycopg.pq import ConnStatus, TransactionStatus
from tests.support.fault_proxy import fault_proxy
from tests.support.pgbouncer import start_pgbouncer

from vault_adapters.stores.postgres.cursors import Texts, VaultCursor, int8
from vault_adapters.stores.postgres.limits import answered
from vault_adapters.stores.postgres.line import Line
from vault_adapters.stores.postgres.own_connection import OwnConnection

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 6, UTC)

# A statement and its parameters, for each type that the vault sends or reads.
STATEMENTS = {
    "text": ("SELECT %(a)b || %(b)b || %(a)b", {"a": "ä", "b": "'\"%"}),
    "nothing": ("SELECT %(a)b::text, %(b)b::int8", {"a": None, "b": None}),
    "numbers": ("SELECT %(a)b::int8, 1::int4, 2::int2", {"a": int8(7)}),
    "time": ("SELECT %(a)b::timestamptz", {"a": MOMENT}),
    "no time of Python": ("SELECT 'infinity'::timestamptz, '-infinity'::timestamptz", {}),
    "id": ("SELECT %(a)b::uuid", {"a": UUID(int=5)}),
    "bytes": ("SELECT %(a)b::bytea", {"a": b"\x00\xff"}),
    "truth": ("SELECT %(a)b::boolean, false", {"a": True}),
    "arrays": ("SELECT %(a)b::text[], %(b)b::bytea[]", {"a": ["x", None, "y,"], "b": [b"\x00", None]}),
    "a percent sign": ("SELECT 7 %% 4, %(a)b", {"a": "x"}),
    "a percent sign without parameters": ("SELECT 7 % 4", None),
    "several rows": ("SELECT n, n::text FROM generate_series(1, 300) n", {}),
    "no row": ("SELECT 1 WHERE false", {}),
    "no columns": ("CREATE TEMPORARY TABLE IF NOT EXISTS kept (n int)", {}),
}


@pytest.fixture
async def connection(url):
    connection = await OwnConnection.connect(url, autocommit=True)
    yield connection
    await connection.close()


@pytest.fixture
def line(connection):
    return connection.line


async def by_cursor(connection, sql, parameters):
    cursor = await VaultCursor(connection).execute(sql, parameters, binary=True)
    return await cursor.fetchall() if cursor.description else []


def is_watched(descriptor):
    """Return whether the event loop watches a descriptor; this ends the watch."""
    return asyncio.get_running_loop().remove_reader(descriptor)


@pytest.mark.parametrize("prepare", [True, False])
@pytest.mark.parametrize("name", STATEMENTS)
async def test_the_rows_are_those_of_a_cursor(connection, line, name, prepare):
    sql, parameters = STATEMENTS[name]
    expected = await by_cursor(connection, sql, parameters)
    for _ in range(2):
        assert line.rows(await line.run(sql, parameters, prepare=prepare)) == expected


@pytest.mark.parametrize(
    "texts", [[], [""], ["a", "", "é" * 300, '"', "\\", "NULL", "{}", "a,b", "\n", "\U0001f511"], ["x" * 100_000] * 50]
)
async def test_texts_arrive_as_the_drivers_lists_do(connection, line, texts):
    sql = "SELECT %(texts)b::text[], pg_typeof(%(texts)b)::text, cardinality(%(texts)b), array_lower(%(texts)b, 1)"
    right = [(texts, "text[]", len(texts), 1 if texts else None)]
    assert await by_cursor(connection, sql, {"texts": Texts(texts)}) == right
    assert line.rows(await line.run(sql, {"texts": Texts(texts)}, prepare=True)) == right


async def test_a_statement_tells_how_many_rows_it_changed(line):
    await line.run_script("CREATE TEMPORARY TABLE kept (n int); INSERT INTO kept SELECT generate_series(1, 5)")
    result = await line.run("UPDATE kept SET n = 0 WHERE n > %(n)b::int8", {"n": int8(2)}, prepare=True)
    assert result.command_tuples == 3


@pytest.mark.parametrize("prepare", [True, False])
async def test_a_refused_statement_raises_the_error_of_a_cursor_and_the_next_one_runs(line, prepare):
    with pytest.raises(psycopg.errors.DivisionByZero):
        await line.run("SELECT 1 / %(n)b::int8", {"n": int8(0)}, prepare=prepare)
    with pytest.raises(psycopg.errors.UndefinedTable):
        await line.run("SELECT * FROM missing", {}, prepare=prepare)
    with pytest.raises(psycopg.errors.DivisionByZero):
        await line.run_script("SELECT 1; SELECT 1 / 0; SELECT 2")
    assert line.rows(await line.run("SELECT 1", {}, prepare=prepare)) == [(1,)]


async def test_a_missing_parameter_is_an_error_and_the_next_statement_runs(line):
    with pytest.raises(KeyError):
        await line.run("SELECT %(a)b", {}, prepare=True)
    assert line.rows(await line.run("SELECT 1", {}, prepare=True)) == [(1,)]


@pytest.mark.parametrize("prepare", [True, False])
async def test_a_statement_is_prepared_only_if_that_is_wanted(line, prepare):
    await line.run("SELECT 'wanted'", {}, prepare=prepare)
    sql = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%wanted%'"
    assert line.rows(await line.run(sql, None, prepare=False)) == [(int(prepare),)]


async def test_a_result_does_not_stay_in_memory(line):
    line.rows(await line.run("SELECT 'sealed'", {}, prepare=True))
    assert line._transformer.pgresult is None


async def test_parameters_of_other_types_are_another_prepared_statement(line):
    sql = "SELECT %(a)b::text"
    for value in ("x", int8(7), None, True, "y"):
        [(found,)] = line.rows(await line.run(sql, {"a": value}, prepare=True))
        assert found == (None if value is None else str(value).lower())


async def test_with_a_cast_one_prepared_statement_serves_nothing_and_every_value(line):
    sql = "SELECT %(a)b::text, %(b)b::uuid[], %(c)b::timestamptz, %(d)b::int"
    values = ("x", [UUID(int=5)], MOMENT, int8(7))
    for given in (values, (*[None] * 3, int8(7)), values):
        parameters = dict(zip("abcd", given, strict=True))
        assert line.rows(await line.run(sql, parameters, prepare=True)) == [given]
    assert len(line._prepared) == 1


TOLD = "INSERT INTO kept VALUES (%(n)b::int8) RETURNING n"


@pytest.fixture
async def kept(line):
    await line.run_script("CREATE TEMPORARY TABLE kept (n int8)")
    return "SELECT n FROM kept"


@pytest.mark.parametrize("prepare", [True, False])
async def test_two_statements_are_one_transaction(line, kept, prepare):
    for number in (1, 2):
        again = f"UPDATE kept SET n = n + 10 WHERE n = %(n)b::int8 AND {number} = {number}"
        result = await line.run(TOLD, {"n": int8(number)}, prepare=prepare, then=again)
        assert line.rows(result) == [(number,)]
    with pytest.raises(psycopg.errors.DivisionByZero):
        await line.run(TOLD, {"n": int8(0)}, prepare=prepare, then="SELECT 1 / %(n)b::int8")
    with pytest.raises(psycopg.errors.DivisionByZero):
        await line.run("SELECT 1 / %(n)b::int8", {"n": int8(0)}, prepare=prepare, then=TOLD)
    with pytest.raises(psycopg.errors.UndefinedTable):
        await line.run(TOLD, {"n": int8(3)}, prepare=prepare, then="SELECT n + %(n)b::int8 FROM missing")
    assert line.rows(await line.run(kept, None, prepare=prepare)) == [(11,), (12,)]


async def test_two_statements_that_the_server_has_forgotten_run_once(line, kept):
    for number in (1, 2):
        await line.run(TOLD, {"n": int8(number)}, prepare=True, then="SELECT %(n)b::int8")
        await line.run_script("DEALLOCATE ALL")
    assert line.rows(await line.run(kept, None, prepare=False)) == [(1,), (2,)]


async def test_the_second_statement_sees_what_was_committed_during_the_first(line, kept, url):
    """The first waits for a lock, and a snapshot from its beginning would not hold what the lock's owner stored."""
    await line.run_script("CREATE TABLE public.shared (n int8)")
    async with await psycopg.AsyncConnection.connect(url) as other:
        await other.execute("SELECT pg_advisory_xact_lock(7)")
        await other.execute("INSERT INTO public.shared VALUES (5)")
        both = line.run(
            "SELECT pg_advisory_xact_lock(%(n)b::int8)",
            {"n": int8(7)},
            prepare=True,
            then="INSERT INTO kept SELECT n + %(n)b::int8 FROM public.shared",
        )
        running = asyncio.create_task(both)
        await asyncio.sleep(0.1)
        assert not running.done()
        await other.commit()
    await running
    assert line.rows(await line.run(kept, None, prepare=False)) == [(12,)]


async def test_a_connection_that_is_lost_between_two_statements_raises_an_error(connection, line, kept, execute):
    pid = connection.info.backend_pid
    sleeps = line.run(TOLD, {"n": int8(1)}, prepare=True, then="SELECT pg_sleep(60), %(n)b::int8")
    running = asyncio.create_task(answered(connection, 60, sleeps))
    await asyncio.sleep(0.1)
    execute("SELECT pg_terminate_backend(%s)", (pid,))
    with pytest.raises(psycopg.OperationalError):
        await running
    assert connection.closed


async def test_a_statement_that_does_not_fit_into_the_sockets_buffer_is_sent_whole(line):
    large = os.urandom(20_000_000)
    sql = "SELECT length(%(a)b::bytea), md5(%(a)b::bytea) = md5(%(b)b::bytea)"
    assert line.rows(await line.run(sql, {"a": large, "b": large}, prepare=True)) == [(len(large), True)]
    assert not asyncio.get_running_loop().remove_writer(line._watched)


async def test_the_server_keeps_a_limited_number_of_prepared_statements(line):
    names = "SELECT name FROM pg_prepared_statements WHERE statement LIKE '%often%'"
    await line.run("SELECT 'often'", {}, prepare=True)
    name = line.rows(await line.run(names, None, prepare=False))
    for number in range(130):
        assert line.rows(await line.run(f"SELECT {number}", {}, prepare=True)) == [(number,)]
        await line.run("SELECT 'often'", {}, prepare=True)
    [(count,)] = line.rows(await line.run("SELECT count(*) FROM pg_prepared_statements", None, prepare=False))
    assert count == 100
    assert line.rows(await line.run(names, None, prepare=False)) == name  # it was not prepared anew


async def test_a_libpq_that_cannot_close_statements_prepares_no_further_ones(line, monkeypatch):
    monkeypatch.setattr("vault_adapters.stores.postgres.line._CAN_CLOSE", False)
    for number in [*range(130), *range(130)]:
        assert line.rows(await line.run(f"SELECT {number}", {}, prepare=True)) == [(number,)]
    rows = line.rows(await line.run("SELECT statement FROM pg_prepared_statements", None, prepare=False))
    assert {statement for (statement,) in rows} == {f"SELECT {number}" for number in range(100)}


async def test_the_socket_is_watched_from_one_statement_to_the_next(line):
    await line.run("SELECT 1", {}, prepare=True)
    descriptor = line._watched
    await line.run("SELECT 1", {}, prepare=True)
    assert line._watched == descriptor
    assert is_watched(descriptor)


async def test_psycopg_and_the_line_take_turns(connection, line):
    for _ in range(3):
        assert line.rows(await line.run("SELECT 1", {}, prepare=True)) == [(1,)]
        assert await by_cursor(connection, "SELECT 2", None) == [(2,)]
        async with connection.pipeline():
            first, second = await connection.execute("SELECT 3"), await connection.execute("SELECT 4")
        assert [await first.fetchall(), await second.fetchall()] == [[(3,)], [(4,)]]
        async with connection.transaction():
            assert line.rows(await line.run("SELECT 5", {}, prepare=True)) == [(5,)]


async def test_closing_ends_the_watch(connection, line):
    await line.run("SELECT 1", {}, prepare=True)
    descriptor = line._watched
    await connection.close()
    assert not is_watched(descriptor)


async def test_a_server_that_closes_an_idle_connection_does_not_keep_the_event_loop_busy(connection, line, execute):
    await line.run("SELECT 1", {}, prepare=True)
    descriptor = line._watched
    execute("SELECT pg_terminate_backend(%s)", (connection.info.backend_pid,))
    for _ in range(100):
        await asyncio.sleep(0.01)
        if line._watched is None:
            break
    assert not is_watched(descriptor)
    with pytest.raises(psycopg.OperationalError):
        await line.run("SELECT 1", {}, prepare=True)
    assert connection.closed


async def test_a_connection_that_is_lost_during_a_statement_leaves_no_watch(url, execute):
    """The next connection soon gets the same descriptor. Its answers would not come if the old watch were left."""
    for _ in range(5):
        connection = await OwnConnection.connect(url, autocommit=True)
        running = asyncio.create_task(connection.line.run("SELECT pg_sleep(60)", {}, prepare=True))
        await asyncio.sleep(0.05)
        descriptor = connection.line._watched
        execute("SELECT pg_terminate_backend(%s)", (connection.info.backend_pid,))
        with pytest.raises(psycopg.OperationalError) as caught:
            await running
        assert caught.value.sqlstate == "57P01"  # the server said why
        assert connection.closed
        assert not is_watched(descriptor)
        other = await OwnConnection.connect(url, autocommit=True)
        assert other.line.rows(await other.line.run("SELECT 1", {}, prepare=True)) == [(1,)]
        await other.close()
        await connection.close()


@pytest.mark.parametrize("after", [0, 0.2])
async def test_a_connection_that_is_lost_while_a_large_statement_is_sent_raises_an_error(url, after):
    with fault_proxy(url) as proxy:
        connection = await OwnConnection.connect(proxy.url, autocommit=True)
        await connection.line.run("SELECT 1", {}, prepare=True)
        descriptor = connection.line._watched
        proxy.freeze()
        if not after:
            proxy.reset()
        sql, large = "SELECT length(%(a)b::bytea)", b"x" * 50_000_000
        running = asyncio.create_task(connection.line.run(sql, {"a": large}, prepare=False))
        await asyncio.sleep(0)
        sending = asyncio.create_task(connection.line.sent())
        await asyncio.sleep(after)
        assert after == 0 or not sending.done()
        proxy.reset()
        with pytest.raises(psycopg.OperationalError):
            await asyncio.wait_for(running, 10)
        await asyncio.wait_for(sending, 1)
        assert connection.closed
        assert not is_watched(descriptor)
        await connection.close()


class Lost:
    """A connection of libpq that is found lost while a statement is sent."""

    def __init__(self, right):
        self._right, self.is_lost = right, False

    def flush(self):
        if self.is_lost:
            raise psycopg.OperationalError("lost")
        return self._right.flush()

    @property
    def status(self):
        return ConnStatus.BAD if self.is_lost else self._right.status

    def __getattr__(self, name):
        return getattr(self._right, name)


async def test_a_connection_that_is_found_lost_while_a_statement_is_sent_is_not_watched(connection):
    lost = Lost(connection.pgconn)
    line = Line(lost)
    await line.run("SELECT 1", {}, prepare=True)
    descriptor, lost.is_lost = line._watched, True
    with pytest.raises(psycopg.OperationalError):
        await line.run("SELECT 1", {}, prepare=True)
    assert not is_watched(descriptor)


async def test_a_cancelled_caller_cancels_the_statement_and_closes_the_connection(connection, line, execute):
    pid = connection.info.backend_pid
    running = asyncio.create_task(answered(connection, 60, line.run("SELECT pg_sleep(60)", {}, prepare=True)))
    await asyncio.sleep(0.1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert connection.closed
    end = time.monotonic() + 10
    while execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s AND state = 'active'", (pid,)):
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


async def test_an_answer_that_nobody_waits_for_any_more_is_not_taken_for_the_next_one(connection, line):
    await line.run_script("SELECT 1")
    running = asyncio.create_task(line.run("SELECT pg_sleep(0.2), 7", {}, prepare=False))
    await asyncio.sleep(0.05)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert connection.pgconn.transaction_status == TransactionStatus.ACTIVE  # so the pool drops the connection
    with pytest.raises(psycopg.OperationalError):
        await line.run("SELECT 8", {}, prepare=False)


async def test_more_statements_than_the_server_keeps_run_behind_a_pooler_that_tracks_them(postgres):
    """The pooler renames statements for the server, so DEALLOCATE with the vault's name of a statement fails."""
    with start_pgbouncer(postgres, max_prepared_statements=200) as pooled:
        connection = await OwnConnection.connect(pooled, autocommit=True)
        for number in range(130):
            found = await connection.line.run(f"SELECT {number}", {}, prepare=True)
            assert connection.line.rows(found) == [(number,)]
        await connection.close()


async def test_statements_run_after_psycopg_has_dropped_all_prepared_ones(connection, line):
    """A rollback by psycopg, such as that of a pool, sends DEALLOCATE ALL if psycopg has prepared something itself."""
    assert line.rows(await line.run("SELECT 1", {}, prepare=True)) == [(1,)]
    await VaultCursor(connection).execute("SELECT 2", {}, prepare=True)
    await line.run_script("BEGIN")
    await connection.rollback()
    assert line.rows(await line.run("SELECT 1", {}, prepare=True)) == [(1,)]


async def test_after_lost_prepared_statements_a_transaction_fails_once(line):
    await line.run("SELECT 1", {}, prepare=True)
    await line.run_script("DEALLOCATE ALL; BEGIN")
    with pytest.raises(psycopg.errors.InvalidSqlStatementName):
        await line.run("SELECT 1", {}, prepare=True)
    await line.run_script("ROLLBACK; BEGIN")
    assert line.rows(await line.run("SELECT 1", {}, prepare=True)) == [(1,)]


@pytest.mark.parametrize("end", ["close", "execute"])
async def test_a_statement_whose_connection_is_taken_away_ends_with_an_error(connection, line, end):
    """The time limit would not end the statement: the limit shuts down the socket, which nobody watches any more."""
    running = asyncio.create_task(answered(connection, 1, line.run("SELECT pg_sleep(2)", {}, prepare=False)))
    await asyncio.sleep(0.1)
    if end == "close":
        await connection.close()
    else:
        await asyncio.gather(connection.execute("SELECT 1"), return_exceptions=True)
    await asyncio.wait([running], timeout=3)
    assert running.done()
    assert isinstance(running.exception(), psycopg.OperationalError)


async def test_a_second_statement_is_refused_and_the_first_one_ends(connection, line):
    first = asyncio.create_task(answered(connection, 1, line.run("SELECT pg_sleep(0.3), 1", {}, prepare=False)))
    await asyncio.sleep(0.1)
    with pytest.raises(psycopg.OperationalError):
        await line.run("SELECT 2", {}, prepare=False)
    await asyncio.wait([first], timeout=3)
    assert first.done()
    assert line.rows(first.result())[0][1] == 1


async def test_a_script_without_a_statement_is_no_error(connection, line):
    await VaultCursor(connection).execute("")
    await line.run_script("")
