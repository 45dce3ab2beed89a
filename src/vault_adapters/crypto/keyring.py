"""`Keyring`: finds, creates and unwraps tenants' data keys; concurrent callers share one call for each key."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from vault_adapters.crypto import tenant_wrap
from vault_adapters.crypto.envelope import KEY_ID_SIZE, KEY_SIZE, EnvelopeKey, Purpose
from vault_adapters.crypto.key_cache import KeyCache
from vault_adapters.crypto.key_checks import check_may_open, check_may_seal, own
from vault_adapters.crypto.key_problems import KeyProblems, with_own_keys
from vault_adapters.crypto.tenant_keys import TenantKeys
from vault_adapters.crypto.wrapping import Wrapping
from vault_adapters.runtime.flights import Flights
from vault_domain.entities.errors import KeyUnavailableError, StorageError
from vault_domain.entities.key_records import DataKeyRecord, DataKeyState, MasterKeyState
from vault_domain.ports.cipher import NO_ACTIVE_KEY, UnreadableError
from vault_domain.rules.key_states import (
    RESURRECTED_KEY,
    RESURRECTED_MASTER_KEY,
    RETIRED_MASTER_KEY,
    is_resurrected_master_key,
    no_active_master_key,
)

if TYPE_CHECKING:
    from vault_domain.entities.key_records import DataKeyWrap
    from vault_domain.ports.keys import Keys
    from vault_domain.ports.master_key import MasterKey, MasterKeys

_log = logging.getLogger(__name__)

T = TypeVar("T")

DEFAULT_TTL = timedelta(minutes=5)
DEFAULT_CAPACITY = 10_000

_ROUNDS = 3
"""Tries to store a new data key. Another try is needed only if a rotation made another master key active meanwhile."""

_Flight = tuple[str, bytes | None]
"""A tenant and a key id; None means the tenant's active key."""


