"""A process of a service in a storm: it opens a vault, calls it from several tasks, and records the results."""

import asyncio
import json
import logging
import os
import random
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext, suppress
from datetime import timedelta
from pathlib import Path

from attrs import define, frozen
from tests.storms.control import Control, Phase, SteppedClock
from tests.support.history.recording import Recorder
from tests.support.machine_clock import machine_clock
from tests.support.strict_provider import digest
from tests.support.timing import refresh_times

from vault_adapters import Account, StorageError, TokenKind, TokenSet, VaultConfig, VaultError, open_vault
from vault_adapters.providers import OAuth2Refresher

SECRET = "a secret for storms, which is long enough to be taken"
PROVIDER = "acme"

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@frozen(kw_only=True)
class Settings:
    """What a worker needs; its process receives it as JSON."""

    name: str
    directory: str
    journal: str
    store: dict
    provider: str
    salt: str
    seed: int
    accounts: list
    deadline: float
    slack: float
    commit_budget: float
    quiescence: float
    clock: bool
    tasks: int = 4
    pause: float = 0.04


def account_of(name):
    """Return the account that a history names."""
    tenant, identifier = name.split("/")
    return Account(tenant, PROVIDER, identifier)


def refresher_of(settings):
    """Return the real refresher, whose requests carry the name of the process."""
    return OAuth2Refresher(f"{settings.provider}/token", "client", "secret", extra={"sender": settings.name})


@asynccontextmanager
async def vault_of(settings, control):
    """Open the vault as a service does.

    A stepped clock replaces the machine's clock on SQLite, and the server's clock on Postgres.
    """
    config = VaultConfig(
        encryption_secret=SECRET,
        scrypt_log2_n=14,
        refresh_deadline=timedelta(seconds=settings.deadline),
        answer_deadline=timedelta(seconds=settings.deadline),
        quiescence=timedelta(seconds=settings.quiescence),
        journal_dir=settings.journal,
        **settings.store,
    )
    refreshers, clock = {PROVIDER: refresher_of(settings)}, SteppedClock(control)
    is_sqlite = settings.store["database_url"].startswith("sqlite")
    async with AsyncExitStack() as stack:
        with machine_clock(clock.now) if is_sqlite and settings.clock else nullcontext():
            given = clock if settings.clock and not is_sqlite else None
            vault = await stack.enter_async_context(open_vault(config, refreshers=refreshers, clock=given))
        yield vault


async def work(fields):
    """Run a worker until the storm says stop."""
    logging.basicConfig(level=logging.WARNING)
    settings = Settings(**fields)
    recorder = Recorder(Path(settings.directory) / f"{settings.name}.history")
    recorder.write("started")
    control = Control(Path(settings.directory) / "control")
    with refresh_times(commit_budget=settings.commit_budget, slack=settings.slack):
        async with AsyncExitStack() as stack:
            vault = await _open(settings, control, stack)
            if vault is None:
                return
            recorder.write("opened")
            await _Worker(settings, control, recorder, vault).run()
            begin = time.time()
        recorder.write("call", op="close", account="", begin=begin, limit=20.0)


async def _open(settings, control, stack):
    """Open the vault, and try again while the database is away; return None if the storm ends first."""
    while control.phase is not Phase.STOP:
        try:
            return await stack.enter_async_context(vault_of(settings, control))
        except StorageError:
            await asyncio.sleep(0.1)
    return None


@define(eq=False)
class _Worker:
    settings: Settings
    control: Control
    recorder: Recorder
    vault: object
    running: dict = None

    async def run(self):
        self.running = {}
        choose = random.Random(f"{self.settings.seed} {self.settings.name}")
        await asyncio.sleep(0.2)
        self._sample()
        callers = [
            asyncio.create_task(self._calls(random.Random(choose.getrandbits(64)))) for _ in range(self.settings.tasks)
        ]
        while self.control.phase < Phase.STOP:  # noqa: ASYNC110 - the storm is another process
            await asyncio.sleep(0.1)
        _, late = await asyncio.wait(callers, timeout=40)
        for op, name, begin in list(self.running.values()):
            self.recorder.write("hung", op=op, account=name, begin=begin)
        for task in late:
            task.cancel()
        await asyncio.sleep(0.3)
        self._sample()

    def _sample(self):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.recorder.write(
            "sample",
            memory=pages * os.sysconf("SC_PAGE_SIZE"),
            descriptors=len(os.listdir("/proc/self/fd")),
            tasks=len(asyncio.all_tasks()),
        )

    async def _calls(self, choose):
        while (phase := self.control.phase) < Phase.STOP:
            if phase is not Phase.WAIT:
                await self._one(choose, calm=phase is Phase.CALM)
            await asyncio.sleep(choose.uniform(0, 2 * self.settings.pause))

    async def _one(self, choose, *, calm):
        name = choose.choice(self.settings.accounts)
        account, dice = account_of(name), choose.random()
        if dice < 0.5:
            limit = choose.choice([None, 1.0])
            code = await self._record(
                "ensure", name, lambda: self.vault.ensure_access_token(account, timeout=limit), limit
            )
            if code == "reauthorization_required" and not calm and choose.random() < 0.2:
                await self._connect(name)
        elif dice < 0.73:
            await self._record("get_access", name, lambda: self.vault.get_access_token(account))
        elif dice < 0.96:
            key = account.key(TokenKind.ACCESS_TOKEN)
            await self._record("get_token", name, lambda: self.vault.get_token(key))
        elif dice < 0.98:
            await self._record("sweep", "", lambda: self.vault.refresh_due(limit=5))
        elif calm:
            return
        elif dice < 0.99:
            await self._connect(name)
        elif self.settings.accounts.index(name) % 4 == 0:
            self.recorder.write("begin", op="refresh", account=name)
            await self._record("refresh", name, lambda: self.vault.refresh_account(account))

    async def _connect(self, name):
        """Let the user connect the account again, and store what the provider issued."""
        try:
            answer = await asyncio.to_thread(consent, self.settings.provider, name)
        except OSError:
            return
        self.recorder.write("begin", op="store", account=name)
        tokens = TokenSet.from_response(answer)
        await self._record("store", name, lambda: self.vault.store_token_set(account_of(name), tokens))

    async def _record(self, op: str, name: str, call: Callable[[], Awaitable], limit=None):
        begin, offset = time.time(), self.control.offset
        number = object()
        self.running[number] = (op, name, begin)
        fields = {}
        try:
            fields = self._fields(await call())
        except VaultError as error:
            fields["error"] = error.code
        except Exception as error:
            fields["error"] = f"bare {type(error).__qualname__}"
        finally:
            self.running.pop(number, None)
        clock = {"offset": offset, "stepped": self.control.offset != offset}
        self.recorder.write("call", op=op, account=name, begin=begin, limit=limit, **clock, **fields)
        return fields.get("error")

    def _fields(self, result):
        token = getattr(result, "token", result)
        if not hasattr(token, "value"):
            return {}
        info = token.info
        return {
            "value": digest(self.settings.salt, token.value.reveal()),
            "token_id": info.id.hex[:12],
            "value_id": info.value_id.hex[:12],
            "generation": info.generation,
            "expires_at": None if info.expires_at is None else info.expires_at.timestamp(),
        }


def consent(provider, name):
    """Have the provider issue a new grant."""
    request = urllib.request.Request(
        f"{provider}/consent", f"account={name}".encode(), {"Content-Type": "application/x-www-form-urlencoded"}
    )
    with suppress(urllib.error.HTTPError), _OPENER.open(request, timeout=10) as response:
        return json.load(response)
    raise OSError("the provider gave nothing")
