"""The first page of expiring tokens, in a small table and in a large one."""

from __future__ import annotations

from datetime import timedelta

from tests.benchmarks.bench import Bench, Case
from tests.benchmarks.findings import Goal, number
from tests.benchmarks.floors import Connection
from tests.benchmarks.timing import Contestant
from tests.benchmarks.vaults import bench_vault

from vault_adapters import TokenVault

_PAGE = 100

# The values are never opened, so any bytes do. One token in ten has been used.
_FILL = """
INSERT INTO {schema}.token (tenant_id, provider, kind, identifier, id, value_id, data_key_id, blob, status,
    expires_at, generation, created_at, updated_at)
SELECT 'tenant-' || n % 1000, 'google', 'access_token', 'user' || n || '@example.com', gen_random_uuid(),
    gen_random_uuid(),
    '\\x00112233445566778899aabbccddeeff', decode(repeat('e7', 384), 'hex'), 'valid',
    now() + (n::bigint * 7919 % {rows}) * interval '30 days' / {rows}, 1, now(), now()
FROM generate_series(1, {rows}) n;
INSERT INTO {schema}.token_use (tenant_id, provider, kind, identifier, last_used_at)
SELECT tenant_id, provider, kind, identifier, now() FROM {schema}.token WHERE get_byte(uuid_send(id), 0) < 26;
VACUUM ANALYZE {schema}.token;
VACUUM ANALYZE {schema}.token_use;
"""


async def _run(bench: Bench) -> None:
    small, large = bench.amount(10_000, 1000), bench.amount(1_000_000, 10_000)
    async with (
        bench.connection() as connection,
        bench_vault(bench.server.url, schema="few") as few,
        bench_vault(bench.server.url, schema="many") as many,
    ):
        try:
            await _fill(connection, "few", small)
            await _fill(connection, "many", large)
            of_few, of_many = _first_page(few, small), _first_page(many, large)
            series = await bench.race([of_few, of_many], 150)
            await bench.ratio(of_many, of_few, series, Goal(1.3))
        finally:
            await connection.execute("DROP SCHEMA few CASCADE")
            await connection.execute("DROP SCHEMA many CASCADE")


async def _fill(connection: Connection, schema: str, rows: int) -> None:
    for statement in _FILL.format(schema=schema, rows=rows).split(";\n"):
        if statement.strip():
            await connection.execute(statement)


def _first_page(vault: TokenVault, rows: int) -> Contestant:
    async def work() -> int:
        for _ in range(5):
            page = await vault.find_expiring_tokens(timedelta(days=3), limit=_PAGE)
            if len(page.items) != _PAGE:
                raise RuntimeError("the page is not full")
        return 5

    return Contestant(f"first page among {number(rows)} tokens", work)


EXPIRING = Case(
    "expiring",
    "Find expiring tokens",
    f"The call gets the first page of {_PAGE} tokens that expire within three days. One table has ten thousand tokens, "
    "the other has a million. A tenth of each table's tokens expire within three days. The goal allows the large table "
    "1.3 times the small one's time.",
    _run,
)
