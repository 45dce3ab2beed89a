"""What one process of a busy service does, for the tests that count requests and what the process holds."""

import asyncio
import ctypes
import gc
import os
import sys
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.storms.worker import PROVIDER, SECRET

from vault_adapters import Account, TokenKind, TokenSet, VaultConfig, open_vault
from vault_adapters.providers import OAuth2Refresher

PAUSE = 0.02

_LARGE, _LARGE_SIZE = 100, 40_000
_AT_ONCE = 5000
_STRIDE = 7919  # a prime, so that the reads go through all of the tokens, and each read is of another tenant


def account(number):
    return Account("t0", PROVIDER, f"user-{number}")


def scattered(number):
    """Return the key of one of many tokens, which belong to 500 tenants."""
    return Account(f"tenant-{number % 500}", PROVIDER, f"user-{number}").key(TokenKind.ACCESS_TOKEN)


@asynccontextmanager
async def vault_of(store, url, journal, **settings):
    config = VaultConfig(encryption_secret=SECRET, scrypt_log2_n=14, journal_dir=journal, **store, **settings)
    refreshers = {PROVIDER: OAuth2Refresher(f"{url}/token", "client", "secret")}
    async with open_vault(config, refreshers=refreshers) as vault:
        yield vault


async def fill(vault, pairs, *, seconds):
    """Store pairs of tokens whose access tokens expire in so many seconds."""
    ends = datetime.now(UTC) + timedelta(seconds=seconds)
    for number, (access, refresh) in enumerate(pairs):
        await vault.store_token_set(account(number), TokenSet(access, refresh, expires_at=ends))


async def call_together(vault, calls, accounts):
    """Make so many concurrent calls, spread evenly over the accounts; return the values that each account got."""
    wanted = [number % accounts for number in range(calls)]
    tokens = await asyncio.gather(*(vault.ensure_access_token(account(number)) for number in wanted))
    found = {}
    for number, token in zip(wanted, tokens, strict=True):
        found.setdefault(number, set()).add(token.value.reveal())
    return found


async def work_for(store, url, journal, pairs, seconds, every, many=0):
    """Read, refresh and store for `seconds`; return samples of what the process held, one for every `every` seconds.

    If ``many`` is not 0, the vault also stores so many further tokens, and a read cache holds some of them. Each call
    also reads one of the further tokens.
    """
    samples, number = [], 0
    async with vault_of(store, url, journal, read_cache=timedelta(seconds=30) if many else None) as vault:
        await fill(vault, pairs, seconds=1)
        await _fill_page_caches(vault)
        await _scatter(vault, many)
        begin = time.monotonic()
        while time.monotonic() < begin + seconds:
            due = begin + every * (len(samples) + 1)
            while time.monotonic() < due:
                number += 1
                await asyncio.gather(*(_mixed(vault, 8 * number + each, len(pairs), many) for each in range(8)))
                await asyncio.sleep(PAUSE)
            samples.append({**held(), "calls": 8 * number})
    return samples


async def _fill_page_caches(vault):
    """Write and read more than SQLite keeps in memory: it holds up to 2 MB of the file for each connection."""
    keys = [Account("t2", PROVIDER, f"user-{number}").key(TokenKind.API_KEY) for number in range(_LARGE)]
    for key in keys:
        await vault.store_token(key, "v" * _LARGE_SIZE)
    for key in keys:
        await vault.get_token(key)


async def _scatter(vault, many):
    """Store many tokens, and read each of them, so that the caches of rows and of data keys are full."""
    ends = datetime.now(UTC) + timedelta(days=1)
    for begin in range(0, many, _AT_ONCE):
        keys = [scattered(number) for number in range(begin, min(begin + _AT_ONCE, many))]
        await vault.store_tokens([(key, "a value", ends) for key in keys])
        await vault.get_tokens(keys)


async def _mixed(vault, number, accounts, many):
    if many:
        await vault.get_token(scattered(_STRIDE * number % many))
    whose = account(number % accounts)
    await vault.ensure_access_token(whose)
    await vault.get_token(whose.key(TokenKind.ACCESS_TOKEN))
    await vault.store_token(Account("t1", PROVIDER, f"user-{number % 50}").key(TokenKind.API_KEY), f"value {number}")
    if number % 50 == 0:
        await vault.refresh_due(limit=5)


def held():
    """Return what this process holds now.

    ``blocks`` are those that Python's allocator has given out, and ``bytes`` those of C (None where the C library does
    not tell). ``memory`` is what the kernel counts; it includes free memory that the allocators keep.
    """
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "blocks": sys.getallocatedblocks(),
        "bytes": _given_by_malloc(),
        "memory": pages * os.sysconf("SC_PAGE_SIZE"),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "tasks": len(asyncio.all_tasks()),
    }


class _MallocInfo(ctypes.Structure):
    """What glibc's ``mallinfo2`` returns."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks"),
            "keepcost",
        )
    ]


def _given_by_malloc():
    mallinfo = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if mallinfo is None:
        return None
    mallinfo.restype = _MallocInfo
    info = mallinfo()
    return info.uordblks + info.hblkhd
