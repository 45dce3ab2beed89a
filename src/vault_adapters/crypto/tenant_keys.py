"""`TenantKeys`: the tenants' own master keys, by their URIs; one that is slow, denied or gone holds up nobody else."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from vault_domain.entities.errors import ConfigurationError, KeyUnavailableError
from vault_domain.ports.master_key import MasterKey
from vault_domain.rules.key_states import KEY_DENIED, TENANT_KEY_UNAVAILABLE

_log = logging.getLogger(__name__)

T = TypeVar("T")

_CAPACITY = 10_000
"""Largest number of master keys to hold. A key that is used again after it was dropped is opened again."""

_AT_ONCE = 2
"""Largest number of calls of one key at the same time; further calls wait for their turn."""

_SECONDS = 5.0
"""Longest time of a call in seconds, its wait for its turn included."""

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0
"""After a failure, nobody asks the key service for this key for a pause: 1 s, doubled at each failure up to 30 s.

Up to a quarter of it is left out at random, because many keys of one key service fail at the same moment, and calls for
all of them at once would hold up the event loop.
"""

DENIALS = frozenset({KEY_DENIED, "kms_access_denied", "kms_key_disabled", "kms_key_state", "kms_key_not_found"})
"""The codes of errors by which a key service says that the key itself may not be used."""

_MESSAGES = {
    KEY_DENIED: "the key service does not allow the use of the tenant's master key",
    TENANT_KEY_UNAVAILABLE: "the tenant's master key is not available now",
}


class GuardedKey:
    """One tenant's master key, with calls of its own: few at once, each of limited length, none right after a failure.

    Args:
        inner: the master key.
        seconds: longest time of a call.
        monotonic: a monotonic clock, in seconds.
    """

    def __init__(
        self, inner: MasterKey, *, seconds: float = _SECONDS, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._inner = inner
        self._seconds = seconds
        self._monotonic = monotonic
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._failure: str | None = None
        self._pause = 0.0
        self._paused_until = 0.0
        self._is_tried = False

    async def wrap(self, data_key: bytes, tenant_id: str, data_key_id: bytes) -> bytes:
        """See `MasterKey`.

        Raises:
            KeyUnavailableError: the key service denies the key (reason ``key_denied``), or the key cannot be used now
                (reason ``tenant_key_unavailable``).
        """
        held = [data_key]
        del data_key
        try:
            return await self._guarded(lambda: self._inner.wrap(held[0], tenant_id, data_key_id))
        finally:
            held.clear()  # tracebacks of errors must not hold the key

    async def unwrap(self, wrapped: bytes, tenant_id: str, data_key_id: bytes) -> bytes:
        """See `MasterKey`.

        Raises:
            KeyUnavailableError: see `wrap`.
            UnreadableError: see `MasterKey`.
        """
        return await self._guarded(lambda: self._inner.unwrap(wrapped, tenant_id, data_key_id))

    def refuse_in_pause(self) -> None:
        """Raise the last error again, if nobody may ask the key service now."""
        failure = self._failure_in_pause()
        if failure is not None:
            raise KeyUnavailableError(_MESSAGES[failure], reason=failure)

    async def check(self) -> None:
        """Wrap and unwrap random bytes now, also during the pause after a failure.

        Raises:
            ConfigurationError: the key service refuses permanently; see `MasterKey`.
            KeyUnavailableError: the key service does not answer (reason ``tenant_key_unavailable``).
        """
        try:
            async with asyncio.timeout(self._seconds), self._turns:
                await self._inner.check()
        except (TimeoutError, KeyUnavailableError):
            pass
        else:
            self._failure, self._pause, self._paused_until = None, 0.0, 0.0
            return
        raise KeyUnavailableError(_MESSAGES[TENANT_KEY_UNAVAILABLE], reason=TENANT_KEY_UNAVAILABLE)

    async def _guarded(self, call: Callable[[], Awaitable[T]]) -> T:
        failure = self._failure_in_pause()
        if failure is None:
            try:
                async with asyncio.timeout(self._seconds), self._turns:
                    failure = self._failure_in_pause()  # the key may have failed while this call waited for its turn
                    if failure is None:
                        return await self._try(call)
            except TimeoutError:
                failure = self._failed("timeout")
            except (KeyUnavailableError, ConfigurationError) as error:
                failure = self._failed(error.reason or error.code)
        raise KeyUnavailableError(_MESSAGES[failure], reason=failure)

    async def _try(self, call: Callable[[], Awaitable[T]]) -> T:
        self._is_tried = self._failure is not None
        try:
            result = await call()
        finally:
            self._is_tried = False
        self._failure, self._pause = None, 0.0
        return result

    def _failure_in_pause(self) -> str | None:
        """Return the last failure during the pause, and while one call after it tries the key again."""
        return self._failure if self._is_tried or self._monotonic() < self._paused_until else None

    def _failed(self, cause: str) -> str:
        """Begin a pause; return the reason for callers."""
        now, reason = self._monotonic(), KEY_DENIED if cause in DENIALS else TENANT_KEY_UNAVAILABLE
        if now >= self._paused_until:  # of several calls that fail together, only the first makes the pause longer
            self._pause = min(max(self._pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE)
            self._paused_until = now + self._pause * (1 - random.random() / 4)  # noqa: S311 - it spreads load
        if self._failure != reason:
            _log.warning("a tenant's own master key cannot be used: %s (%s)", reason, cause)
        self._failure = reason
        return reason


class TenantKeys:
    """Opens each master key at its first use, and keeps it apart from the others.

    Args:
        tokens: see `Tuning.key_service_tokens`.
        monotonic: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        tokens: Path | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tokens = tokens
        self._monotonic = monotonic
        self._keys: OrderedDict[str, GuardedKey] = OrderedDict()

    def get(self, uri: str) -> GuardedKey:
        """Return the master key of a URI.

        Raises:
            ConfigurationError: the URI names no key of a key service, or the library of the service is not installed.
        """
        key = self._keys.get(uri)
        if key is None:
            key = self._keys[uri] = GuardedKey(self._opened(uri), monotonic=self._monotonic)
            while len(self._keys) > _CAPACITY:
                self._keys.popitem(last=False)
        self._keys.move_to_end(uri)
        return key

    def refuse_in_pause(self, uri: str) -> None:
        """See `GuardedKey`; a key that was not opened yet is not opened by this."""
        key = self._keys.get(uri)
        if key is not None:
            key.refuse_in_pause()

    def _opened(self, uri: str) -> MasterKey:
        from vault_adapters.crypto.key_services import service_key  # only a vault that has such tenants loads it

        return service_key(uri, self._tokens)
