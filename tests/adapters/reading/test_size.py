"""The memory of remembered rows is bounded: by their number, and by the bytes for each of them."""

import gc
import tracemalloc
from datetime import UTC, datetime, timedelta

from vault_adapters import TokenKey, TokenKind, open_vault

ROWS = 200
VALUE = "ya29." + "a0AfB_byC" * 28  # 257 bytes, as in the benchmarks
MOST_BYTES = 4096
"""Largest number of bytes for a row; the page on reads has the number that was measured."""


async def test_a_remembered_row_takes_few_bytes(tmp_path, make_config):
    config = make_config(f"sqlite:///{tmp_path}/vault.db", read_cache=timedelta(hours=1), read_cache_size=ROWS)
    keys = [
        TokenKey(f"tenant-{n % 20}", "google", TokenKind.ACCESS_TOKEN, f"user{n}@example.com") for n in range(2 * ROWS)
    ]
    expires_at = datetime.now(UTC) + timedelta(days=1)
    async with open_vault(config) as vault:
        await vault.store_tokens([(key, VALUE, expires_at) for key in keys])
        rows = vault._services.tokens._reader._rows
        await vault.get_tokens(keys[:50])
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for key in keys:
            await vault.get_token(key)
        vault._services.tokens._uses._pending.clear()
        vault._services.tokens._uses._recorded.clear()
        gc.collect()
        remembered = len(rows)
        each = (tracemalloc.get_traced_memory()[0] - before) / remembered
        tracemalloc.stop()
    print(f"{each:.0f} bytes for each remembered row")
    assert remembered == ROWS
    assert 500 < each < MOST_BYTES
