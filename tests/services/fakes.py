"""Fakes of all ports except the store's. With the store in a dictionary, a use case runs in milliseconds.

The dictionary store passes the contract of all stores, so a use case that works over it works over every store.
"""

import asyncio
from datetime import timedelta
from itertools import count
from uuid import UUID

from attrs import evolve

from vault_adapters.runtime.tasks import AsyncioTasks
from vault_domain.entities.key_records import DataKeyRecord, DataKeyState, DataKeyWrap, MasterKeyRecord
from vault_domain.entities.secret import Secret
from vault_domain.entities.token import SealedToken
from vault_domain.ports.cipher import DESTROYED_KEY, NO_ACTIVE_KEY, UnreadableError
from vault_domain.ports.journal import JournalError

MASTER_KEY = MasterKeyRecord(b"m" * 16, "local")


class PlainCipher:
    """Implements `Cipher` and `DataKeyWrapper`: a sealed value is its context and its text."""

    def __init__(self, keys):
        self._keys = keys
        self._numbers = count(1)
        self._known = {}
        self.forgotten = []

    async def make_data_key(self, tenant_id):
        key_id = next(self._numbers).to_bytes(16)
        return DataKeyRecord(tenant_id, key_id, DataKeyState.ACTIVE, (DataKeyWrap(MASTER_KEY.key_id, key_id),))

    async def store_new_data_key(self, tenant_id, store, like=None):
        return await store(await self.make_data_key(tenant_id))

    async def seal(self, values, extras=()):
        pairs = zip(values, extras or [None] * len(values), strict=True)
        return [sealed_by(await self._active(key.tenant_id), key, value, extra) for (key, value), extra in pairs]

    async def ensure_sealer(self, tenant_ids):
        active = {tenant_id: await self._active(tenant_id) for tenant_id in tenant_ids}
        return lambda key, value, extra=None: sealed_by(active[key.tenant_id], key, value, extra)

    async def sealer(self, tenant_id):
        active = await self._keys.data_key(tenant_id, None)
        if active is None:
            raise UnreadableError(NO_ACTIVE_KEY)
        return lambda key, value, extra=None: sealed_by(active, key, value, extra)

    def open_at_hand(self, key, sealed):
        return None  # no data key is held

    async def key_problems(self, tenant_ids):
        return {}

    async def confirm(self, tenant_id, data_key_id):
        record = await self._keys.data_key(tenant_id, data_key_id)
        if record is None or record.state is DataKeyState.DESTROYED:
            raise UnreadableError("unknown_key" if record is None else DESTROYED_KEY)

    async def open(self, key, sealed):
        await self.confirm(key.tenant_id, sealed.data_key_id)
        return plain(key, sealed)

    def opening(self, key, sealed):
        try:
            opened = plain(key, sealed), None if sealed.extra is None else plain_extra(sealed)
        except UnreadableError:
            return None
        return lambda: opened

    async def open_extra(self, key, sealed):
        await self.open(key, sealed)
        return plain_extra(sealed)

    async def reseal(self, values):
        results = []
        for key, sealed in values:
            try:
                value = await self.open(key, sealed)
                extra = None if sealed.extra is None else await self.open_extra(key, sealed)
                results.append(sealed_by(await self._active(key.tenant_id), key, value, extra))
            except UnreadableError as error:
                results.append(error)
        return results

    def forget_active(self, tenant_ids):
        for tenant_id in tenant_ids:
            self._known.pop(tenant_id, None)

    def forget_tenant(self, tenant_id):
        self._known.pop(tenant_id, None)
        self.forgotten.append(tenant_id)

    async def check(self):
        """Always pass, because the fake uses no master key."""

    async def _active(self, tenant_id):
        if tenant_id not in self._known:
            active = await self._keys.data_key(tenant_id, None)
            self._known[tenant_id] = active or await self._keys.create_data_key(await self.make_data_key(tenant_id))
        return self._known[tenant_id]


def sealed_by(record, key, value, extra=None):
    """Seal a value, and its extra members if it has any, under a data key."""
    blob = f"{_place(key)}\0{value.reveal()}".encode()
    return SealedToken(record.key_id, blob, None if extra is None else blob + b"\0\0" + extra.reveal().encode())


def plain(key, sealed):
    """Open a sealed value whose data key was found."""
    place, _, text = sealed.blob.decode().partition("\0")
    if place != _place(key):
        raise UnreadableError("tag")
    return Secret(text)


def plain_extra(sealed):
    """Return the extra members that were sealed beside a value."""
    place, found, text = sealed.extra.rpartition(b"\0\0")
    if not found or place != sealed.blob:
        raise UnreadableError("tag")
    return Secret(text.decode())


def _place(key):
    """Return a key as text. NUL ends this text in a sealed value, so NUL in an identifier is escaped.

    This is much faster than the ``repr`` of the key.
    """
    return f"{key.tenant_id}\n{key.provider}\n{key.kind}\n{key.identifier!r}"


