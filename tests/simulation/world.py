"""A world: a provider, a database, several hosts, callers and faults, all determined by a seed."""

import asyncio
import gc
import logging
import random as randomness
import sys
import time
from functools import cache
from itertools import count
from random import Random

from attrs import frozen
from tests.simulation.ambush import Ambush
from tests.simulation.callers import Callers
from tests.simulation.copies import fast_values
from tests.simulation.database import MOST_EVENTS, Server
from tests.simulation.fakes import Naps, WorldClock, fake_ports
from tests.simulation.faults import Faults
from tests.simulation.history import History
from tests.simulation.host import PROVIDER, Host
from tests.simulation.kinds import DAY, KINDS
from tests.simulation.libraries import library_time
from tests.simulation.loop import Life, Process, VirtualLoop
from tests.simulation.measures import Measures
from tests.simulation.oracle import Oracle
from tests.simulation.patience import Patience
from tests.simulation.peers import BUFFER, PeerTables, is_due
from tests.simulation.provider import CLIENT_ID, CLIENT_SECRET, Provider
from tests.simulation.sweeps import Sweeps

from vault_adapters import Account, Secret, TokenKind, TokenSet, VaultError

_BUSY = 300.0
"""Seconds for which callers ask more often after a fault has begun or ended."""

_RECOVERY = 7200.0

_SECOND_TRY = 300.0
"""Seconds after which a user who got an error connects an account once more."""

_MOST_WAITS = 50


@frozen
class Outcome:
    """The result of one world.

    Attributes:
        seed, kind: what replays it.
        violations: what the oracle found, earliest first.
        account_days: accounts times days that were simulated.
        requests: requests that the provider got.
        history: what happened, if it was kept.
        seconds: time of the processor that the world took.
        days: simulated days if the caller of `run` chose them; None: the days of the kind.
        measures: what users and the provider saw.
    """

    seed: int
    kind: str
    violations: tuple[str, ...]
    account_days: float
    requests: int
    history: str
    seconds: float
    days: float | None
    measures: Measures


