"""Other ways to refresh tokens, written from published descriptions, over the same network and provider.

Each has the methods of a vault that a world calls: they return tokens, sweep, and take reports of rejected tokens. They
differ in who may refresh at the same time, and in what they do after a failure.
"""

import asyncio
import json
from base64 import b64encode
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from types import SimpleNamespace
from urllib.parse import urlencode

from attrs import define, evolve, frozen
from tests.simulation.database import Linked
from tests.simulation.http_client import SimulatedClient

from vault_adapters import (
    ConnectionState,
    ProviderConfigurationError,
    ReauthorizationRequiredError,
    RefreshFailedError,
    Secret,
    TokenNotFoundError,
    VaultError,
)

BUFFER = timedelta(minutes=5)
_DEADLINE, _LOCK_SECONDS, _POLL = 10.0, 10.0, 0.5
_BREAKER_FAILURES, _BREAKER_SECONDS = 5, 30.0


@frozen
class Algorithm:
    """What distinguishes a way to refresh.

    Attributes:
        title: shown in the table.
        locks: whether a lock in the database, which expires after a fixed time, keeps others out.
        shares: whether callers of one process wait for one refresh.
        condemns_all: whether each error status means that the user must connect again, and not ``invalid_grant`` only.
        breaks: whether failures of some accounts pause all accounts of the provider for a while.
    """

    title: str
    locks: bool = False
    shares: bool = False
    condemns_all: bool = False
    breaks: bool = False


PEERS = {
    "none": Algorithm("no lock"),
    "single_flight": Algorithm("single flight in each process", shares=True),
    "fixed_lock": Algorithm("lock with a fixed time to live", locks=True),
    "first_error": Algorithm("condemn on the first error", locks=True, condemns_all=True),
    "breaker": Algorithm("breaker for each provider", locks=True, breaks=True),
}
"""The first three condemn on ``invalid_grant`` only; the last two each add one rule to the lock."""


@frozen
class Row:
    """What a peer stores of an account."""

    access: str
    refresh: str | None
    expires_at: object
    updated_at: object
    lifetime: timedelta | None
    is_condemned: bool = False


@define
class PeerTables:
    """The peers' database. Each method is a transaction."""

    rows: dict
    locks: dict
    clock: object

    async def read(self, account):
        """Return an account's row, or None."""
        return self.rows.get(account)

    async def due(self):
        """Return the accounts that a sweep refreshes."""
        now = self.clock.now()
        return [account for account, row in self.rows.items() if not row.is_condemned and is_due(row, now, 2 * BUFFER)]

    async def write(self, account, row):
        """Replace an account's row, whatever it holds."""
        self.rows[account] = row

    async def lock(self, account, owner):
        """Take an account's lock if it is free or expired; return whether that succeeded."""
        holder = self.locks.get(account)
        if holder is not None and holder[1] > self.clock.now():
            return False
        self.locks[account] = owner, self.clock.now() + timedelta(seconds=_LOCK_SECONDS)
        return True

    async def unlock(self, account, owner):
        """Give the lock back."""
        if self.locks.get(account, (None,))[0] is owner:
            del self.locks[account]


def is_due(row, now, buffer):
    """Return whether an access token expires within ``buffer``, or within half of its lifetime if that is shorter."""
    if row.expires_at is None:
        return False
    return row.expires_at - min(buffer, (row.lifetime or 2 * buffer) / 2) <= now


