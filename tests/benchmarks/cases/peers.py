"""Fetching one token by its key and decrypting it: the vault and its peers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial

from tests.benchmarks.bench import IN_A_ROW, Bench, Case, at_once
from tests.benchmarks.findings import Bar, Goal
from tests.benchmarks.floors import SELECT_VALUE, fetch_one, parts
from tests.benchmarks.peers.peer import Peer, Place
from tests.benchmarks.timing import Contestant
from tests.benchmarks.vaults import VALUE, access_keys, bench_vault, endless, fill

from vault_adapters import TokenKey, TokenVault

_GOALS = {1: Goal(3, at_least=True), 64: Goal(20, at_least=True)}
_ROUNDS = {1: 40, 64: 15}


async def _run(bench: Bench) -> None:
    keys = access_keys(bench.amount(2000, 200), name="peers")
    next_key = endless(keys, 5)
    async with AsyncExitStack() as stack:
        vault = await stack.enter_async_context(bench_vault(bench.server.url))
        connection = await stack.enter_async_context(bench.connection())
        await fill(vault, keys)

        async def get() -> None:
            token = await vault.get_token(next_key())
            if token is None or token.value.reveal() != VALUE:
                raise RuntimeError("not the value that was stored")

        async def bare() -> int:
            for _ in range(100):
                await fetch_one(connection, SELECT_VALUE, parts(next_key()))
            return 100

        floor = Contestant("a bare SELECT", bare)
        ours = Peer("vault", lambda callers, each: at_once(callers, each, get), is_orm=False, block=100)
        peers = await _open_peers(stack, bench, [parts(key) for key in keys], lambda: parts(next_key()))
        await connection.execute("ANALYZE")
        for key in keys:  # as in the case "get"
            await vault.get_token(key)
        for callers in _GOALS:
            await _race(bench, floor, ours, peers, callers)
        hot = await stack.enter_async_context(bench_vault(bench.server.url, read_cache=timedelta(days=1)))
        await _race_hot(bench, hot, peers, keys)


async def _race(bench: Bench, floor: Contestant, ours: Peer, peers: list[Peer], callers: int) -> None:
    group = "1 caller" if callers == 1 else f"{callers} callers at once, per get"
    mine = _contestant(ours, callers, group)
    others = {_contestant(peer, callers, group): peer for peer in peers}
    series = await bench.race([floor, mine, *others], _ROUNDS[callers])
    for contestant, peer in others.items():
        goal = _GOALS[callers] if peer.is_orm else None
        await bench.ratio(contestant, mine, series, goal, suspect=mine)
    bars = [(mine, ours), *others.items()]
    bench.bars.extend(
        Bar(group, peer.name, series[contestant.name].over(series[floor.name]).middle, peer is ours)
        for contestant, peer in bars
    )


async def _race_hot(bench: Bench, vault: TokenVault, peers: list[Peer], keys: list[TokenKey]) -> None:
    """Measure the vault with its read cache against peers that ask the database, and against peers with a cache."""
    await asyncio.sleep(0.5)  # until the vault hears of other processes' changes
    for key in keys:
        await vault.get_token(key)
    next_key = endless(keys, 5)

    async def get() -> None:
        token = await vault.get_token(next_key())
        if token is None or token.value.reveal() != VALUE:
            raise RuntimeError("not the value that was stored")

    group = "64 callers at once, per get"
    mine = Contestant(f"vault with read_cache, {group}", lambda: at_once(64, IN_A_ROW, get))
    asking = [_contestant(peer, 64, group) for peer in peers if peer.is_orm]
    cached = [
        Contestant(f"{p.cached_name}, {group}", partial(p.cached, 64, IN_A_ROW)) for p in peers if p.cached is not None
    ]
    for contestant in cached:  # so that their caches hold all values
        for _ in range(-(-len(keys) // (64 * IN_A_ROW))):
            await contestant.work()
    series = await bench.race([mine, *asking, *cached], _ROUNDS[64])
    for contestant in asking:
        await bench.ratio(contestant, mine, series, Goal(60, at_least=True), suspect=mine)
    for contestant in cached:
        await bench.ratio(contestant, mine, series)


def _contestant(peer: Peer, callers: int, group: str) -> Contestant:
    each = peer.block if callers == 1 else IN_A_ROW
    return Contestant(f"{peer.name}, {group}", partial(peer.get, callers, each))


async def _open_peers(
    stack: AsyncExitStack, bench: Bench, places: list[Place], next_place: Callable[[], Place]
) -> list[Peer]:
    from sqlalchemy import Unicode
    from sqlalchemy_utils.types.encrypted.encrypted_type import AesGcmEngine, FernetEngine, StringEncryptedType
    from tests.benchmarks.peers.by_hand import aesgcm_peer, original_peer
    from tests.benchmarks.peers.django_orm import django_peer
    from tests.benchmarks.peers.sqlalchemy_orm import FernetText, sqlalchemy_peer

    url, utils = bench.server.url, "SQLAlchemy-Utils StringEncryptedType"
    key = "a key for benchmarks only"
    by_sqlalchemy = [
        ("SQLAlchemy ORM, Fernet column, asyncpg", "asyncpg", "orm_asyncpg", FernetText()),
        ("SQLAlchemy ORM, Fernet column, psycopg", "psycopg", "orm_psycopg", FernetText()),
        (f"{utils}, AES-GCM, asyncpg", "asyncpg", "utils_gcm", StringEncryptedType(Unicode, key, AesGcmEngine)),
        (f"{utils}, Fernet, asyncpg", "asyncpg", "utils_fernet", StringEncryptedType(Unicode, key, FernetEngine)),
    ]
    contexts = [
        aesgcm_peer(url, places, next_place),
        *(sqlalchemy_peer(name, url, *rest, places, next_place) for name, *rest in by_sqlalchemy),
        django_peer(url, places, next_place),
        original_peer(url, places, next_place),
    ]
    return [await stack.enter_async_context(context) for context in contexts]


PEERS = Case(
    "peers",
    "Fetch one token by its key and decrypt it: the vault and its peers",
    "Each ratio is the peer's time divided by the vault's time, on the same server, with pools of ten connections. "
    "SQLAlchemy opens a session for each get, as its documentation recommends. Django is synchronous; its callers are "
    "threads that keep their connections. A goal such as ≥ 3 is met if the ORM takes at least three times the vault's "
    "time. With `read_cache`, the vault keeps sealed values and decrypts each time. The peers' caches keep values in "
    "clear, which costs less, and nothing tells them of another process's change.",
    _run,
    needs_peers=True,
)
