"""The tenants' data keys: found, made and unwrapped, one call at a time for each key."""

import asyncio
import hashlib
import os
import time
from collections.abc import Callable, Coroutine, Iterable
from datetime import timedelta
from typing import Any

from vault_adapters.crypto.envelope import KEY_ID_SIZE, KEY_SIZE, EnvelopeKey, Purpose
from vault_adapters.crypto.key_cache import KeyCache
from vault_adapters.runtime.flights import Flights
from vault_domain.entities.errors import ConfigurationError, KeyUnavailableError, StorageError
from vault_domain.entities.key_records import DataKeyRecord, DataKeyState, DataKeyWrap, MasterKeyState
from vault_domain.ports.cipher import DESTROYED_KEY, NO_ACTIVE_KEY, UnreadableError
from vault_domain.ports.key_repository import KeyRepository
from vault_domain.ports.master_key import MasterKey, MasterKeys

DEFAULT_TTL = timedelta(minutes=5)
DEFAULT_CAPACITY = 10_000

_AT_ONCE = 8

_Flight = tuple[str, bytes | None]
"""A tenant and a key id; None stands for the tenant's active key."""


class Keyring:
    """Data keys of all tenants over a repository of wrapped ones.

    Exactly one key is looked up, by its id and inside the asking tenant; there is no trying of several. A new one
    is made where the repository has none, never because one could not be unwrapped.

    Args:
        repository: where the wrapped keys are.
        master_keys: the open master keys.
        ttl: how long a key is held after it was unwrapped; then the repository is asked again.
        capacity: how many keys are held at most.
        monotonic: a clock in seconds that never goes back.
    """

    def __init__(
        self,
        repository: KeyRepository,
        master_keys: MasterKeys,
        *,
        ttl: timedelta = DEFAULT_TTL,
        capacity: int = DEFAULT_CAPACITY,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._repository = repository
        self._master_keys = master_keys
        self._cache = KeyCache(capacity, ttl.total_seconds(), monotonic)
        self._flights = Flights()
        self._forgotten = 0
        # A master key may be a service, which would answer a crowd by throttling.
        self._asking = asyncio.Semaphore(_AT_ONCE)

    def get_held_key(self, tenant_id: str, key_id: bytes) -> EnvelopeKey | None:
        """Return a key that is held already, or None."""
        return self._cache.get(tenant_id, key_id)

    async def find_key(self, tenant_id: str, key_id: bytes) -> EnvelopeKey:
        """Return one of a tenant's keys.

        Raises:
            UnreadableError: the tenant has no such key (any more), or it was tampered with.
            KeyUnavailableError: no master key that could unwrap it is available now.
        """
        return self._cache.get(tenant_id, key_id) or await self._share(
            (tenant_id, key_id), lambda: self._find(tenant_id, key_id)
        )

    async def ensure_active_key(self, tenant_id: str) -> EnvelopeKey:
        """Return a tenant's active key, making its first one where there is none.

        Raises:
            UnreadableError: it was tampered with.
            KeyUnavailableError: as above.
        """
        return self._cache.get_active(tenant_id) or await self._share(
            (tenant_id, None), lambda: self._ensure_active(tenant_id)
        )

    async def find_active_key(self, tenant_id: str) -> EnvelopeKey:
        """Return a tenant's active key; none is made where there is none.

        Raises:
            UnreadableError: it was tampered with, or there is none, that is, the tenant was erased.
            KeyUnavailableError: as above.
        """
        key = self._cache.get_active(tenant_id)
        if key is not None:
            return key
        before = self._forgotten
        record = await self._repository.active_data_key(tenant_id)
        if record is None:
            raise UnreadableError(NO_ACTIVE_KEY)
        try:
            key = await self._of_record(record, before)
        except UnreadableError as error:
            raise UnreadableError(f"active_{error.reason}", record.key_id) from None
        if self._forgotten == before:
            self._cache.put_active(tenant_id, key)
        return key

    async def find_active_master_key(self) -> MasterKey:
        """Return the master key that is active now, which a rotation may have changed since this was opened.

        Where the repository cannot be asked, it is the one that was active then.

        Raises:
            KeyUnavailableError: this process does not have it.
        """
        try:
            records = await self._repository.master_keys()
        except StorageError:
            return self._master_keys.active
        active = next((record.key_id for record in records if record.state is MasterKeyState.ACTIVE), b"")
        if active not in self._master_keys.opened:
            raise KeyUnavailableError(
                "another master key is active, which this process does not have", reason="unknown_master_key"
            )
        return self._master_keys.opened[active]

    async def make_data_key(self, tenant_id: str) -> DataKeyRecord:
        """Return a new data key, not stored yet, with a wrap under every master key that this process can open."""
        key_id = os.urandom(KEY_ID_SIZE)
        async with self._asking:
            wraps = await _wrap(os.urandom(KEY_SIZE), tenant_id, key_id, self._master_keys)
        return DataKeyRecord(tenant_id, key_id, DataKeyState.ACTIVE, wraps)

    async def make_missing_wraps(self, record: DataKeyRecord) -> tuple[DataKeyWrap, ...]:
        """Return the wraps that a data key lacks under the open master keys.

        Raises:
            UnreadableError: it cannot be unwrapped.
            KeyUnavailableError: as above.
        """
        present = {wrap.master_key_id for wrap in record.wraps}
        lacking = [master for master in self._master_keys if master.key_id not in present]
        if not lacking:
            return ()
        return await _wrap(await self._unwrap(record.tenant_id, record), record.tenant_id, record.key_id, lacking)

    async def wraps_agree(self, record: DataKeyRecord) -> bool:
        """Whether all wraps of a data key under open master keys open, and to the same key; at least one must.

        Raises:
            KeyUnavailableError: a master key is not available now.
        """
        digests = set()
        for wrap in record.wraps:
            master = self._master_keys.opened.get(wrap.master_key_id)
            if master is None:
                continue
            try:
                data_key = await master.unwrap(wrap.wrapped, record.tenant_id, record.key_id)
            except UnreadableError:
                return False
            digests.add(hashlib.sha256(data_key).digest())
            del data_key
        return len(digests) == 1

    def forget_active(self, tenant_ids: Iterable[str]) -> None:
        """Look the active key of these tenants up again before the next seal."""
        active: set[_Flight] = {(tenant_id, None) for tenant_id in tenant_ids}
        for tenant_id, _ in active:
            self._cache.forget_active(tenant_id)
        self._flights.forget(lambda flight: flight in active)

    def forget_tenant(self, tenant_id: str) -> None:
        """Forget all keys of a tenant, those included that are being unwrapped now."""
        self._forgotten += 1
        self._cache.forget_tenant(tenant_id)
        self._flights.forget(lambda flight: flight[0] == tenant_id)

    async def aclose(self) -> None:
        """Forget everything and end what is under way."""
        self._cache.clear()
        self._flights.forget(lambda _: True)
        await self._flights.cancel()

    async def _share(self, flight: _Flight, work: Callable[[], Coroutine[Any, Any, EnvelopeKey]]) -> EnvelopeKey:
        """Run the work once for all that ask for it meanwhile, and hold its key."""
        return await self._flights.share(flight, lambda: self._hold(flight, work))

    async def _hold(self, flight: _Flight, work: Callable[[], Coroutine[Any, Any, EnvelopeKey]]) -> EnvelopeKey:
        """Hold the key, unless it was forgotten while it was on its way."""
        key = await work()
        if self._flights.is_current(flight):
            tenant_id, key_id = flight
            if key_id is None:
                self._cache.put_active(tenant_id, key)
            else:
                self._cache.put(tenant_id, key)
        return key

    async def _find(self, tenant_id: str, key_id: bytes) -> EnvelopeKey:
        record = await self._repository.data_key(tenant_id, key_id)
        if record is None:
            raise UnreadableError("unknown_key")
        return await self._open(record)

    async def _ensure_active(self, tenant_id: str) -> EnvelopeKey:
        before = self._forgotten
        record = await self._repository.active_data_key(tenant_id)
        if record is None:
            record = await self._repository.create_data_key(await self.make_data_key(tenant_id))
        # Whoever won, and this process's own key too, is taken as it was stored.
        return await self._of_record(record, before)

    async def _of_record(self, record: DataKeyRecord, before: int) -> EnvelopeKey:
        """Return the key of a record, which is not held where a tenant was forgotten since the record was read."""
        if self._forgotten != before:
            return await self._open(record)
        tenant_id, key_id = record.tenant_id, record.key_id
        return self._cache.get(tenant_id, key_id) or await self._share((tenant_id, key_id), lambda: self._open(record))

    async def _open(self, record: DataKeyRecord) -> EnvelopeKey:
        if record.state is DataKeyState.DESTROYED:
            raise UnreadableError(DESTROYED_KEY)
        if not record.wraps:
            raise UnreadableError("unknown_key")
        return EnvelopeKey(await self._unwrap(record.tenant_id, record), record.key_id, Purpose.VALUE)

    async def _unwrap(self, tenant_id: str, record: DataKeyRecord) -> bytes:
        wrapped = {wrap.master_key_id: wrap.wrapped for wrap in record.wraps}
        failure: Exception = KeyUnavailableError(
            "no master key that this process can open wraps the data key", reason="unknown_master_key", retryable=False
        )
        for master in self._master_keys:
            if master.key_id not in wrapped:
                continue
            try:
                async with self._asking:
                    return await master.unwrap(wrapped[master.key_id], tenant_id, record.key_id)
            except (KeyUnavailableError, ConfigurationError) as error:
                failure = error  # during a rotation another master key may be within reach
            except UnreadableError as error:
                failure = UnreadableError(f"data_key_{error.reason}")
                break
        raise failure


async def _wrap(
    data_key: bytes, tenant_id: str, key_id: bytes, master_keys: Iterable[MasterKey]
) -> tuple[DataKeyWrap, ...]:
    wraps = []
    try:
        for master in master_keys:
            wraps.append(DataKeyWrap(master.key_id, await master.wrap(data_key, tenant_id, key_id)))  # noqa: PERF401
    finally:
        del data_key  # the traceback of an error must not hold it
    return tuple(wraps)
