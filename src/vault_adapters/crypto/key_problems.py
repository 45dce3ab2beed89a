"""`KeyProblems`: knows which tenants' own master keys cannot be used now."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from vault_domain.entities.errors import KeyUnavailableError, VaultError
from vault_domain.ports.cipher import UnreadableError
from vault_domain.rules.key_states import OF_ONE_TENANT

_REFUSED_SECONDS = 0.5
"""Time for which a tenant whose own master key cannot be used gets the same error again at once."""

_MOST = 10_000
"""Largest number of tenants to remember, with a problem and without one."""

_AT_ONCE = 64

_PATIENCE = 2.0
"""Longest time in seconds to find the problems of many tenants; a key service that hangs takes longer."""


class KeyProblems:
    """Remembers refusals, and finds the problems of tenants that are shown without opening a value.

    Args:
        examine: called with a tenant; returns whether the tenant has a master key of its own, and raises an error if
            its active data key cannot be opened.
        ttl: time in seconds for which a tenant that had no master key of its own is not examined again.
        monotonic: a monotonic clock, in seconds.
    """

    def __init__(self, examine: Callable[[str], Awaitable[bool]], ttl: float, monotonic: Callable[[], float]) -> None:
        self._examine = examine
        self._ttl = ttl
        self._monotonic = monotonic
        self._refused: dict[str, tuple[float, str]] = {}
        self._without: dict[str, float] = {}

    def note(self, tenant_id: str, error: KeyUnavailableError) -> None:
        """Remember a refusal, if the tenant's own master key caused it."""
        if error.reason in OF_ONE_TENANT:
            self._without.pop(tenant_id, None)
            _make_room(self._refused)
            self._refused[tenant_id] = self._monotonic() + _REFUSED_SECONDS, str(error.reason)

    def opened(self, tenant_id: str) -> None:
        """Forget the last refusal: a data key of the tenant could be unwrapped."""
        self._refused.pop(tenant_id, None)

    def forget(self, tenant_id: str) -> None:
        """Forget a tenant: it was erased, or its master key was changed."""
        self._refused.pop(tenant_id, None)
        self._without.pop(tenant_id, None)

    def refuse_again(self, tenant_id: str) -> None:
        """Raise the error of a moment ago, so that a tenant whose own key is dead costs no queries."""
        until, reason = self._refused.get(tenant_id, (0.0, ""))
        if self._monotonic() < until:
            raise KeyUnavailableError(reason=reason)

    async def find(self, tenant_ids: Iterable[str]) -> dict[str, str]:
        """See `Cipher.key_problems`."""
        now, found = self._monotonic(), dict[str, str]()
        unknown = [tenant_id for tenant_id in set(tenant_ids) if self._without.get(tenant_id, 0.0) <= now]
        if not unknown:
            return found
        found = {tenant_id: self._refused[tenant_id][1] for tenant_id in unknown if tenant_id in self._refused}
        limit = asyncio.Semaphore(_AT_ONCE)

        async def examine(tenant_id: str) -> None:
            async with limit:
                reason = await self._problem(tenant_id)
            if reason is not None:
                found[tenant_id] = reason
            else:
                found.pop(tenant_id, None)

        try:
            async with asyncio.timeout(_PATIENCE):
                await asyncio.gather(*map(examine, unknown))
        except TimeoutError:
            pass  # show what is known by now, or was known before
        return dict(found)

    async def _problem(self, tenant_id: str) -> str | None:
        try:
            self.refuse_again(tenant_id)
            if not await self._examine(tenant_id):
                _make_room(self._without)
                self._without[tenant_id] = self._monotonic() + self._ttl
        except KeyUnavailableError as error:
            return error.reason if error.reason in OF_ONE_TENANT else None
        except (VaultError, UnreadableError):
            pass  # this is told where a value is opened
        return None


def _make_room(remembered: dict[str, tuple[float, str]] | dict[str, float]) -> None:
    while len(remembered) >= _MOST:
        remembered.pop(next(iter(remembered)))
