"""Fakes of the other ports, and a function that makes the composition root use them."""

import asyncio
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count
from types import SimpleNamespace
from unittest.mock import patch
from uuid import UUID, SafeUUID

from attrs import evolve
from tests.examples.dict_store import accounts as dict_accounts
from tests.services.fakes import MASTER_KEY, PlainCipher
from tests.simulation.loop import PROCESS

from vault_adapters import composition
from vault_adapters.crypto.key_cache import KeyCache
from vault_adapters.crypto.keyring import DEFAULT_TTL
from vault_adapters.providers import http
from vault_adapters.runtime import journal, periodic, tasks
from vault_adapters.runtime.journal_format import decode_entry, encode_entry
from vault_adapters.testing.contract.master_keys import introduce_first
from vault_domain.entities import account
from vault_domain.entities.errors import StorageError
from vault_domain.entities.key_records import DataKeyState
from vault_domain.ports.journal import JournalError
from vault_domain.ports.master_key import MasterKeys
from vault_domain.services.refresh import answers
from vault_domain.services.refresh.journal_seal import seal_entry
from vault_domain.services.tokens import clients

START = datetime(2030, 1, 1, tzinfo=UTC)
_MOST_KEYS = 10_000
_set = object.__setattr__


class WorldClock:
    """Implements `Clock`: the virtual time, plus the steps that faults make."""

    start = START

    def __init__(self, loop):
        self._loop, self.offset = loop, 0.0
        self._seconds, self._now = 0.0, START

    @property
    def seconds(self):
        """The seconds since `start`."""
        return self._loop.now + self.offset

    def now(self):
        """Return the time, in UTC."""
        seconds = self._loop.now + self.offset
        if seconds != self._seconds:
            self._seconds, self._now = seconds, START + timedelta(0, seconds)
        return self._now


class HeldKeys:
    """A key repository that answers from the key ring's real cache for as long as the key ring would."""

    def __init__(self, keys, monotonic):
        self._keys, self._renewing = keys, set()
        self.cache = KeyCache(_MOST_KEYS, DEFAULT_TTL.total_seconds(), monotonic, self._renew)

    def __getattr__(self, name):
        return getattr(self._keys, name)

    async def data_key(self, tenant_id, key_id):
        """Return a held record, or read it; the active one is always read."""
        held = None if key_id is None else self.cache.get(tenant_id, key_id)
        return held or await self._read(tenant_id, key_id)

    async def _read(self, tenant_id, key_id):
        return self._held(tenant_id, await self._keys.data_key(tenant_id, key_id))

    def _held(self, tenant_id, record):
        if record is not None and record.state is DataKeyState.DESTROYED:
            self.cache.forget_key(tenant_id, record.key_id)
        elif record is not None:
            self.cache.put(tenant_id, record)
        return record

    def _renew(self, tenant_id, key_id):
        if (tenant_id, key_id) not in self._renewing:
            self._renewing.add((tenant_id, key_id))
            asyncio.get_running_loop().create_task(self._read_again(tenant_id, key_id))

    async def _read_again(self, tenant_id, key_id):
        with suppress(StorageError):
            await self._read(tenant_id, key_id)
        self._renewing.discard((tenant_id, key_id))


class SimulatedCipher(PlainCipher):
    """Implements `Cipher` and `DataKeyWrapper` without cryptography; one for each open vault."""

    def __init__(self, keys, numbers, monotonic):
        super().__init__(HeldKeys(keys, monotonic))
        self._numbers = numbers

    def holds(self, tenant_id, key_id):
        """Return whether values decrypt without the repository."""
        return self._keys.cache.holds(tenant_id, key_id)

    def counts(self):
        """Return zeros, because nothing is counted."""
        return 0, 0, 0

    def forget_tenant(self, tenant_id):
        """Drop all keys of a tenant."""
        super().forget_tenant(tenant_id)
        self._keys.cache.forget_tenant(tenant_id)

    async def aclose(self):
        """Do nothing."""


class Disk:
    """A host's journal directory, which outlasts its processes."""

    def __init__(self, ambush):
        self.files, self.is_full, self.full_since, self.ambush = {}, False, None, ambush


