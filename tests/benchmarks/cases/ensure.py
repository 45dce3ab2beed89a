"""Calling `ensure_access_token` when nothing has to be refreshed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tests.benchmarks.bench import Bench, Case
from tests.benchmarks.findings import Goal
from tests.benchmarks.timing import Contestant
from tests.benchmarks.vaults import PROVIDER, access_keys, bench_vault, endless, fill

from vault_adapters import Account, TokenKey
from vault_adapters.testing import ScriptedRefresher

_BLOCK = 100


async def _run(bench: Bench) -> None:
    keys = access_keys(bench.amount(2000, 100), name="ensure")
    async with bench_vault(bench.server.url, refreshers={PROVIDER: ScriptedRefresher()}) as vault:
        await fill(vault, keys)
        get = _calls("get_access_token", vault.get_access_token, endless(keys, 4))
        ensure = _calls("ensure_access_token on a fresh token", vault.ensure_access_token, endless(keys, 4))
        series = await bench.race([get, ensure], 300)
        await bench.ratio(ensure, get, series, Goal(1.05))


def _calls(name: str, call: Callable[[Account], Awaitable[object]], next_key: Callable[[], TokenKey]) -> Contestant:
    async def work() -> int:
        accounts = [next_key().account for _ in range(_BLOCK)]
        for account in accounts:
            await call(account)
        return _BLOCK

    return Contestant(name, work)


ENSURE = Case(
    "ensure",
    "Ask for an access token that is valid",
    "One caller asks for tokens on Postgres. All tokens are fresh, so `ensure_access_token` refreshes none of them.",
    _run,
)
