"""What metrics and spans cost a read, with an observer and without one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import timedelta

from tests.benchmarks.bench import Bench, Case
from tests.benchmarks.timing import Contestant
from tests.benchmarks.vaults import access_keys, bench_vault, endless, fill

from vault_adapters import TokenKey, TokenVault
from vault_adapters.telemetry import instrument
from vault_domain.entities.measures import Operation
from vault_domain.services.observing import Observed

_DAY = timedelta(days=1)  # longer than any measurement, so that no cached token becomes too old
_BLOCK = 200
_STEPS = 5000


async def _run(bench: Bench) -> None:
    keys = access_keys(bench.amount(2000, 100), name="telemetry")
    async with AsyncExitStack() as stack:
        vaults = {
            (cached, told): await stack.enter_async_context(
                bench_vault(bench.server.url, read_cache=_DAY if cached else None, serve_stale=timedelta(0))
            )
            for cached in (False, True)
            for told in (False, True)
        }
        await fill(vaults[False, False], keys)
        await asyncio.sleep(0.5)  # until the vaults hear of other processes' changes
        stack.enter_context(_instrumented(vaults[False, True], vaults[True, True]))
        for (cached, _), vault in vaults.items():
            for key in keys if cached else ():
                await vault.get_token(key)
        gets = {which: _gets(which, vault, keys) for which, vault in vaults.items()}
        step = Contestant("one step of an operation without an observer", _steps)
        series = await bench.race([*gets.values(), step], 100)
        for cached in (False, True):
            await bench.ratio(gets[cached, True], gets[cached, False], series)
        await bench.ratio(step, gets[True, False], series)


@contextmanager
def _instrumented(*vaults: TokenVault) -> Iterator[None]:
    """Report the vaults to the SDK of OpenTelemetry, which keeps metrics and spans in memory."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    meters, tracers = MeterProvider([InMemoryMetricReader()]), TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(InMemorySpanExporter()))
    for vault in vaults:
        instrument(vault, meter_provider=meters, tracer_provider=tracers)
    try:
        yield
    finally:
        meters.shutdown()
        tracers.shutdown()


def _gets(which: tuple[bool, bool], vault: TokenVault, keys: list[TokenKey]) -> Contestant:
    cached, told = which
    next_key = endless(keys, 5)

    async def work() -> int:
        for _ in range(_BLOCK):
            await vault.get_token(next_key())
        return _BLOCK

    source = "from the cache" if cached else "from the database"
    return Contestant(f"get_token {source}, {'instrumented' if told else 'without an observer'}", work)


async def _steps() -> int:
    observed = Observed()
    for _ in range(_STEPS):
        with observed.step(Operation.CLAIM, "google"):
            pass
    return _STEPS


TELEMETRY = Case(
    "telemetry",
    "What metrics and spans cost",
    "Four vaults on one database get the same tokens, one caller each. Two read from the database, and two from "
    "memory, with `read_cache`. In each pair, one vault has no observer; the other is observed by `instrument`, with "
    "OpenTelemetry's SDK and its exporters in memory. The last row is the cost of a step without an observer. Each "
    "claim, attempt or request runs in a step; a read runs in none.",
    _run,
)
