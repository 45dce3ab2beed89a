"""Functions that the child processes of the acceptance tests run."""

import asyncio
import random
from collections import defaultdict
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.support.timing import refresh_times

from vault_adapters import (
    Account,
    RefreshFailedError,
    Rotation,
    Secret,
    TokenKind,
    TokenSet,
    Tuning,
    VaultConfig,
    open_vault,
)
from vault_adapters.providers import OAuth2Refresher

SECRET = Secret("acceptance-tests-" + "0" * 40)


def describe(server):
    """Return the settings of an OAuth server that a child needs."""
    return {"token_url": server.token_url, "client_id": server.client_id, "client_secret": server.client_secret}


@asynccontextmanager
async def vault_of(
    store, server=None, *, grace=0.0, refresh_deadline=10.0, quiescence=60.0, journal_dir=None, hold=1.0, **seconds
):
    """Open a vault over a store, as a process of a service would; `seconds` are passed to `refresh_times`."""
    config = VaultConfig(
        encryption_secret=SECRET,
        scrypt_log2_n=14,
        pool_size=4,
        refresh_deadline=timedelta(seconds=refresh_deadline),
        quiescence=timedelta(seconds=quiescence),
        journal_dir=journal_dir,
        tuning=Tuning(hold_answers=timedelta(seconds=hold)),
        **store,
    )
    rotation = Rotation.grace(grace) if grace else Rotation.strict()
    refreshers = {} if server is None else {"acme": OAuth2Refresher(**server, rotation=rotation)}
    with refresh_times(**seconds):
        async with open_vault(config, refreshers=refreshers) as vault:
            yield vault


def account(number):
    return Account("t1", "acme", f"user-{number}")


async def store_pairs(vault, pairs):
    """Store the token pairs that an OAuth server issued, with access tokens that have expired."""
    past = datetime.now(UTC) - timedelta(seconds=1)
    for number, pair in enumerate(pairs):
        await vault.store_token_set(account(number), TokenSet(pair.access_token, pair.refresh_token, expires_at=past))


async def expire(vault, number):
    """Store an account's access token again, with an expiry in the past."""
    key = account(number).key(TokenKind.ACCESS_TOKEN)
    token = await vault.get_token(key)
    await vault.store_token(key, token.value, expires_at=datetime.now(UTC) - timedelta(seconds=1))


async def wait_for(signal):
    """Wait for a file that the parent makes."""
    while not _exists(signal):  # noqa: ASYNC110 - the other side is a process
        await asyncio.sleep(0.005)


def _exists(path):
    return Path(path).exists()


async def ensure_in_rounds(store, server, signals, accounts, calls, seed, options):
    """Ask for tokens from many tasks at once, round by round; return the tokens per round and account."""
    choose = random.Random(seed)
    rounds = []
    async with vault_of(store, server, **options) as vault:
        for number, signal in enumerate(signals):
            print(f"ready {number}", flush=True)
            await wait_for(signal)
            # Half of the calls are for the hot tenth of the accounts, and the others are for any account.
            hot = max(1, accounts // 10)
            wanted = [choose.randrange(hot if choose.random() < 0.5 else accounts) for _ in range(calls)]
            tokens = await asyncio.gather(*[vault.ensure_access_token(account(each)) for each in wanted])
            found = defaultdict(set)
            for each, token in zip(wanted, tokens, strict=True):
                found[each].add(token.value.reveal())
            rounds.append({str(each): sorted(values) for each, values in found.items()})
    return rounds


async def ensure_until_done(store, server, accounts, options):
    """Print "ready"; then ask for every account's token until each was returned once."""
    served = {}
    async with vault_of(store, server, **options) as vault:
        print("ready", flush=True)
        while len(served) < accounts:
            for number in range(accounts):
                if number in served:
                    continue
                try:
                    token = await vault.ensure_access_token(account(number))
                except RefreshFailedError as error:
                    await asyncio.sleep(min(error.retry_after or timedelta(0), timedelta(seconds=0.2)).total_seconds())
                else:
                    served[number] = token.value.reveal()
    return served


async def ensure_once(store, server, options):
    """Ask once for the first account's token; return it, or None if the refresh failed."""
    async with vault_of(store, server, **options) as vault:
        try:
            return (await vault.ensure_access_token(account(0))).value.reveal()
        except RefreshFailedError:
            return None


async def sweep(store, server, options=None):
    """Sweep once; return the counts of the report."""
    async with vault_of(store, server, **(options or {})) as vault:
        report = await vault.refresh_due()
    return {name: getattr(report, name) for name in ("claimed", "refreshed", "failed", "skipped")}