class World:
    """Everything that a seed determines. `run` plays it once."""

    def __init__(self, seed, kind, *, is_verbose=False, days=None, only_fault=None, peer=None, is_measured=False):
        self.seed, self.kind = seed, KINDS[kind]
        self.random = Random(f"{seed} {kind}")
        self.loop = VirtualLoop(self.random.random())
        self.clock = WorldClock(self.loop)
        self.history = History(self.loop.time, is_kept=is_verbose)
        self.violations, self.processes, self._accounts = [], [], {}
        self.sweeps = Sweeps(self)
        self.server = Server(MOST_EVENTS, self.sweeps.arm)
        self.oracle, self.measures = Oracle(self), Measures()
        self.patience = Patience(self)
        self.provider = Provider(self.loop, self.kind, self.random, self.history, self.oracle, self.patience)
        self.peer, self.is_measured, self.peer_tables = peer, is_measured, PeerTables({}, {}, self.clock)
        self.ambush = Ambush(self.loop)
        self.faults, self.callers = Faults(self), Callers(self)
        self._given_days, self.days = days, days or self.kind.days
        self.sweep_seconds = self.random.choice((300.0, 900.0, 1800.0) if self.kind.grant != "meta" else (300.0,))
        self.sweeps_together = self.random.random() < 0.5
        self.hosts = [Host(self, f"host{number}") for number in range(1, self.random.randint(2, 4))]
        self.naps = Naps(self.loop, [host.disk for host in self.hosts], self.sweeps.wake)
        self.is_client_wrong, self.mended_at, self.ever_refused = False, None, set()
        self.clock_was_stepped, self.stepped_at = False, float("-inf")
        self._only_fault = only_fault
        self._busy_until, self.is_recovering = 0.0, False

    def run(self):
        """Play the world and return its outcome."""
        started = time.process_time()
        randomness.seed(self.seed)
        with fake_ports(self.loop, self.naps), fast_values(), library_time(self):
            try:
                self.loop.run_until_complete(self._play())
                return Outcome(
                    self.seed,
                    self.kind.name,
                    tuple(self.violations),
                    len(self.provider.grants) * self.loop.time() / DAY,
                    self.provider.requests,
                    self.history.text(),
                    time.process_time() - started,
                    self._given_days,
                    self.measures,
                )
            finally:
                self._end()

    # What hosts, faults and oracle use

    def account(self, number):
        """Return the account of a grant; two accounts share a tenant."""
        account = self._accounts.get(number)
        if account is None:
            account = self._accounts[number] = Account(f"tenant{number // 2}", PROVIDER, f"user{number}")
        return account

    def processes_of(self, host):
        """Return all processes that a host ever had."""
        return [process for process in self.processes if process.name.startswith(f"{host.name}.")]

    def later(self, seconds, action, *args):
        """Do something outside of all processes."""
        self.loop.outside(seconds, action, *args)

    def until(self, seconds, undo):
        """Undo a fault after some seconds; from then on, callers ask more often for a while."""
        self.later(seconds, self._end_fault, undo)

    def trouble(self):
        """Let callers ask more often for a while."""
        self.sweeps.wake()
        self._busy_until = max(self._busy_until, self.loop.time() + _BUSY)

    @property
    def is_busy(self):
        """Whether callers ask more often than usual."""
        return self.loop.time() < self._busy_until

    def _end_fault(self, undo):
        self.trouble()
        undo()

    def has_due(self):
        """Return whether a sweep would find an account."""
        if self.peer is not None:
            now = self.clock.now()
            return any(not row.is_condemned and is_due(row, now, 2 * BUFFER) for row in self.peer_tables.rows.values())
        return self.server.has_due(self.clock)

    def step_clock(self, seconds):
        """Step the database's clock."""
        self.clock.offset += seconds
        self.sweeps.wake()
        self.clock_was_stepped, self.stepped_at = True, self.loop.time()
        self.patience.on_step()

    def on_some_vault(self, action):
        """Run a coroutine function with a vault, in the vault's process."""
        host = self.random.choice(self.hosts)
        if host.is_serving:
            host.process.start(self._quietly(action, host.vault))

    async def rotate_keys(self, vault):
        """Rotate data keys and re-encrypt, as an operator does."""
        if self.peer is not None:
            return
        await vault.keys.rotate_data_key(self.account(self.random.choice(self.provider.grants).number).tenant_id)
        await vault.keys.reencrypt()

    async def connect_again(self, vault, number):
        """Let a user connect an account again, and once more after an error."""
        grant, members = self.provider.connect(number)
        self.later(_SECOND_TRY, self._connect_once_more, grant)
        await vault.store_token_set(self.account(number), TokenSet.from_response(members))
        grant.is_stored = True

    def _connect_once_more(self, grant):
        if not grant.is_stored and self.provider.grants[grant.number] is grant:
            self.on_some_vault(lambda vault: self.connect_again(vault, grant.number))

    async def force(self, vault, grant):
        """Refresh an account although it is not due, as a host in a loop does."""
        await vault.refresh_account(self.account(grant.number))

    async def reject(self, vault, grant):
        """Report a token as rejected although it works, as after a resource's wrong 401."""
        token = await vault.ensure_access_token(self.account(grant.number))
        await vault.report_rejected(token)

    async def _quietly(self, action, vault):
        try:
            await action(vault)
        except VaultError as error:
            self.history.add("operator", f"{error.code}")

    # The play

    async def _play(self):
        for host in self.hosts:
            host.start()
        await asyncio.sleep(1.0)
        first = self.hosts[0]
        connecting = first.process.start(
            self._connect_all(first.vault, self.random.randint(4, 40 if self.kind.lifetime > 600 else 12))
        )
        await connecting
        self.callers.begin()
        self._schedule_faults()
        await asyncio.sleep(self.days * DAY)
        await self._recover()

    async def _connect_all(self, vault, count):
        """Connect the accounts: all at once, so that they are due together, or one after another."""
        is_spread = self.random.random() < 0.5 or self.is_measured
        pause = min(self.kind.lifetime, DAY) / count if is_spread else 0.0
        for number in range(count):
            await asyncio.sleep(pause)
            grant, members = self.provider.connect(number)
            account = self.account(number)
            if self.kind.grant == "client_credentials":
                key = Secret.from_fields(client_id=f"key-{number}", client_secret="key-secret")
                await vault.store_token(account.key(TokenKind.API_KEY), key)
            await vault.store_token_set(account, TokenSet.from_response(members))
            grant.is_stored = True

    def _schedule_faults(self):
        names = [*self.faults.names, *3 * self.kind.faults] if self._only_fault is None else [self._only_fault]
        random, number = Random(f"{self.seed} {self.kind.name} faults"), count()
        for _ in range(random.choice(self.kind.storms)):
            at = random.uniform(0.0, self.days * DAY * 0.95)
            # Faults often come together, because people react to an outage with deploys and restarts.
            for _ in range(random.choice((1, 1, 2, 3))):
                self.later(at + random.uniform(0, 120), self.faults.start, random.choice(names), next(number))

    async def _recover(self):
        """End all faults, give the vaults time, and let a new process judge every account."""
        self._end_faults()
        for host in self.hosts:
            host.start() if host.process is None else host.process.thaw()
        await asyncio.sleep(_RECOVERY)
        host = self.hosts[0]
        for _ in range(600):
            if host.is_serving:
                break
            await asyncio.sleep(1.0)
        else:
            self.oracle.violated("not serving", f"{host.name} does not open its vault")
            return
        await host.process.start(self.oracle.judge_end(host.vault))

    def _end_faults(self):
        self.provider.weather = type(self.provider.weather)()
        self.clock.offset, self.is_client_wrong, self.stepped_at = 0.0, False, self.loop.time()
        self.sweeps.wake()
        self.is_recovering = True
        for host in self.hosts:
            if host.is_lying.get("client_id", CLIENT_ID) != CLIENT_ID or host.is_lying.get("client_secret"):
                host.is_lying = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
            host.disk.is_full = False
            host.link.heal()

    def _end(self):
        """Drop all processes; none of their code runs any more."""
        for process in self.processes:
            process.kill()
        sys.unraisablehook = _drop_remains
        self.loop.close()
        for task in asyncio.all_tasks(self.loop):
            task._log_destroy_pending = False
            _close(task.get_coro())
        for process in self.processes:
            process.tasks.clear()


def run(seed, kind, **options):
    """Play one world.

    The garbage collector is switched off meanwhile, because it would close coroutines of dead processes, also of
    earlier worlds, at a moment that no seed determines. It never visits objects from before the first world.
    """
    logging.disable(logging.CRITICAL)
    gc.disable()
    freeze()
    try:
        return World(seed, kind, **options).run()
    finally:
        gc.collect()
        gc.enable()
        logging.disable(logging.NOTSET)


@cache
def freeze():
    """Let the garbage collector never visit again what exists now: modules, classes and functions."""
    gc.collect()
    gc.freeze()


def _close(coroutine):
    for _ in range(_MOST_WAITS):
        try:
            coroutine.close()
        except Exception:
            continue
        return


def _drop_remains(unraisable):
    """Suppress the messages about coroutines of dead processes that the garbage collector closes."""
    if not asyncio.iscoroutine(unraisable.object):
        sys.__unraisablehook__(unraisable)


__all__ = ["Life", "Outcome", "Process", "World", "run"]
