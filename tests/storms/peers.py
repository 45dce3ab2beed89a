"""Measures what a caller in another process gets when the process that refreshes is killed or stopped."""

import asyncio
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

from attrs import frozen
from tests.storms.worker import PROVIDER, SECRET
from tests.support.processes import Call, start_processes
from tests.support.strict_provider import ANSWERED, strict_provider

from vault_adapters import (
    Account,
    ReauthorizationRequiredError,
    TokenSet,
    VaultConfig,
    VaultError,
    open_vault,
)
from vault_adapters.providers import OAuth2Refresher

ACCOUNT = Account("t0", PROVIDER, "user")
PATIENCE = 150.0


@frozen
class PeerFault:
    """What happens to the process that refreshes; all times are in seconds.

    Attributes:
        latency: how long the provider takes for its answer.
        after: time from the refresh request to the fault.
        stopped: how long the process is stopped, or None if it is killed.
        successor: whether a killed process is started again at once.
    """

    latency: float
    after: float
    stopped: float | None = None
    successor: bool = False


PEER_FAULTS = {
    "killed before the provider answers": PeerFault(latency=3.0, after=1.0),
    "killed right after the answer, started again": PeerFault(latency=0.5, after=0.6, successor=True),
    "suspended for 15 s, the answer comes meanwhile": PeerFault(latency=1.0, after=0.5, stopped=15.0),
    "suspended for 40 s, the answer comes meanwhile": PeerFault(latency=1.0, after=0.5, stopped=40.0),
}


def vault_of(database, journal, url):
    """Open a vault with the default times."""
    config = VaultConfig(database, encryption_secret=SECRET, scrypt_log2_n=14, journal_dir=journal)
    return open_vault(config, refreshers={PROVIDER: OAuth2Refresher(f"{url}/token", "client", "secret")})


async def hold(database, journal, url):
    """Refresh the account, and keep the vault open."""
    async with vault_of(database, journal, url) as vault:
        print("open", flush=True)
        try:
            await vault.ensure_access_token(ACCOUNT)
        except VaultError as error:
            print(type(error).__name__, flush=True)
        await asyncio.sleep(3600)


async def measure_peer(fault: PeerFault) -> tuple[str, str]:
    """Return what the peer's calls gave, and after how long it had a token or knew that there is none."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vault-peers-")))
        provider, url = stack.enter_context(strict_provider("salt", lifetime=3600))
        provider.weather(latency=fault.latency)
        database = f"sqlite:///{directory}/vault.db"
        holding = Call(hold, [database, str(directory / "holder"), url])
        async with vault_of(database, directory / "peer", url) as vault:
            access, refresh = provider.consent("t0/user")
            past = datetime.now(UTC) - timedelta(seconds=1)
            await vault.store_token_set(ACCOUNT, TokenSet(access, refresh, expires_at=past))
            group = stack.enter_context(start_processes([holding]))
            await asyncio.to_thread(group.go)
            while not any(each.outcome == ANSWERED for each in provider.presented):  # noqa: ASYNC110 - another thread
                await asyncio.sleep(0.005)
            watching = asyncio.create_task(_watch(vault, time.monotonic()))
            await asyncio.sleep(fault.after)
            if fault.stopped is None:
                group[0].kill()
                if fault.successor:
                    again = stack.enter_context(start_processes([holding]))
                    await asyncio.to_thread(again.go)
            else:
                group[0].pause()
                await asyncio.sleep(fault.stopped)
                group[0].resume()
            return await watching


async def _watch(vault, begin: float) -> tuple[str, str]:
    """Ask again after each error, as a caller does; stop at a token or at a final error."""
    seen: list[str] = []
    while time.monotonic() < begin + PATIENCE:
        try:
            await vault.ensure_access_token(ACCOUNT)
        except ReauthorizationRequiredError:
            return ", then ".join([*seen, "`ReauthorizationRequiredError`"]), f"{time.monotonic() - begin:.1f} s"
        except VaultError as error:
            name = f"`{type(error).__name__}`"
            if not seen or not seen[-1].startswith(name):
                seen.append(f"{name} after {time.monotonic() - begin:.1f} s")
            await asyncio.sleep(0.1)
        else:
            return ", then ".join([*seen, "the token"]), f"{time.monotonic() - begin:.1f} s"
    return ", ".join(seen), f"not within {PATIENCE:g} s"
