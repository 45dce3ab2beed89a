"""Functions that the processes of the tests of tenants' keys run."""

import asyncio
import os
import time
from datetime import timedelta
from pathlib import Path

from tests.adapters.rotation.place import Place
from tests.adapters.rotation.workers import was_told

from vault_adapters import TokenKey, TokenKind, Tuning, VaultError


async def read_until(url, settings, secret, tokens, ttl, memory, stop):
    """Read a token of each of two tenants until a file appears; return when each was read, and why it was not."""
    settings = {name: value for name, value in settings.items() if value is not None}
    durations = {"data_key_ttl": ttl, **memory}
    more = {name: timedelta(seconds=seconds) for name, seconds in durations.items()}
    tuning = Tuning(key_service_tokens=Path(tokens))
    read, reasons = {"own": [], "other": []}, set()
    async with Place(url, **settings).vault(secret, tuning=tuning, **more) as vault:
        while not was_told(stop):
            for tenant_id, times in read.items():
                try:
                    await vault.get_token(TokenKey(tenant_id, "acme", TokenKind.API_KEY))
                except VaultError as error:
                    reasons.add(error.reason)
                else:
                    times.append(time.time())
            if all(read.values()):
                Path(f"{stop}-{os.getpid()}").touch()  # noqa: ASYNC240 - on a disk in memory
            await asyncio.sleep(0.02)
    return {**read, "reasons": sorted(map(str, reasons))}


async def move_for_ever(url, settings, secret, tokens, uris):
    """Move a tenant from key to key, until the process is killed."""
    settings = {name: value for name, value in settings.items() if value is not None}
    tuning = Tuning(key_service_tokens=Path(tokens))
    async with Place(url, **settings).vault(secret, tuning=tuning) as vault:
        print("open", flush=True)
        while True:
            for uri in uris:
                await vault.keys.set_tenant_master_key("own", uri)
