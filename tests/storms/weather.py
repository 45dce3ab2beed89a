"""Does what a plan says: one method for each kind of fault."""

import asyncio
import sqlite3
import time
from contextlib import nullcontext, suppress

from tests.storms.control import Control
from tests.storms.fleet import Fleet
from tests.storms.plan import Fault, Plan
from tests.support.fault_proxy import FaultProxy
from tests.support.history import Action
from tests.support.postgres import PostgresServer
from tests.support.strict_provider import StrictProvider

from vault_adapters import VaultError


class Weather:
    """Causes the faults of a plan, and records the times of each."""

    def __init__(
        self,
        plan: Plan,
        fleet: Fleet,
        control: Control,
        provider: StrictProvider,
        vault,
        *,
        proxies: list[FaultProxy] = (),
        server: PostgresServer | None = None,
        sqlite_path=None,
    ) -> None:
        self._plan = plan
        self._fleet = fleet
        self._control = control
        self._provider = provider
        self._vault = vault
        self._proxies = list(proxies)
        self._server = server
        self._sqlite_path = sqlite_path
        self._down = asyncio.Lock()
        # A start may take longer than planned; the next fault of the same process waits for it.
        self._turns = [asyncio.Lock() for _ in range(plan.scale.workers)]
        self.actions: list[Action] = []
        self.erased: set[str] = set()

    async def run(self) -> None:
        """Make all faults, each at its time; return when the last one is over."""
        start = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for fault in self._plan.faults:
                group.create_task(self._make(fault, start + fault.at))

    async def _make(self, fault: Fault, at: float) -> None:
        await asyncio.sleep(max(0.0, at - time.monotonic()))
        async with self._turns[fault.worker] if fault.kind in ("kill", "stop") else nullcontext():
            begin = time.time()
            await getattr(self, f"make_{fault.kind}")(fault)
            worker = None if fault.worker is None else f"w{fault.worker}"
            self.actions.append(Action(fault.kind, begin, time.time(), worker))

    # Processes

    async def make_kill(self, fault):
        self._fleet.kill(fault.worker)
        await asyncio.sleep(fault.seconds)
        await self._fleet.start(fault.worker)

    async def make_stop(self, fault):
        self._fleet.stop(fault.worker)
        await asyncio.sleep(fault.seconds)
        self._fleet.go_on(fault.worker)

    async def make_full(self, fault):
        self._fleet.fill_disk(fault.worker, full=True)
        await asyncio.sleep(fault.seconds)
        self._fleet.fill_disk(fault.worker, full=False)

    # The way to the database

    def _hit(self, fault):
        return self._proxies if fault.worker is None else [self._proxies[fault.worker]]

    async def _link(self, fault, method, *arguments):
        hit = self._hit(fault)
        for proxy in hit:
            getattr(proxy, method)(*arguments)
        await asyncio.sleep(fault.seconds)
        for proxy in hit:
            proxy.heal()

    async def make_freeze(self, fault):
        await self._link(fault, "freeze")

    async def make_silence(self, fault):
        await self._link(fault, "silence")

    async def make_reset(self, fault):
        await self._link(fault, "reset")

    async def make_slow(self, fault):
        await self._link(fault, "slow", 0.3)

    async def make_refuse(self, fault):
        await self._link(fault, "refuse")

    async def make_restart(self, fault):
        async with self._down:
            await asyncio.to_thread(self._server.stop, fault.detail)
            await asyncio.sleep(fault.seconds)
            await asyncio.to_thread(self._server.start)

    async def make_lock(self, fault):
        connection = await asyncio.to_thread(self._locked)
        try:
            await asyncio.sleep(fault.seconds)
        finally:
            connection.close()

    def _locked(self):
        connection = sqlite3.connect(self._sqlite_path, isolation_level=None, check_same_thread=False, timeout=30)
        connection.execute("BEGIN IMMEDIATE")
        return connection

    # The rest of the world

    async def make_provider(self, fault):
        slow = fault.detail == "slow"
        latency = self._plan.scale.deadline * 0.7 if slow else 0.02
        self._provider.weather("none" if slow else fault.detail, latency=latency)
        await asyncio.sleep(fault.seconds)
        self._provider.weather(latency=0.02)

    async def make_clock(self, fault):
        self._control.set(offset=self._control.offset + float(fault.detail.removesuffix(" s")))

    async def make_rotate(self, fault):
        with suppress(VaultError):
            await self._vault.keys.rotate_data_key(fault.detail)
            await self._vault.keys.reencrypt(fault.detail)

    async def make_erase(self, fault):
        self.erased.add(fault.detail)
        with suppress(VaultError):
            await self._vault.erase_tenant(fault.detail)
