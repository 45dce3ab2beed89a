"""Getting tokens of tenants whose data keys are not cached, which adds reading and unwrapping the data key."""

from __future__ import annotations

from collections.abc import Callable

from tests.benchmarks.bench import Bench, Case, at_once
from tests.benchmarks.timing import Contestant
from tests.benchmarks.vaults import access_keys, bench_vault, endless, fill

from vault_adapters import Token, TokenKey, TokenVault

_CALLERS = (1, 64)


async def _run(bench: Bench) -> None:
    count = bench.amount(2000, 100)
    keys = access_keys(count, name="cold", tenants=count)
    async with bench_vault(bench.server.url) as vault:
        await fill(vault, keys)
        warm = {callers: _calls(vault, callers, endless(keys, 5), is_cold=False) for callers in _CALLERS}
        cold = {callers: _calls(vault, callers, endless(keys, 6), is_cold=True) for callers in _CALLERS}
        series = await bench.race([*warm.values(), *cold.values()], 150)
        for callers in _CALLERS:
            await bench.ratio(cold[callers], warm[callers], series)


def _calls(vault: TokenVault, callers: int, next_key: Callable[[], TokenKey], *, is_cold: bool) -> Contestant:
    each = max(4, 100 // callers)
    cipher = vault._services.cipher
    block: list[TokenKey] = []

    async def prepare() -> None:
        block[:] = [next_key() for _ in range(callers * each)]
        await vault.get_tokens(block)
        for key in block if is_cold else ():
            cipher.forget_tenant(key.tenant_id)

    async def get() -> Token | None:
        return await vault.get_token(block.pop())

    state = "cold" if is_cold else "held"
    name = f"get_token, data key {state}, {callers} caller{'s' * (callers > 1)}"
    return Contestant(name, lambda: at_once(callers, each, get), prepare)


COLD = Case(
    "cold",
    "Get one token of a tenant whose data key is not cached",
    "Each get asks for a token of another tenant, on Postgres. If the data key is cold, a second statement reads its "
    "wrap, and a local master key unwraps it. If the data key is held in the cache, both steps are left out. The cache "
    "holds a data key for five minutes.",
    _run,
)