class EventList:
    """Implements `EventSink`."""

    def __init__(self):
        self.events = []

    def publish(self, events):
        self.events += events

    @property
    def actions(self):
        return [event.action for event in self.events]


class VirtualTasks:
    """Implements `Tasks` without waiting: a sleep moves the clock, then calls `during_sleep` if it is set."""

    def __init__(self, clock):
        self._clock = clock
        self._time = 0.0
        self._numbers = count(1)
        self._running = {}
        self.during_sleep = None
        self._turns = AsyncioTasks()

    def monotonic(self):
        return self._time

    def jitter(self):
        return 1.0

    def new_id(self):
        return UUID(int=next(self._numbers))

    async def sleep(self, seconds):
        self._time += seconds
        self._clock.advance(timedelta(seconds=seconds))
        if self.during_sleep is not None:
            await self.during_sleep()
        await asyncio.sleep(0)

    async def within(self, seconds, work):
        return await work()

    async def within_briefly(self, seconds, work):
        return await work()

    def limited(self, seconds, call, only_if, about):
        return call

    async def within_lease(self, seconds, work, *, pace, renew):
        return await work()

    def is_flying(self, key):
        return key in self._running

    async def share(self, key, work, timeout=None):
        if key not in self._running:
            self._running[key] = asyncio.ensure_future(work())
            self._running[key].add_done_callback(lambda _: self._running.pop(key, None))
        return await self._running[key]

    def forget(self, key):
        self._running.pop(key, None)

    async def run_all(self, jobs, per_group):
        await asyncio.gather(*(job() for _, job in jobs))

    async def in_turn(self, group, member, work, *, most, choose):
        return await self._turns.in_turn(group, member, work, most=most, choose=choose)

    def end_turn(self):
        self._turns.end_turn()


class LimitedTasks(VirtualTasks):
    """Implements `Tasks` in virtual time, but runs jobs concurrently and with limits, as `AsyncioTasks` does."""

    def __init__(self, clock):
        super().__init__(clock)
        self._jobs = AsyncioTasks()

    async def run_all(self, jobs, per_group):
        await self._jobs.run_all(jobs, per_group)


async def settle():
    """Let all other tasks run until only the test can wake them; with fakes, no task waits for a thread or a timer."""
    for _ in range(2000):
        await asyncio.sleep(0)


class Crowded:
    """A provider that answers when the test says so; it counts the requests that wait, and keeps their accounts."""

    def __init__(self, refresher, tasks, answer):
        self.spends, self.rotation = refresher.spends, refresher.rotation
        self._tasks, self._answer = tasks, answer
        self.waiting, self.most, self.accounts = [], 0, []

    @property
    def calls(self):
        return len(self.accounts)

    async def refresh(self, request):
        self.accounts.append(request.account)
        number, answered = self.calls, asyncio.Event()
        self.waiting.append(answered)
        self.most = max(self.most, len(self.waiting))
        await answered.wait()
        return self._answer(number)

    async def answer_one(self):
        """Answer the request that waits longest."""
        self.waiting.pop(0).set()
        await settle()

    async def answer_all(self):
        """Answer the waiting requests after eight seconds, and repeat this while the answers lead to new requests."""
        while self.waiting:
            await self._tasks.sleep(8)
            waiting, self.waiting = self.waiting, []
            for answered in waiting:
                answered.set()
            await settle()


class MemoryJournal:
    """Implements `RefreshJournal`; if it is full, writing raises an error."""

    def __init__(self, *, is_full=False):
        self._entries = {}
        self.is_full = is_full

    async def write(self, entry):
        if self.is_full:
            raise JournalError("no journal")
        attempt = evolve(entry.attempt, client=None, timeline=None)  # which no journal keeps
        self._entries[attempt.attempt_id] = evolve(entry, attempt=attempt)

    async def entries(self):
        return list(self._entries.values())

    async def remove(self, entry):
        self._entries.pop(entry.attempt.attempt_id, None)

    async def examine(self):
        return "disk_full" if self.is_full else None


class Obstructed:
    """A repository that passes each call on; before it passes on a call of one method, it awaits `obstruct`."""

    def __init__(self, right, method):
        self._right, self._method = right, method

    def __getattr__(self, name):
        method = getattr(self._right, name)
        if name != self._method:
            return method

        async def call(*args, **kwargs):
            await self.obstruct()
            return await method(*args, **kwargs)

        return call


class Failing(Obstructed):
    """A repository with one method whose first ``times`` calls raise an error."""

    def __init__(self, right, method, error, times=10**9):
        super().__init__(right, method)
        self._error, self.left = error, times

    async def obstruct(self):
        if self.left > 0:
            self.left -= 1
            raise self._error
