"""Re-encrypting tokens under new data keys."""

from __future__ import annotations

import os
from typing import Any

from tests.benchmarks.bench import Bench, Case
from tests.benchmarks.copies import RESEAL_MANY, copy_table
from tests.benchmarks.findings import Goal
from tests.benchmarks.floors import Connection, fetch_all, parts
from tests.benchmarks.timing import Contestant
from tests.benchmarks.vaults import access_keys, bench_vault, fill

_SCHEMA = "token_vault"
_ROWS_PER_STATEMENT = 1000


async def _run(bench: Bench) -> None:
    keys = sorted(access_keys(bench.amount(10_000, 300), name="reencrypt"), key=parts)
    tenants = sorted({key.tenant_id for key in keys})
    async with bench_vault(bench.server.url) as vault, bench.connection() as connection:
        await fill(vault, keys)
        await copy_table(connection)

        async def rotate() -> None:
            for tenant in tenants:
                await vault.keys.rotate_data_key(tenant)
            await connection.execute(f"VACUUM {_SCHEMA}.token")

        async def reencrypt() -> int:
            done = await vault.keys.reencrypt()
            if done.reencrypted != len(keys):
                raise RuntimeError(f"{done.reencrypted} of {len(keys)} values were re-encrypted")
            return done.reencrypted

        async def tidy() -> None:
            await connection.execute("VACUUM bare.token")

        ours = Contestant("reencrypt", reencrypt, rotate)
        bare = Contestant("the bare statement", _Bare(connection, [parts(key) for key in keys]).run, tidy)
        series = await bench.race([ours, bare], 15)
        await bench.rate(ours, series, "rows/s", Goal(30_000, at_least=True))
        await bench.rate(bare, series, "rows/s")
        await bench.ratio(ours, bare, series)


class _Bare:
    """Replaces all values by a value that was made beforehand."""

    def __init__(self, connection: Connection, places: list[tuple[Any, ...]]) -> None:
        self._connection = connection
        self._places = places
        self._held: list[bytes] = []

    async def run(self) -> int:
        if not self._held:
            self._held = await self._read()
        data_key_id, fresh, changed = os.urandom(16), os.urandom(384), 0
        for start in range(0, len(self._places), _ROWS_PER_STATEMENT):
            places = self._places[start : start + _ROWS_PER_STATEMENT]
            before = self._held[start : start + _ROWS_PER_STATEMENT]
            columns = [list(column) for column in zip(*places, strict=True)]
            columns += [before, [data_key_id] * len(places), [fresh] * len(places)]
            changed += len(await fetch_all(self._connection, RESEAL_MANY, columns))
        self._held = [fresh] * len(self._places)
        if changed != len(self._places):
            raise RuntimeError(f"{changed} of {len(self._places)} values were replaced")
        return changed

    async def _read(self) -> list[bytes]:
        rows = await fetch_all(
            self._connection,
            "SELECT tenant_id, provider, kind, identifier, blob FROM bare.token WHERE tenant_id LIKE 'reencrypt-%%'",
            (),
        )
        blobs = {tuple(row[:4]): row[4] for row in rows}
        return [blobs[place] for place in self._places]


REENCRYPT = Case(
    "reencrypt",
    "Re-encrypt after a rotation",
    "All values are read, opened, sealed under their tenants' new data keys and written by compare-and-set, a "
    "thousand at a time. The floor is the write alone: UPDATE FROM UNNEST with compare-and-set, of values that "
    "were made beforehand.",
    _run,
)