class LateSeal:
    """Stands for the seal of a journal entry until the entry is read, which happens rarely; a seal takes long to make.

    Args:
        entry: the entry without its seal.
        sealer: see `seal_entry`.
    """

    def __init__(self, entry, sealer):
        self._entry, self._sealer = entry, sealer

    def made(self):
        """Return the seal."""
        return seal_entry(self._entry, self._sealer).seal


def seal_later(entry, sealer):
    """Do what `seal_entry` does, but make the seal only when the entry is read."""
    return evolve(entry, seal=LateSeal(entry, sealer))


def _as_file(entry):
    """Return an entry in the real format of its file."""
    sealed = evolve(entry, seal=entry.seal.made()) if isinstance(entry.seal, LateSeal) else entry
    return encode_entry(sealed)


class DiskJournal:
    """Implements `RefreshJournal` over a disk. A file gets its real format once it is read, which happens rarely."""

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
        self._disk.files[entry.attempt.attempt_id] = entry

    async def entries(self):
        """Return the entries."""
        return [decode_entry(_as_file(entry)) for entry in self._disk.files.values()]

    async def remove(self, entry):
        """Delete an entry."""
        self._disk.files.pop(entry.attempt.attempt_id, None)

    async def examine(self):
        """Return the cause for which the disk takes no entries, or None."""
        return "disk_full" if self._disk.is_full else None


class Naps:
    """Lets the periodic work of vaults sleep longer while it would find nothing to do.

    It would find nothing while no connection to the database has failed lately and all journals are empty.
    """

    LONG, AFTERWARDS = 6 * 3600.0, 120.0

    def __init__(self, loop, disks, on_trouble):
        self._loop, self._disks, self._until, self._on_trouble = loop, disks, 0.0, on_trouble
        self._sleepers = {}  # a set would give them in the order of their addresses, which no seed determines

    @property
    def is_calm(self):
        """Whether periodic work would find nothing to do now, unless an account is due."""
        if self._loop.now < self._until:
            return False
        for disk in self._disks:  # noqa: SIM110 - a generator takes three times as long
            if disk.files:
                return False
        return True

    async def sleep(self, seconds):
        """Sleep ``seconds`` seconds, or longer while periodic work would find nothing to do."""
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
        """Wake all sleepers; for the next ``seconds`` seconds and a little longer, no sleep is prolonged."""
        self._until = max(self._until, self._loop.time() + seconds + self.AFTERWARDS)
        for waiter in list(self._sleepers):
            _wake(waiter)
        self._on_trouble()


def _wake(waiter):
    if not waiter.done():
        waiter.set_result(None)


async def _no_master_keys(keys, _):
    await introduce_first(keys, MASTER_KEY)
    return MasterKeys({}, MASTER_KEY.key_id, MASTER_KEY.key_id)


def _numbered_ids():
    numbers, unknown = count(1), SafeUUID.unknown

    def new_id():
        """Return a new UUID as `UUID(int=...)` would, but in half the time."""
        made = object.__new__(UUID)
        _set(made, "int", next(numbers))
        _set(made, "is_safe", unknown)
        return made

    return new_id


@contextmanager
def fake_ports(loop, naps):
    """Let the composition root bind these fakes, and let all clocks show virtual time.

    The path of the journal does not matter: `DiskJournal` takes the disk of the process that opens the vault.
    """
    new_id, key_numbers = _numbered_ids(), count(1)
    nap = SimpleNamespace(**{**vars(asyncio), "sleep": naps.sleep})
    with ExitStack() as stack:
        for target, name, fake in (
            (composition, "open_with_sources", _no_master_keys),
            (composition, "Keyring", lambda keys, *_, **__: SimulatedCipher(keys, key_numbers, loop.time)),
            (composition, "AesGcmCipher", lambda keyring, _: keyring),
            (answers, "seal_entry", seal_later),
            (account, "_key_of", cache(account._key_of)),
            (journal, "FileJournal", lambda _: DiskJournal(PROCESS.get().disk)),
            (http, "quiet_exchange", nullcontext),  # logging is off
            (periodic, "asyncio", nap),
            ("time", "monotonic", loop.time),
            (clients, "fingerprint", cache(clients.fingerprint)),
            (tasks, "uuid4", new_id),
            (dict_accounts, "uuid4", new_id),
        ):
            stack.enter_context(
                patch(f"{target}.{name}", fake) if target == "time" else patch.object(target, name, fake)
            )
        yield
