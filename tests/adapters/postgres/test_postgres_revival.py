"""Finding condemned credentials among many others."""

import asyncio
from datetime import UTC, datetime, timedelta

from tests.adapters.postgres.samples import SCHEMA, prepare

from vault_adapters.stores.postgres.store import open_postgres_store
from vault_domain.ports.pages import Condemned

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


async def test_condemned_credentials_are_read_from_their_index(url, execute):
    scans = (
        f"SELECT idx_scan FROM pg_stat_user_indexes WHERE schemaname = '{SCHEMA}' AND indexrelname = 'token_rejected'"
    )
    async with open_postgres_store(url, migrate=True, schema=SCHEMA) as store:
        await prepare(store)
        execute(
            f"INSERT INTO {SCHEMA}.token (tenant_id, provider, kind, identifier, id, value_id, data_key_id, blob,"
            " status, generation, created_at, updated_at, rejected_at)"
            " SELECT 'acme', 'google', 'refresh_token', n::text, gen_random_uuid(), gen_random_uuid(),"
            " '0123456789abcdef', '', 'invalid', 1, now(), now(), CASE WHEN n = 7 THEN now() END"
            " FROM generate_series(1, 5000) n"
        )
        execute(f"ANALYZE {SCHEMA}.token")
        before = execute(scans)
        condemned = Condemned("google", LONG_AGO, datetime.now(UTC) + timedelta(hours=1))
        assert len(await store.pages.tokens(condemned, limit=500, after=None)) == 1
    # The server adds the scans of a session to its statistics when the session ends, or else after ten seconds.
    async with asyncio.timeout(60):
        while execute(scans) == before:  # noqa: ASYNC110 - the server does not tell of it
            await asyncio.sleep(0.05)
