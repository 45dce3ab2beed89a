"""A host: a process that opens a vault, sweeps, and serves callers. It may be killed, stopped and replaced."""

import asyncio
from datetime import timedelta
from pathlib import Path

from tests.simulation.database import Link, linked_store
from tests.simulation.fakes import Disk
from tests.simulation.http_client import SimulatedClient
from tests.simulation.kinds import Kind
from tests.simulation.loop import Life, Process
from tests.simulation.provider import CLIENT_ID, CLIENT_SECRET, WRONG

from vault_adapters import Rotation, VaultConfig, VaultError
from vault_adapters.composition import open_vault_over
from vault_adapters.providers import ClientCredentialsRefresher, MetaTokenExchangeRefresher, OAuth2Refresher

PROVIDER = "provider"
_URL = "https://provider.example/token"
_CONFIG = VaultConfig(encryption_secret="an encryption secret that the fakes ignore", journal_dir=Path("disk"))


def refresher_of(kind: Kind, client_id=CLIENT_ID, client_secret=CLIENT_SECRET):
    """Return the refresher that a host would configure for a kind of provider."""
    if kind.grant == "client_credentials":
        return ClientCredentialsRefresher(_URL)
    if kind.grant == "meta":
        return MetaTokenExchangeRefresher("app", "app-secret", token_url=_URL)
    rotation = Rotation.grace(kind.grace) if kind.rotation == "grace" else getattr(Rotation, kind.rotation)()
    idle = None if kind.idle is None else timedelta(seconds=kind.idle)
    return OAuth2Refresher(
        _URL,
        client_id,
        client_secret,
        rotation=rotation,
        idle_lifetime=idle,
        old_token_dies=kind.old_token_dies,
    )


class Host:
    """One host: its disk outlasts its processes.

    Attributes:
        process: the process that runs now; None between two of them.
        vault: its open vault; None while it opens or closes.
    """

    def __init__(self, world, name):
        self._world, self.name = world, name
        self.disk = Disk()
        self.link = Link(world.loop, world.random)
        self.process, self.vault, self._runs, self.opened_at = None, None, 0, 0.0
        self.is_lying = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}

    @property
    def is_serving(self):
        """Whether callers find an open vault here."""
        return self.vault is not None and self.process.life is Life.RUNNING

    def start(self):
        """Start a process."""
        self._runs += 1
        self.process = Process(self._world.loop, f"{self.name}.{self._runs}")
        self.process.disk = self.disk
        self.process.stop = asyncio.Event()
        self._world.processes.append(self.process)
        self.process.start(self._run(self.process))

    def kill(self):
        """Kill the process."""
        if self.process is not None:
            self.process.kill()
            self._world.oracle.on_kill(self)
        self.process = self.vault = None

    def stop(self):
        """Ask the process to close its vault, as a deploy does."""
        if self.process is not None and self.process.life is Life.RUNNING:
            self.process.stop.set()

    async def _run(self, process):
        world = self._world
        while True:
            try:
                await self._serve(process)
            except VaultError as error:  # the database is away; a supervisor starts it again
                world.history.add(process.name, f"cannot open: {error.code}")
                self._forget(process)
                await asyncio.sleep(5.0)
            else:
                break
        if self.process is process:
            self.process = None

    async def _serve(self, process):
        world = self._world
        store = await linked_store(world.server, world.clock, self.link)
        refreshers = {PROVIDER: refresher_of(world.kind, **self.is_lying)}
        client = SimulatedClient(world.provider, world.random)
        async with open_vault_over(store, _CONFIG, refreshers=refreshers, http_client=client) as vault:
            self.vault, self.opened_at = vault, world.loop.time()
            world.history.add(process.name, "serves")
            await self._sweep_until_stopped(process, vault)
            self._forget(process)
        world.history.add(process.name, "ended")

    def _forget(self, process):
        if self.process is process:
            self.vault = None

    async def _sweep_until_stopped(self, process, vault):
        world = self._world
        while not process.stop.is_set():
            pause = world.random.uniform(0.8, 1.2) * world.sweep_seconds
            try:
                async with asyncio.timeout(pause):
                    await process.stop.wait()
            except TimeoutError:
                await self._sweep(vault)

    async def _sweep(self, vault):
        try:
            await vault.refresh_due()
        except VaultError as error:
            self._world.history.add(self.name, f"sweep: {error.code}")


WRONG_ID, WRONG_SECRET = {"client_id": WRONG}, {"client_secret": WRONG}
