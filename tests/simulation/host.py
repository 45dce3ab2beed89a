"""A host: its process opens a vault, sweeps, and serves callers. The process may be killed, stopped and replaced."""

import asyncio
from datetime import timedelta
from pathlib import Path

from tests.simulation.database import Link, linked_store
from tests.simulation.fakes import Disk
from tests.simulation.http_client import SimulatedClient
from tests.simulation.kinds import Kind
from tests.simulation.libraries import open_library
from tests.simulation.loop import Life, Process
from tests.simulation.peers import PEERS, open_peer
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
        self.disk = Disk(world.ambush)
        self.link = Link(world.loop, world.random, world.ambush)
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
        self.process.stop, self.process.is_sweeping = asyncio.Event(), False
        self._world.processes.append(self.process)
        self.process.start(self._run(self.process))

    def kill(self):
        """Kill the process."""
        if self.process is not None:
            self._world.history.add(self.process.name, "killed")
            self.process.kill()
            self._world.oracle.on_end(self, self.process)
            self._world.sweeps.wake()  # its journal may hold answers
        self.process = self.vault = None

    def stop(self):
        """Ask the process to close its vault, as a deploy does."""
        if self.process is not None and self.process.life is Life.RUNNING:
            self.process.stopping_at = self._world.loop.time()
            self.process.stop.set()

    async def _run(self, process):
        world = self._world
        while not process.stop.is_set():
            try:
                await self._serve(process)
            except Exception as error:
                self._forget(process)
                world.history.add(process.name, f"cannot open or serve: {error}")
                if not isinstance(error, VaultError) and process.life is not Life.DEAD:
                    world.oracle.violated("crash", f"{process.name}: {type(error).__name__}: {error}")
                await asyncio.sleep(5.0)  # a supervisor starts it again
        if self.process is process:
            self.process = None

    async def _serve(self, process):
        world = self._world
        async with await self._open() as vault:
            self.vault, self.opened_at = vault, world.loop.time()
            world.history.add(process.name, "serves")
            world.sweeps.begin(self, process, vault)
            await process.stop.wait()
            self._forget(process)
        world.oracle.on_end(self, process, is_closed=process.stopped_seconds == 0)
        world.history.add(process.name, "ended")

    async def _open(self):
        """Return a context manager that gives an open vault, or a peer in its place."""
        world = self._world
        if world.peer is not None:
            open_other = open_peer if world.peer in PEERS else open_library
            return open_other(world.peer, world, self.link, self.is_lying)
        store = await linked_store(world.server, world.clock, self.link, world.loop.time)
        refreshers = {PROVIDER: refresher_of(world.kind, **self.is_lying)}
        client = SimulatedClient(world.provider, world.random, world.ambush)
        return open_vault_over(store, _CONFIG, refreshers=refreshers, http_client=client)

    def _forget(self, process):
        if self.process is process:
            self.vault = None

    async def sweep(self, process, vault):
        """Sweep once."""
        try:
            await vault.refresh_due()
        except VaultError as error:
            self._world.history.add(self.name, f"sweep: {error.code}")
        except Exception as error:
            if process.life is Life.DEAD:
                raise
            self._world.oracle.violated("crash", f"sweep: {type(error).__name__}: {error}")
        finally:
            process.is_sweeping = False


WRONG_ID, WRONG_SECRET = {"client_id": WRONG}, {"client_secret": WRONG}