class Keyring:
    """Gives the data keys of all tenants, from a cache or by unwrapping stored ones.

    - It looks up exactly one key, by tenant and id; it never tries several keys.
    - It does not open with a destroyed key, nor seal with a replaced one, even if somebody set the key's state back. It
      knows the right state from the audit log.
    - It creates a key only if the tenant has no active one, never because a key could not be unwrapped.

    Args:
        repository: keeps the wrapped data keys.
        master_keys: the master keys that this process can use.
        ttl: time to cache an unwrapped key; afterwards the repository is asked again.
        capacity: largest number of cached keys.
        monotonic: a monotonic clock, in seconds.
        tenant_keys: the tenants' own master keys; None opens each by its URI.
        renewing: whether to read and unwrap a cached key again, in the background, when it opens a value and half of
            its ``ttl`` has passed. So when an outage begins, a key that is often used has at least about half of its
            ``ttl`` left.
    """

    def __init__(
        self,
        repository: Keys,
        master_keys: MasterKeys,
        *,
        ttl: timedelta = DEFAULT_TTL,
        capacity: int = DEFAULT_CAPACITY,
        monotonic: Callable[[], float] = time.monotonic,
        renewing: bool = False,
        tenant_keys: TenantKeys | None = None,
    ) -> None:
        self._repository = repository
        self._master_keys = master_keys
        self._active_master_key_id = master_keys.active_id
        self._cache = KeyCache(capacity, ttl.total_seconds(), monotonic, self._renew if renewing else None)
        self.get_held_key = self._cache.get
        """Returns a cached key, or None. It is the cache's own method, which saves one call in each read."""
        self._flights = Flights()
        self._forgotten = 0
        self._problems = KeyProblems(self._examine, partial(with_own_keys, repository), ttl.total_seconds(), monotonic)
        self.key_problems = self._problems.find
        """See `Cipher.key_problems`."""
        self._wrapping = Wrapping(master_keys, tenant_keys or TenantKeys())
        self.active_at_hand = self._cache.get_active
        """Returns a tenant's cached active key, or None."""

    def counts(self) -> tuple[int, int, int]:
        """Return how many data keys were found in the cache, how many were unwrapped, and how many are cached now."""
        return self._cache.hits, self._wrapping.unwraps, len(self._cache)

    def holds(self, tenant_id: str, key_id: bytes) -> bool:
        """Return whether a key is cached, so that it decrypts without the repository and the master key."""
        return self._cache.holds(tenant_id, key_id)

    def _renew(self, tenant_id: str, key_id: bytes) -> None:
        flight = (tenant_id, key_id)
        if flight not in self._flights:
            self._flights.begin(flight, lambda: self._hold(flight, lambda: self._find_again(tenant_id, key_id)))

    async def _find_again(self, tenant_id: str, key_id: bytes) -> EnvelopeKey:
        try:
            return await self._find(tenant_id, key_id)
        except UnreadableError:  # for example, the key was destroyed meanwhile
            self._cache.forget_key(tenant_id, key_id)
            raise

    async def find_key(self, tenant_id: str, key_id: bytes) -> EnvelopeKey:
        """Return one of a tenant's keys.

        Raises:
            UnreadableError: the tenant has no such key, the key was destroyed, or its wrap was changed.
            KeyUnavailableError: no master key that could unwrap the data key is available now.
            ConfigurationError: the key service refuses permanently; see `MasterKey`.
        """
        key = self._cache.get(tenant_id, key_id)
        if key is not None:
            return key
        self._problems.refuse_again(tenant_id)
        return await self._share((tenant_id, key_id), lambda: self._find(tenant_id, key_id))

    async def confirm(self, tenant_id: str, key_id: bytes) -> None:
        """Ask the repository whether one of a tenant's keys may still open values; see `Cipher.confirm`."""
        try:
            check_may_open(await self._find_record(tenant_id, key_id))
        except UnreadableError:
            self._cache.forget_key(tenant_id, key_id)
            raise

    async def ensure_active_key(self, tenant_id: str) -> EnvelopeKey:
        """Return a tenant's active key; create the first one if there is none.

        Raises:
            UnreadableError: the key's wrap was changed, or its state was set back.
            KeyUnavailableError, ConfigurationError: see `find_key`.
        """
        key = self._cache.get_active(tenant_id)
        if key is not None:
            return key
        self._problems.refuse_again(tenant_id)
        return await self._share((tenant_id, None), lambda: self._ensure_active(tenant_id))

    async def find_active_key(self, tenant_id: str) -> EnvelopeKey:
        """Return a tenant's active key; never create one.

        Raises:
            UnreadableError: the key's wrap was changed, its state was set back, or the tenant has no active key.
            KeyUnavailableError, ConfigurationError: see `find_key`.
        """
        key = self._cache.get_active(tenant_id)
        if key is not None:
            return key
        before = self._forgotten
        record = await self._repository.data_key(tenant_id, None)
        if record is None:
            raise UnreadableError(NO_ACTIVE_KEY)
        try:
            check_may_seal(own(record, tenant_id))
            key = await self._of_record(record, before)
        except UnreadableError as error:
            reason = error.reason if error.reason == RESURRECTED_KEY else f"active_{error.reason}"
            raise UnreadableError(reason, record.key_id) from None
        if self._forgotten == before:
            self._cache.put_active(tenant_id, key)
        return key

    async def find_active_master_key(self) -> MasterKey:
        """Return the master key that is active now; a rotation may have changed it since the vault was opened.

        If the repository cannot be reached, return the master key that was active when the vault was opened.

        Raises:
            KeyUnavailableError: this process does not have the active master key, or the key's state was set back.
        """
        try:
            active = await self._read_active_master_key_id()
        except StorageError:
            return self._master_keys.active
        if active not in self._master_keys.opened:
            raise KeyUnavailableError("this process does not have the active master key", reason="unknown_master_key")
        return self._master_keys.opened[active]

    async def store_new_data_key(
        self, tenant_id: str, store: Callable[[DataKeyRecord], Awaitable[T]], like: DataKeyRecord | None = None
    ) -> T:
        """Make a data key and store it; make it again if a rotation made another master key active meanwhile.

        Raises:
            UnreadableError: ``like`` does not open, so nothing was made: its row alone does not say whose key wraps it.
            KeyUnavailableError: this process does not have the active master key, or a master key cannot be used now.
        """
        uri = None if like is None else await self.open_uri(like)
        for _ in range(_ROUNDS):
            record = await self.make_data_key(tenant_id, uri)
            try:
                return await store(record)
            except KeyUnavailableError as error:
                if error.reason != RETIRED_MASTER_KEY or not await self._follow_rotation(record):
                    raise
        raise no_active_master_key()

    async def make_data_key(self, tenant_id: str, uri: str | None = None) -> DataKeyRecord:
        """Return a new data key, not stored yet, wrapped under the master key that was last found to be active.

        Args:
            tenant_id: the tenant.
            uri: names the tenant's own master key, which wraps it too; None: the tenant has none.
        """
        key_id = os.urandom(KEY_ID_SIZE)
        master = self._master_keys.opened[self._active_master_key_id]
        wrap = await self._wrapping.wrap(os.urandom(KEY_SIZE), (tenant_id, key_id), master, uri)
        return DataKeyRecord(tenant_id, key_id, DataKeyState.ACTIVE, (wrap,))

    async def make_missing_wrap(self, record: DataKeyRecord) -> DataKeyWrap | None:
        """Wrap a data key under the configured master key; return None if that master key wraps it already.

        Raises:
            UnreadableError: the data key cannot be unwrapped.
            KeyUnavailableError, ConfigurationError: see `find_key`.
        """
        target = self._master_keys.opened[self._master_keys.configured_id]
        if any(wrap.master_key_id == target.key_id for wrap in record.wraps):
            return None
        check_may_open(record)
        return await self._wrapping.make_missing_wrap(record, target)

    async def wraps_agree(self, record: DataKeyRecord) -> bool:
        """See `Wrapping.wraps_agree`."""
        return await self._wrapping.wraps_agree(record)

    async def check_tenant_key(self, uri: str) -> None:
        """See `DataKeyWrapper`."""
        await self._wrapping.check(uri)

    async def tenant_key_problem(self, uri: str) -> str | None:
        """See `DataKeyWrapper`."""
        return await self._wrapping.problem(uri)

    async def tenant_key_uri(self, record: DataKeyRecord) -> str | None:
        """See `DataKeyWrapper`."""
        return await self._wrapping.authentic_uri(record)

    async def open_uri(self, record: DataKeyRecord) -> str | None:
        """See `DataKeyWrapper`."""
        await self._open(record)
        return tenant_wrap.key_uri(record)

    async def move(self, record: DataKeyRecord, uri: str | None) -> DataKeyWrap:
        """See `DataKeyWrapper`."""
        check_may_open(record)
        wrap = await self._wrapping.move(record, await self.find_active_master_key(), uri)
        self._problems.forget(record.tenant_id)
        return wrap

    def forget_active(self, tenant_ids: Iterable[str]) -> None:
        """Forget which data keys of these tenants are active; the next seal asks the repository."""
        active: set[_Flight] = {(tenant_id, None) for tenant_id in tenant_ids}
        for tenant_id, _ in active:
            self._cache.forget_active(tenant_id)
        self._flights.forget(lambda flight: flight in active)

    def forget_tenant(self, tenant_id: str) -> None:
        """Drop all keys of a tenant, including keys that are being unwrapped now."""
        self._forgotten += 1
        self._problems.forget(tenant_id)
        self._cache.forget_tenant(tenant_id)
        self._flights.forget(lambda flight: flight[0] == tenant_id)

    async def aclose(self) -> None:
        """Drop all keys and cancel running calls."""
        self._cache.clear()
        self._flights.forget(lambda _: True)
        await self._flights.cancel()

    async def _share(self, flight: _Flight, work: Callable[[], Coroutine[Any, Any, EnvelopeKey]]) -> EnvelopeKey:
        """Run the work once for all concurrent callers, and cache the resulting key."""
        return await self._flights.share(flight, lambda: self._hold(flight, work))

    async def _hold(self, flight: _Flight, work: Callable[[], Coroutine[Any, Any, EnvelopeKey]]) -> EnvelopeKey:
        """Run the work, and cache the resulting key unless the key was forgotten meanwhile."""
        try:
            key = await work()
        except KeyUnavailableError as error:
            self._problems.note(flight[0], error)
            raise
        self._problems.opened(flight[0])
        if self._flights.is_current(flight):
            tenant_id, key_id = flight
            if key_id is None:
                self._cache.put_active(tenant_id, key)
            else:
                self._cache.put(tenant_id, key)
        return key

    async def _examine(self, tenant_id: str) -> bool:
        """Return whether a tenant has a master key of its own; raise an error if its active data key does not open."""
        before, record = self._forgotten, await self._repository.data_key(tenant_id, None)
        if record is None or tenant_wrap.key_uri(record) is None:
            return False
        await self._of_record(own(record, tenant_id), before)
        return True

    async def _find(self, tenant_id: str, key_id: bytes) -> EnvelopeKey:
        return await self._open(await self._find_record(tenant_id, key_id))

    async def _find_record(self, tenant_id: str, key_id: bytes) -> DataKeyRecord:
        record = await self._repository.data_key(tenant_id, key_id)
        if record is None:
            raise UnreadableError("unknown_key")
        return own(record, tenant_id, key_id)

    async def _ensure_active(self, tenant_id: str) -> EnvelopeKey:
        before = self._forgotten
        record = await self._repository.data_key(tenant_id, None)
        if record is None:
            record = await self.store_new_data_key(tenant_id, self._repository.create_data_key)
        check_may_seal(own(record, tenant_id))
        return await self._of_record(record, before)

    async def _read_active_master_key_id(self) -> bytes:
        """Return the id of the master key that is active now; b"" if there is none.

        Raises:
            KeyUnavailableError: somebody set the active master key's state back; the audit log says that this key was
                replaced.
        """
        records = await self._repository.master_keys()
        active = next((record for record in records if record.state is MasterKeyState.ACTIVE), None)
        if active is None:
            return b""
        if is_resurrected_master_key(active):
            _log.error("master key %s was set back to an older state: %s", active.key_id.hex(), RESURRECTED_MASTER_KEY)
            raise KeyUnavailableError(
                "the state of the master key was set back", reason=RESURRECTED_MASTER_KEY, retryable=False
            )
        return active.key_id

    async def _follow_rotation(self, refused: DataKeyRecord) -> bool:
        """Switch to the master key that is active now; return False if this process lacks it.

        Also return False if that master key already wraps the data key that the repository refused to store. The check
        reads the record's wraps and not `_active_master_key_id`, because another call may have changed that id after
        the record was made.
        """
        active = await self._read_active_master_key_id()
        if active in {wrap.master_key_id for wrap in refused.wraps} or active not in self._master_keys.opened:
            return False
        self._active_master_key_id = active
        return True

    async def _of_record(self, record: DataKeyRecord, before: int) -> EnvelopeKey:
        """Return the key of a record; do not cache it if any tenant was forgotten since the record was read."""
        if self._forgotten != before:
            return await self._open(record)
        tenant_id, key_id = record.tenant_id, record.key_id
        return self._cache.get(tenant_id, key_id) or await self._share((tenant_id, key_id), lambda: self._open(record))

    async def _open(self, record: DataKeyRecord) -> EnvelopeKey:
        check_may_open(record)
        if not record.wraps:
            raise UnreadableError("unknown_key")
        return EnvelopeKey(await self._wrapping.unwrap(record), record.key_id, Purpose.VALUE)
