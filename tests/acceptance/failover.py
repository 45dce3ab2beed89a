"""Two processes that refresh while the primary is killed and its standby is promoted."""

import asyncio
import random
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from attrs import frozen
from tests.acceptance.crowd import SECRET, account
from tests.support.postgres_standby import start_failover_pair
from tests.support.processes import Call, start_processes
from tests.support.strict_provider import ANSWERED, REUSED, REVOKED, digest, strict_provider

from vault_adapters import (
    ConnectionState,
    RefreshFailedError,
    TokenKind,
    TokenSet,
    Tuning,
    VaultConfig,
    VaultError,
    open_vault,
)
from vault_adapters.providers import OAuth2Refresher

_PATIENCE = 120.0
SALT = "failover"


@frozen
class Setup:
    """The replication, the time for which answers are held, and the processes that fail.

    Attributes:
        synchronous: whether commits wait for the standby.
        hold: `Tuning.hold_answers` in seconds.
        dies: whether the processes die together with the primary.
        journaled: whether the processes that replace dead ones use the journals that the dead ones left.
    """

    synchronous: bool
    hold: float
    dies: bool = False
    journaled: bool = True


@frozen
class Outcome:
    """The counts of one run.

    Attributes:
        refreshes: number of refreshes that the provider answered before the failover.
        lag: number of them that came while the standby got nothing; commits of earlier ones may be lost too.
        presented_again: number of requests with a spent refresh token.
        revoked: number of accounts whose grant the provider has revoked.
        connected: number of accounts that were refreshed after the failover, and are connected.
    """

    refreshes: int
    lag: int
    presented_again: int
    revoked: int
    connected: int


def vault_of(url, hold, journal, provider):
    config = VaultConfig(
        url,
        encryption_secret=SECRET,
        scrypt_log2_n=14,
        pool_size=4,
        tuning=Tuning(hold_answers=timedelta(seconds=hold)),
        journal_dir=journal,
    )
    refresher = OAuth2Refresher(f"{provider}/token", "client", "secret")
    return open_vault(config, refreshers={"acme": refresher})


async def refresh_until(url, hold, journal, provider, accounts, seed, ending):
    """Refresh accounts in any order, whether they are due or not, until the file ``ending`` is there."""
    choose = random.Random(seed)
    async with vault_of(url, hold, journal, provider) as vault:
        print("ready", flush=True)

        async def work():
            while not Path(ending).exists():  # noqa: ASYNC240 - a short question to the system
                try:
                    await vault.refresh_account(account(choose.randrange(accounts)))
                except RefreshFailedError:
                    await asyncio.sleep(choose.uniform(0, 0.1))
                except VaultError:
                    await asyncio.sleep(choose.uniform(0, 0.05))

        await asyncio.gather(*[work() for _ in range(4)])


async def fail_over(setup, accounts, seed, directory):
    """Let two processes refresh, kill the primary at a random moment, promote the standby; return the outcome."""
    choose = random.Random(seed)
    with (
        start_failover_pair(synchronous=setup.synchronous) as pair,
        strict_provider(SALT, lifetime=60, seed=seed) as (provider, address),
    ):
        provider.weather(latency=0.02)
        async with vault_of(pair.url, setup.hold, None, address) as vault:
            for number in range(accounts):
                access, refresh = provider.consent(account(number).identifier)
                expires_at = datetime.now(UTC) + timedelta(seconds=60)
                await vault.store_token_set(account(number), TokenSet(access, refresh, expires_at=expires_at))
        ending = directory / "ending"

        def jobs(journals):
            names = [str(directory / f"{journals}{each}") for each in range(2)]
            common = [pair.url, setup.hold]
            return [Call(refresh_until, [*common, name, address, accounts, name, str(ending)]) for name in names]

        with start_processes(jobs("journal")) as group:
            group.go()
            for child in group:
                await asyncio.to_thread(child.wait_for_output, "ready")
            await until(lambda: len(provider.presented) >= accounts)
            counts, failed_at = await asyncio.to_thread(disaster, setup, pair, provider, group, choose)
            if not setup.dies:
                await refreshed_again(provider, accounts, failed_at)
                ending.touch()
                group.results(timeout=_PATIENCE)
        if setup.dies:
            with start_processes(jobs("journal" if setup.journaled else "other")) as group:
                group.go()
                await refreshed_again(provider, accounts, failed_at)
                ending.touch()
                group.results(timeout=_PATIENCE)
        async with vault_of(pair.url, setup.hold, None, address) as vault:
            connected = [number for number in range(accounts) if await is_connected(vault, provider, number)]
        return outcome(provider, counts, connected)


def disaster(setup, pair, provider, group, choose):
    """Kill the primary at a random moment and promote its standby.

    Returns:
        Two counts, and the time of the kill. The first count is of all refreshes before the kill. The second is of the
        refreshes that came while the standby got nothing.
    """
    time.sleep(choose.uniform(0, 0.3))
    reached = answered(provider)
    if not setup.synchronous:
        pair.cut_replication()
        time.sleep(choose.uniform(0.05, 0.2))
    if setup.dies:
        # Nobody can save an answer that is on its way to a process that dies. So the provider gives no tokens just
        # before the kill.
        provider.weather("unavailable")
        time.sleep(0.5)
    total, failed_at = answered(provider), time.time()
    pair.kill_primary()
    if setup.dies:
        for child in group:
            child.kill()
    pair.promote()
    provider.weather(latency=0.02)
    return (total, 0 if setup.synchronous else total - reached), failed_at


def answered(provider):
    return sum(each.outcome == ANSWERED for each in provider.presented)


async def refreshed_again(provider, accounts, since):
    """Wait until each account was refreshed after the failover, or its grant is revoked."""

    def is_done():
        presented = list(provider.presented)
        late = {each.account for each in presented if each.at > since and each.outcome == ANSWERED}
        return len(late | revoked(provider)) == accounts

    await until(is_done)


def revoked(provider):
    return {family.account for family in list(provider.families.values()) if family.revoked_at is not None}


async def until(is_done):
    async with asyncio.timeout(_PATIENCE):
        while not is_done():  # noqa: ASYNC110 - the others are processes and threads
            await asyncio.sleep(0.02)


async def is_connected(vault, provider, number):
    """Return whether an account is connected, with the refresh token that its provider would take."""
    info = await vault.get_account(account(number))
    if info.state is not ConnectionState.CONNECTED:
        return False
    token = await vault.get_token(account(number).key(TokenKind.REFRESH_TOKEN))
    return provider.is_live(digest(SALT, token.value.reveal()))


def outcome(provider, counts, connected):
    again = sum(each.outcome in (REUSED, REVOKED) for each in provider.presented)
    return Outcome(*counts, again, len(revoked(provider)), len(connected))
