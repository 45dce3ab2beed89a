"""Measures what a caller gets during one fault."""

import asyncio
import logging
import time
from collections.abc import Awaitable
from contextlib import AsyncExitStack, ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.storms.scenes import FAULTS, Scene, SceneFault
from tests.storms.worker import PROVIDER, SECRET
from tests.support.fault_proxy import fault_proxy
from tests.support.postgres import start_postgres
from tests.support.strict_provider import REUSED, strict_provider

from vault_adapters import Account, TokenKind, TokenSet, VaultConfig, VaultError, open_vault
from vault_adapters.providers import OAuth2Refresher

PATIENCE = 60.0
CALLS = (
    "`get_token`",
    "`ensure`, valid for a minute",
    "`ensure`, expired",
    "`ensure`, expired, `timeout=1`",
    "`store_token`",
)
USERS = ("read", "buffer", "expired", "limited", "stored", "late")


def account_of(user: str) -> Account:
    return Account("t0", PROVIDER, user)


async def measure_title(title: str, directory: str) -> None:
    """Print the row of the fault with this title, then wait until the process is killed."""
    logging.disable(logging.CRITICAL)
    await measure(next(fault for fault in FAULTS if fault.title == title), Path(directory))


async def measure(fault: SceneFault, directory: Path) -> None:
    """Print one row: what each call gave and how long it took, and when everything worked again."""
    with ExitStack() as stack:
        provider, url = stack.enter_context(strict_provider("salt", lifetime=3600))
        scene = Scene(vault=None, provider=provider)
        if fault.store == "postgres":
            scene.server = stack.enter_context(start_postgres(private=True, settings={"synchronous_commit": "on"}))
            scene.url = scene.server.create_database("faults")
            scene.proxy = stack.enter_context(fault_proxy(scene.url))
            database = scene.proxy.url
        else:
            scene.path = directory / "vault.db"
            database = f"sqlite:///{scene.path}"
        async with AsyncExitStack() as vaults:
            config = VaultConfig(
                database, encryption_secret=SECRET, scrypt_log2_n=14, journal_dir=directory / "journal"
            )
            refreshers = {PROVIDER: OAuth2Refresher(f"{url}/token", "client", "secret")}
            scene.vault = await vaults.enter_async_context(open_vault(config, refreshers=refreshers))
            await _fill(scene)
            async with fault.make(scene):
                cells = await asyncio.gather(*_calls(scene))
            cells.append(await _works_again(scene))
            if any(each.outcome == REUSED for each in provider.presented):
                cells[-1] += ", a grant is lost"
            print(f"| {fault.title} | " + " | ".join(cells) + " |", flush=True)
            await asyncio.sleep(3600)


async def _fill(scene: Scene) -> None:
    now = datetime.now(UTC)
    for user in USERS:
        ends = {"read": 3600, "stored": 3600, "buffer": 60}.get(user, -1)
        access, refresh = scene.provider.consent(f"t0/{user}")
        await scene.vault.store_token_set(
            account_of(user), TokenSet(access, refresh, expires_at=now + timedelta(seconds=ends))
        )
    # From here on, connections are open and data keys known, as in a service that has worked for a while.
    await asyncio.gather(*(scene.vault.get_account(account_of(user)) for user in USERS))


def _calls(scene: Scene) -> list[Awaitable[str]]:
    vault = scene.vault
    return [
        timed(vault.get_token(account_of("read").key(TokenKind.ACCESS_TOKEN))),
        timed(vault.ensure_access_token(account_of("buffer"))),
        timed(vault.ensure_access_token(account_of("expired"))),
        timed(vault.ensure_access_token(account_of("limited"), timeout=1)),
        timed(vault.store_token(account_of("stored").key(TokenKind.ACCESS_TOKEN), "a new value"), done="stored"),
    ]


async def timed(call: Awaitable[object], *, done: str = "token") -> str:
    """Return what a call gave and after how long."""
    begin, task = time.monotonic(), asyncio.ensure_future(call)
    await asyncio.wait([task], timeout=PATIENCE)
    if not task.done():
        return f"nothing within {PATIENCE:g} s"
    try:
        task.result()
        seen = done
    except VaultError as error:
        seen = f"`{type(error).__name__}`"
    except Exception as error:
        seen = f"bare `{type(error).__name__}`"
    return f"{seen}, {spoken(time.monotonic() - begin)}"


def spoken(seconds: float) -> str:
    """Return a duration as docs/explanation/faults.md shows it."""
    return "at once" if seconds < 0.1 else f"{seconds:.1f} s"


async def _read_and_write(scene: Scene) -> None:
    await scene.vault.ensure_access_token(account_of("late"))
    await scene.vault.store_token(account_of("stored").key(TokenKind.ACCESS_TOKEN), "another value")


async def _works_again(scene: Scene) -> str:
    begin = time.monotonic()
    while time.monotonic() < begin + PATIENCE:
        task = asyncio.ensure_future(_read_and_write(scene))
        await asyncio.wait([task], timeout=PATIENCE)
        if task.done() and task.exception() is None:
            return spoken(time.monotonic() - begin)
        await asyncio.sleep(0.05)
    return f"not within {PATIENCE:g} s"
