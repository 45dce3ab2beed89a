"""Importing tokens of another system."""

from __future__ import annotations

from tests.benchmarks.bench import Bench, Case
from tests.benchmarks.findings import Goal
from tests.benchmarks.floors import parts
from tests.benchmarks.timing import Contestant
from tests.benchmarks.vaults import EXPIRY, VALUE, access_keys, bench_vault

from vault_adapters import Secret
from vault_adapters.runtime import CallbackSink
from vault_adapters.stores.postgres.store import open_postgres_store
from vault_adapters.tasks import AsyncioTasks
from vault_domain.imported import ImportedToken
from vault_domain.services.importing import ImportOptions, ImportService


async def _run(bench: Bench) -> None:
    keys = sorted(access_keys(bench.amount(10_000, 300), name="import"), key=parts)
    async with (
        bench_vault(bench.server.url) as vault,
        open_postgres_store(bench.server.url, migrate=True) as store,
        bench.connection() as connection,
    ):
        service = ImportService(store.imports, vault._services.tokens._cipher, CallbackSink(None), AsyncioTasks())

        async def import_all() -> int:
            rows = (ImportedToken(key, Secret(VALUE), expires_at=EXPIRY, line=n) for n, key in enumerate(keys, 1))
            report = await service.run(rows, ImportOptions(source="benchmark"), None, actor=None)
            if report.imported != len(keys):
                raise RuntimeError(f"{report.imported} of {len(keys)} rows were imported")
            return report.imported

        async def forget() -> None:
            await connection.execute("DELETE FROM token_vault.token WHERE tenant_id LIKE 'import-%'")
            await connection.execute("VACUUM token_vault.token")

        ours = Contestant("import of plain rows", import_all, forget)
        series = await bench.race([ours], 9)
        await bench.rate(ours, series, "rows/s", Goal(20_000, at_least=True))


IMPORTING = Case(
    "import",
    "Import tokens of another system",
    "Plain rows that were parsed already, ten thousand of twenty tenants, into a table that holds none of "
    "them: checked, sealed and stored a thousand at a time, each with an audit event.",
    _run,
)