class Peer:
    """One process's client of the peers' database."""

    def __init__(self, algorithm, world, link, credentials):
        self._algorithm, self._world, self._tables = algorithm, world, Linked(world.peer_tables, link)
        self._client = SimulatedClient(world.provider, world.random, world.ambush)
        self._flights, self._failures, self._paused_until = {}, 0, 0.0
        pair = f"{credentials.get('client_id', 'client')}:{credentials.get('client_secret', 'client-secret')}"
        self._headers = {"Authorization": "Basic " + b64encode(pair.encode()).decode()}

    async def store_token_set(self, account, tokens):
        """Store what a user's connection brought."""
        refresh = tokens.refresh_token.reveal() if tokens.refresh_token else None
        await self._tables.write(account, self._row(tokens.access_token.reveal(), refresh, tokens.expires_in))

    async def get_account(self, account):
        """Return the state that the host shows."""
        row = await self._tables.read(account)
        state = ConnectionState.REAUTHORIZATION_REQUIRED if row.is_condemned else ConnectionState.CONNECTED
        return SimpleNamespace(state=state, reason=None)

    async def ensure_access_token(self, account, timeout=None):
        """Return a token, refreshed if it is due."""
        row = await self._read(account)
        if not is_due(row, self._world.clock.now(), BUFFER):
            return token_of(account, row)
        try:
            async with asyncio.timeout(timeout):
                return token_of(account, await asyncio.shield(self._refresh(account, row)))
        except TimeoutError:
            raise RefreshFailedError("timeout") from None
        except RefreshFailedError:
            if row.expires_at > self._world.clock.now():
                return token_of(account, row)
            raise

    async def report_rejected(self, token):
        """Refresh an account whose token a resource rejects."""
        account = token.account
        row = await self._read(account)
        if row.access != token.value.reveal():
            return token_of(account, row)
        return token_of(account, await asyncio.shield(self._refresh(account, row)))

    async def refresh_account(self, account):
        """Refresh although it is not due."""
        return token_of(account, await asyncio.shield(self._refresh(account, await self._read(account))))

    async def refresh_due(self):
        """Refresh the accounts whose access tokens expire soon."""
        await asyncio.gather(*(self._visit(account) for account in await self._tables.due()))

    async def _visit(self, account):
        with suppress(VaultError):  # the next sweep tries again
            await self._refresh(account, await self._read(account))

    async def _read(self, account):
        row = await self._tables.read(account)
        if row is None:
            raise TokenNotFoundError
        if row.is_condemned:
            raise ReauthorizationRequiredError
        return row

    def _refresh(self, account, row):
        """Return a task that refreshes; the task goes on if its callers go away."""
        flight = self._flights.get(account) if self._algorithm.shares else None
        if flight is None:
            work = self._locked(account, row) if self._algorithm.locks else self._exchange(account, row)
            flight = asyncio.get_running_loop().create_task(work)
            flight.add_done_callback(_look_at)
            if self._algorithm.shares:
                self._flights[account] = flight
                flight.add_done_callback(lambda _: self._flights.pop(account, None))
        return flight

    async def _locked(self, account, row):
        owner, end = object(), self._world.loop.time() + 2 * _LOCK_SECONDS
        while not await self._tables.lock(account, owner):
            if self._world.loop.time() > end:
                raise RefreshFailedError("locked")
            await asyncio.sleep(_POLL)
        try:
            latest = await self._read(account)
            return latest if latest.access != row.access else await self._exchange(account, latest)
        finally:
            await self._tables.unlock(account, owner)

    async def _exchange(self, account, row):
        if self._algorithm.breaks and self._world.loop.time() < self._paused_until:
            raise ProviderConfigurationError("paused")
        try:
            status, members = await self._post(row)
        except Exception:  # refused, reset, or not answered in time
            self._count_failure()
            raise RefreshFailedError("no answer") from None
        if status == 200 and "access_token" in members:
            self._failures = 0
            new = self._row(members["access_token"], members.get("refresh_token", row.refresh), _lifetime(members))
            await self._tables.write(account, new)
            return new
        if members.get("error") == "invalid_grant" or self._algorithm.condemns_all:
            await self._tables.write(account, evolve(row, is_condemned=True))
            raise ReauthorizationRequiredError
        self._count_failure()
        raise RefreshFailedError("refused")

    def _count_failure(self):
        self._failures += 1
        if self._failures >= _BREAKER_FAILURES:
            self._failures, self._paused_until = 0, self._world.loop.time() + _BREAKER_SECONDS

    async def _post(self, row):
        body = urlencode({"grant_type": "refresh_token", "refresh_token": row.refresh}).encode()
        request = self._client.build_request(
            "POST", "", content=body, headers=self._headers, extensions={"trace": ignore}
        )
        async with deadline():
            response = await self._client.send(request)
        try:
            return response.status_code, json.loads(response.content)
        except ValueError:
            return response.status_code, {}

    def _row(self, access, refresh, lifetime):
        now = self._world.clock.now()
        return Row(access, refresh, None if lifetime is None else now + lifetime, now, lifetime)


@asynccontextmanager
async def open_peer(name, world, link, credentials):
    """Open a peer as a host opens a vault."""
    yield Peer(PEERS[name], world, link, credentials)


def deadline():
    """Return the context manager that ends a request to the provider after the longest time that a peer waits."""
    return asyncio.timeout(_DEADLINE)


def token_of(account, row):
    """Return a token as a vault returns it."""
    info = SimpleNamespace(expires_at=row.expires_at, updated_at=row.updated_at)
    return SimpleNamespace(account=account, value=Secret(row.access), info=info)


def _lifetime(members):
    return timedelta(seconds=members["expires_in"]) if "expires_in" in members else None


def _look_at(task):
    if not task.cancelled():
        task.exception()


async def ignore(*_):
    """Take a trace event."""
