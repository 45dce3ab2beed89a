"""Importing tokens of another system, from a file."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence

from tests.benchmarks.bench import Bench, Case
from tests.benchmarks.findings import Goal
from tests.benchmarks.timing import Contestant
from tests.benchmarks.vaults import EXPIRY, VALUE, access_keys, bench_vault

from vault_adapters import TokenKey
from vault_adapters.importing.formats import TOKENS
from vault_adapters.importing.reading import open_plain, read_dump


async def _run(bench: Bench) -> None:
    dump = _dump(access_keys(bench.amount(100_000, 300), name="import"))
    rows = dump.count(b"\n")
    async with bench_vault(bench.server.url) as vault, bench.connection() as connection:

        async def import_all() -> int:
            report = await vault.import_tokens(read_dump(io.BytesIO(dump), TOKENS, open_plain), source="benchmark")
            if report.imported != rows:
                raise RuntimeError(f"{report.imported} of {rows} rows were imported")
            return report.imported

        async def forget() -> None:
            await connection.execute("DELETE FROM token_vault.token WHERE tenant_id LIKE 'import-%'")
            await connection.execute("VACUUM token_vault.token")

        ours = Contestant("import of plain rows", import_all, forget)
        series = await bench.race([ours], 5)
        await bench.rate(ours, series, "rows/s", Goal(20_000, at_least=True))


def _dump(keys: Sequence[TokenKey]) -> bytes:
    """Return rows as JSON lines, as a host would write them out of its own table."""
    rows = (
        {
            "tenant_id": key.tenant_id,
            "provider": key.provider,
            "kind": key.kind.value,
            "identifier": key.identifier,
            "value": VALUE,
            "expires_at": EXPIRY.isoformat(),
            "scopes": "email profile",
        }
        for key in keys
    )
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


IMPORTING = Case(
    "import",
    "Import tokens of another system",
    "A hundred thousand tokens of twenty tenants are imported from lines of JSON in clear, as by `token-vault import`. "
    "They are parsed, checked, sealed and stored a thousand at a time, each with an audit event. Before the import, "
    "the table holds none of them.",
    _run,
)
