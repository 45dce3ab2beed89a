"""How stores share statements: those that wait are sent together.

Here, a store is the storing of one value, not a database. Functions stand in for the database.
"""

import asyncio
import random

import psycopg
import pytest
from tests.adapters.postgres.samples import write

from vault_adapters.stores.postgres.errors import unless_undone
from vault_adapters.stores.postgres.store_batcher import StoreBatcher
from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.errors import StorageError

SECRET = "a secret"


def write_of(number):
    return write(Account("acme", "google", f"u{number}").key(TokenKind.ACCESS_TOKEN), blob=b"%d" % number)


def blobs(writes):
    return [each.sealed.blob for each in writes]


class Server:
    """Answers each store with its blob; notes which statements ran, and how many ran at once."""

    def __init__(self, *, most_batches=10, patience=60):
        self.ran = []
        self.running = self.most = 0
        self.gates = {}
        self.outcome = blobs
        self.batcher = StoreBatcher(self.alone, self.together, most_batches=most_batches, patience=patience)

    async def alone(self, one, actor):
        [value] = await self._run([one], actor, blobs)
        return value

    async def together(self, writes, actor):
        return await self._run(writes, actor, self.outcome)

    async def _run(self, writes, actor, outcome):
        self.ran.append((len(writes), actor))
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            for _ in range(5):
                await asyncio.sleep(0)
            for each in writes:
                if gate := self.gates.get(each.sealed.blob):
                    await gate.wait()
            return outcome(writes)
        finally:
            self.running -= 1

    async def store(self, numbers, actor=None):
        works = [self.batcher.store(write_of(number), actor) for number in numbers]
        return await asyncio.gather(*works, return_exceptions=True)


async def test_a_batch_has_a_limited_number_of_stores():
    server = Server()
    assert await server.store(range(600)) == [b"%d" % number for number in range(600)]
    assert server.ran == [(1, None), (256, None), (256, None), (87, None)]


async def test_no_more_batches_run_at_once_than_there_are_connections():
    server = Server(most_batches=3)
    gate = server.gates[b"0"] = asyncio.Event()
    works = [asyncio.ensure_future(server.store([number], str(number))) for number in range(30)]
    await asyncio.gather(*works[1:])
    gate.set()
    assert await works[0] == [b"0"]
    assert server.most == 4  # the three batches and the store that went alone
    assert len(server.ran) == 30


@pytest.mark.parametrize("first", [0, 1], ids=["alone", "in a batch"])
async def test_a_store_waits_until_the_earlier_store_of_its_key_has_ended(first):
    server = Server()
    gates = server.gates[b"0"], server.gates[b"1"] = asyncio.Event(), asyncio.Event()
    works = [asyncio.ensure_future(server.store([number])) for number in (0, 1)]
    later = asyncio.ensure_future(server.store([first]))
    for _ in range(50):
        await asyncio.sleep(0)
    assert (len(server.ran), later.done()) == (2, False)
    for gate in gates:
        gate.set()
    await asyncio.gather(*works, later)
    assert len(server.ran) == 3


async def test_actors_take_turns():
    server = Server(most_batches=1)
    await asyncio.gather(server.store(range(600), "many"), server.store(range(600, 602), "few"))
    assert server.ran == [(1, "many"), (256, "many"), (2, "few"), (256, "many"), (87, "many")]


async def test_who_waited_too_long_is_refused_and_may_retry():
    server = Server(most_batches=1, patience=0.05)
    gate = server.gates[b"1"] = asyncio.Event()
    first = asyncio.ensure_future(server.store([0, 1], "first"))
    late = asyncio.ensure_future(server.store([1, 2], "late"))
    await asyncio.sleep(0.1)
    timely = asyncio.ensure_future(server.store([3], "timely"))
    await asyncio.sleep(0)
    gate.set()
    assert await first == [b"0", b"1"]
    assert all(isinstance(error, StorageError) and error.retryable for error in await late)
    assert await timely == [b"3"]
    assert await server.store([1, 2], "late") == [b"1", b"2"]


async def test_a_store_that_hangs_after_its_batch_fell_apart_holds_no_other():
    server = Server(most_batches=1)

    def fall_apart(writes):
        server.gates[b"1"] = asyncio.Event()
        server.outcome = blobs
        return

    server.outcome = fall_apart
    tasks = [asyncio.ensure_future(server.batcher.store(write_of(number), None)) for number in range(4)]
    async with asyncio.timeout(5):
        await asyncio.gather(tasks[0], *tasks[2:])
        assert await server.store([0, 2, 3]) == [b"0", b"2", b"3"]
        assert not tasks[1].done()
        server.gates[b"1"].set()
        assert await tasks[1] == b"1"


async def test_an_unexpected_error_of_a_batch_is_each_callers_own():
    server = Server()

    def refuse(writes):
        raise KeyError(SECRET)

    server.outcome = refuse
    first, *errors = await server.store(range(5))
    assert first == b"0"
    assert {(type(error), error.code) for error in errors} == {(StorageError, "store_failed")}
    assert len(set(map(id, errors))) == 4
    assert all(SECRET not in repr(error) and error.__context__ is error.__cause__ is None for error in errors)
    assert server.ran == [(1, None), (4, None)]


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_happens_nothing_waits_for_ever(seed):
    rng = random.Random(seed)
    server = Server(most_batches=rng.choice([1, 2, 5]))

    def outcome(writes):
        if rng.random() < 0.2:
            raise StorageError("no connection")
        return None if rng.random() < 0.3 else blobs(writes)

    server.outcome = outcome
    tasks = []
    for _ in range(300):
        number, actor = rng.randrange(20), rng.choice([None, "ann", "bob"])
        tasks.append((number, asyncio.ensure_future(server.batcher.store(write_of(number), actor))))
        if rng.random() < 0.1:
            rng.choice(tasks)[1].cancel()
        if rng.random() < 0.3:
            await asyncio.sleep(0)
    async with asyncio.timeout(20):
        results = await asyncio.gather(*(task for _, task in tasks), return_exceptions=True)
        await server.batcher.drain()
    for (number, _), result in zip(tasks, results, strict=True):
        assert result == b"%d" % number or isinstance(result, StorageError | asyncio.CancelledError)
    assert await server.store([1]) == [b"1"]
    assert server.ran[-1] == (1, None)


REFUSED = {"22P02", "23505", "40P01", "40001", "42501", "54000", "55P03", "P0001", "XX001"}
OTHERS = {"08006", "25006", "40003", "53100", "57014", "57P01", "XX000"}


@pytest.mark.parametrize("code", sorted(REFUSED | OTHERS))
async def test_a_batch_falls_apart_only_if_the_server_refused_a_row(code):
    async def work():
        raise psycopg.errors.lookup(code)

    if code in REFUSED:
        assert await unless_undone(work()) is None
    else:
        with pytest.raises(psycopg.Error):
            await unless_undone(work())


async def test_an_error_without_a_code_is_not_a_refusal():
    async def work():
        raise psycopg.OperationalError("the connection is lost")

    with pytest.raises(psycopg.OperationalError):
        await unless_undone(work())
