"""`KeyProblems`: knows which tenants' own master keys cannot be used now."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

from vault_adapters.crypto import tenant_wrap
from vault_domain.entities.errors import KeyUnavailableError, VaultError
from vault_domain.entities.key_records import DataKeyState
from vault_domain.ports.cipher import UnreadableError
from vault_domain.rules.key_states import OF_ONE_TENANT

if TYPE_CHECKING:
    from vault_domain.entities.key_records import DataKeyRecord
    from vault_domain.ports.keys import DataKeyPosition, Keys

_REFUSED_SECONDS = 0.5
"""Time for which a tenant whose own master key cannot be used gets the same error again at once."""

_MOST = 10_000
"""Largest number of tenants to remember, with a problem and without one."""

_AT_ONCE = 64

_FEW = 50
"""For more tenants than this, their data keys are read by pages first, because few have master keys of their own."""

_PAGE = 500

_PATIENCE = 2.0
"""Longest time in seconds to find the problems of many tenants; a key service that hangs takes longer."""


class KeyProblems:
    """Remembers refusals, and finds the problems of tenants that are shown without opening a value.

    Args:
        examine: called with a tenant; returns whether the tenant has a master key of its own, and raises an error if
            its active data key cannot be opened.
        narrowed: called with many tenants; returns those that may have a master key of their own.
        ttl: time in seconds for which a tenant that had no master key of its own is not examined again.
        monotonic: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        examine: Callable[[str], Awaitable[bool]],
        narrowed: Callable[[set[str]], Awaitable[set[str]]],
        ttl: float,
        monotonic: Callable[[], float],
    ) -> None:
        self._examine = examine
        self._narrowed = narrowed
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
        unknown = {tenant_id for tenant_id in tenant_ids if self._without.get(tenant_id, 0.0) <= now}
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
                if len(unknown) > _FEW:
                    unknown = await self._without_others(unknown)
                await asyncio.gather(*map(examine, unknown))
        except (TimeoutError, VaultError):
            pass  # show what is known by now, or was known before
        return dict(found)

    async def _without_others(self, unknown: set[str]) -> set[str]:
        """Return the tenants that may have master keys of their own; remember the others."""
        suspected = await self._narrowed(unknown)
        for tenant_id in unknown - suspected:
            self._note_without(tenant_id)
        return suspected

    async def _problem(self, tenant_id: str) -> str | None:
        try:
            self.refuse_again(tenant_id)
            if not await self._examine(tenant_id):
                self._note_without(tenant_id)
        except KeyUnavailableError as error:
            return error.reason if error.reason in OF_ONE_TENANT else None
        except (VaultError, UnreadableError):
            pass  # this is told where a value is opened
        return None

    def _note_without(self, tenant_id: str) -> None:
        _make_room(self._without)
        self._without[tenant_id] = self._monotonic() + self._ttl


async def with_own_keys(repository: Keys, wanted: set[str]) -> set[str]:
    """Return those of many tenants that may have a master key of their own.

    Lists come sorted by tenant, so the active data keys of the tenants between the first and the last one are read.
    """
    from vault_domain.ports.keys import DataKeyQuery

    suspected, last, after = set[str](), max(wanted), (min(wanted), b"")
    for _ in range(2 + len(wanted) // _PAGE):
        position: DataKeyPosition = after
        records = await repository.data_keys(DataKeyQuery(state=DataKeyState.ACTIVE), position, _PAGE)
        suspected |= {record.tenant_id for record in records if _may_be_own(record)} & wanted
        if len(records) < _PAGE or records[-1].tenant_id > last:
            return suspected
        after = records[-1].tenant_id, records[-1].key_id
    # There are many other tenants between, so the rest is examined one by one.
    return suspected | {tenant_id for tenant_id in wanted if tenant_id > after[0]}


def _may_be_own(record: DataKeyRecord) -> bool:
    try:
        return tenant_wrap.key_uri(record) is not None
    except UnreadableError:
        return True


def _make_room(remembered: dict[str, tuple[float, str]] | dict[str, float]) -> None:
    while len(remembered) >= _MOST:
        remembered.pop(next(iter(remembered)))
