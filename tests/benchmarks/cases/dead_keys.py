"""Reading the values of other tenants beside fifty tenants whose own master keys hang."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from tests.benchmarks.bench import Bench, Case, at_once
from tests.benchmarks.timing import Contestant
from tests.benchmarks.vaults import VALUE, access_keys, bench_vault
from tests.support.transit_server import running

from vault_adapters import KeyUnavailableError, TokenKey, TokenVault, Tuning

_TENANTS = 50
_ONSET = 6.0  # seconds, in which each key that hangs is asked twice
_PAUSE = 0.25


async def _run(bench: Bench) -> None:
    dead = access_keys(_TENANTS, tenants=_TENANTS, name="dead")
    own, rest = (access_keys(count, tenants=count, name=name) for name, count in (("own", 10), ("rest", 40)))
    with running() as transit, tempfile.TemporaryDirectory() as folder:
        tuning = Tuning(key_service_tokens=transit.tokens(Path(folder)))
        async with bench_vault(bench.server.url, tuning=tuning) as vault:
            await vault.store_tokens([(key, VALUE) for key in (*dead, *own, *rest)])
            for key in (*dead, *own):
                await vault.keys.set_tenant_master_key(key.tenant_id, transit.uri(key.tenant_id))
        async with AsyncExitStack() as stack:

            def beside(name: str, mode: str) -> Contestant:
                readers: list[Callable[[], Awaitable[str]]] = []

                async def prepare() -> None:
                    await stack.aclose()
                    for key in dead:
                        transit.make(key.tenant_id, mode)
                    vault = await stack.enter_async_context(bench_vault(bench.server.url, tuning=tuning))
                    users = await stack.enter_async_context(asyncio.TaskGroup())
                    for key in dead:
                        stack.callback(users.create_task(_use(vault, key)).cancel)
                    keys = itertools.cycle([*rest, *own])
                    readers[:] = [lambda: vault.get_token(next(keys))]
                    await asyncio.sleep(bench.amount(1, 0) * _ONSET)
                    await read()

                async def read() -> int:
                    return await at_once(10, bench.amount(500, 5), readers[0])

                return Contestant(name, read, prepare)

            answering = beside("beside keys that answer", "ok")
            hanging = beside("beside keys that hang", "hang")
            series = await bench.race([answering, hanging], 9)
            await bench.ratio(hanging, answering, series)


async def _use(vault: TokenVault, key: TokenKey) -> None:
    """Read like a service does that does not know of the dead key."""
    while True:
        with suppress(KeyUnavailableError):
            await vault.get_token(key)
        await asyncio.sleep(_PAUSE)


DEAD_KEYS = Case(
    "dead-keys",
    "Read beside keys that hang",
    "Ten callers read 50 values, ten of them of tenants with master keys of their own, while fifty other tenants, each "
    "with a master key of its own at the same service, are read four times a second. Either all keys of the fifty "
    "answer, or their calls hang.",
    _run,
)
