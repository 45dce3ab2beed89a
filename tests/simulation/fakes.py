"""Fakes of the remaining ports, and how the composition root is led to use them."""

import asyncio
from contextlib import ExitStack, contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count
from types import SimpleNamespace
from unittest.mock import patch
from uuid import UUID

from tests.examples.dict_store import tokens as dict_tokens
from tests.services.fakes import MASTER_KEY, PlainCipher, plain, sealed_by
from tests.simulation.loop import PROCESS

from vault_adapters import composition
from vault_adapters.providers import http
from vault_adapters.runtime import periodic, tasks
from vault_adapters.runtime.journal_format import decode_entry, encode_entry
from vault_domain.ports.cipher import NO_ACTIVE_KEY, UnreadableError
from vault_domain.ports.journal import JournalError
from vault_domain.ports.master_key import MasterKeys
from vault_domain.services.tokens import clients

START = datetime(2030, 1, 1, tzinfo=UTC)


class WorldClock:
    """Implements `Clock`: the virtual time, plus the steps that faults make."""

    def __init__(self, loop):
        self._loop, self.offset = loop, 0.0
        self._seconds, self._now = 0.0, START

    def now(self):
        """Return the time, in UTC."""
        seconds = self._loop.time() + self.offset
        if seconds != self._seconds:
            self._seconds, self._now = seconds, START + timedelta(seconds=seconds)
        return self._now


class SimulatedCipher(PlainCipher):
    """Implements `Cipher` and `DataKeyWrapper` without cryptography; one for each open vault.

    It reads a data key from the repository as often as a key ring does, whose cache holds it for some time.
    """

    def __init__(self, keys, numbers, now, ttl):
        super().__init__(keys)
        self._numbers, self._now, self._ttl = numbers, now, ttl.total_seconds()
        self._held, self._active_until = {}, {}

    async def sealer(self, tenant_id):
        """Return what seals a tenant's values; ask the repository for its active data key unless that is held."""
        record, until = self._active_until.get(tenant_id, (None, 0.0))
        if until <= self._now():
            record = await self._keys.active_data_key(tenant_id)
            if record is None:
                raise UnreadableError(NO_ACTIVE_KEY)
            self._active_until[tenant_id] = record, self._now() + self._ttl
        return lambda key, value: sealed_by(record, key, value)

    async def open(self, key, sealed):
        """Return a value; ask the repository for its data key unless that is held."""
        place = key.tenant_id, sealed.data_key_id
        if self._held.get(place, 0.0) > self._now():
            return plain(key, sealed)
        value = await super().open(key, sealed)
        self._held[place] = self._now() + self._ttl
        return value

    def forget_active(self, tenant_ids):
        """Forget which data keys are active."""
        super().forget_active(tenant_ids)
        for tenant_id in tenant_ids:
            self._active_until.pop(tenant_id, None)

    def forget_tenant(self, tenant_id):
        """Drop all keys of a tenant."""
        super().forget_tenant(tenant_id)
        self._active_until.pop(tenant_id, None)
        self._held = {place: until for place, until in self._held.items() if place[0] != tenant_id}

    def holds(self, tenant_id, key_id):
        """Return whether values decrypt without the repository."""
        return self._held.get((tenant_id, key_id), 0.0) > self._now()

    async def aclose(self):
        """Do nothing."""


class Disk:
    """A host's journal directory, which outlasts its processes."""

    def __init__(self, ambush):
        self.files, self.is_full, self.full_since, self.ambush = {}, False, None, ambush


class DiskJournal:
    """Implements `RefreshJournal` over a disk, in the real format of its files."""

    def __init__(self, disk):
        self._disk = disk

    async def write(self, entry):
        """Store an entry; a process that is killed meanwhile has stored it or not."""
        if self._disk.ambush.is_set:
            await self._disk.ambush.around(lambda: self._write(entry))
        else:
            await self._write(entry)

    async def _write(self, entry):
        if self._disk.is_full:
            raise JournalError("no space left on the disk")
        self._disk.files[entry.attempt.attempt_id] = encode_entry(entry)

    async def entries(self):
        """Return the entries."""
        return [decode_entry(data) for data in self._disk.files.values()]

    async def remove(self, entry):
        """Delete an entry."""
        self._disk.files.pop(entry.attempt.attempt_id, None)


class Naps:
    """Lets the periodic work of vaults sleep longer while it would find nothing to do.

    That is so while no connection to the database has failed lately, and all journals are empty.
    """

    LONG, AFTERWARDS = 6 * 3600.0, 120.0

    def __init__(self, loop, disks):
        self._loop, self._disks, self._until = loop, disks, 0.0
        self._sleepers = {}  # a set would give them in the order of their addresses, which no seed determines

    @property
    def is_calm(self):
        """Whether periodic work would find nothing to do now, unless an account is due."""
        if self._loop.time() < self._until:
            return False
        for disk in self._disks:  # noqa: SIM110 - a generator takes three times as long
            if disk.files:
                return False
        return True

    async def sleep(self, seconds):
        """Sleep ``seconds`` seconds; while all is calm, longer, but not longer than all stays calm."""
        if not self.is_calm:
            await asyncio.sleep(seconds)
            return
        waiter = self._loop.create_future()
        timer = self._loop.call_later(max(self.LONG, seconds), _wake, waiter)
        self._sleepers[waiter] = None
        try:
            await waiter
        finally:
            timer.cancel()
            self._sleepers.pop(waiter, None)

    def disturb(self, seconds):
        """Wake all sleepers, and let them sleep as they want for the next ``seconds`` seconds, and a little longer."""
        self._until = max(self._until, self._loop.time() + seconds + self.AFTERWARDS)
        for waiter in list(self._sleepers):
            _wake(waiter)


def _wake(waiter):
    if not waiter.done():
        waiter.set_result(None)


async def _no_master_keys(keys, _):
    await keys.introduce_first_master_key(MASTER_KEY)
    return MasterKeys({}, MASTER_KEY.key_id, MASTER_KEY.key_id)


def _numbered_ids():
    numbers = count(1)
    return lambda: UUID(int=next(numbers))


@contextmanager
def fake_ports(loop, naps):
    """Let the composition root bind these fakes, and let all clocks show virtual time.

    The journal's directory is the name of a disk: `DiskJournal` takes the disk of the process that opens the vault.
    """
    new_id, key_numbers = _numbered_ids(), count(1)
    nap = SimpleNamespace(**{**vars(asyncio), "sleep": naps.sleep})
    with ExitStack() as stack:
        for target, name, fake in (
            (composition, "open_with_sources", _no_master_keys),
            (composition, "Keyring", lambda keys, *_, ttl, **__: SimulatedCipher(keys, key_numbers, loop.time, ttl)),
            (composition, "AesGcmCipher", lambda keyring, _: keyring),
            (composition, "FileJournal", lambda _: DiskJournal(PROCESS.get().disk)),
            (http, "quiet_exchange", nullcontext),  # logging is off
            (periodic, "asyncio", nap),
            ("time", "monotonic", loop.time),
            (clients, "fingerprint", cache(clients.fingerprint)),
            (tasks, "uuid4", new_id),
            (dict_tokens, "uuid4", new_id),
        ):
            stack.enter_context(
                patch(f"{target}.{name}", fake) if target == "time" else patch.object(target, name, fake)
            )
        yield
