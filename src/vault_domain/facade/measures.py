"""`VaultMeasures`: the counts and the observers of a vault; `TokenVault.measures` returns it."""

from __future__ import annotations

from vault_domain.entities.measures import Census, VaultCounts
from vault_domain.entities.scrub import scrubbed_async
from vault_domain.ports.observer import Observer
from vault_domain.services.measuring import MeasuringService


class VaultMeasures:
    """Shows a vault's counts and operations, for metrics and traces. Nothing here names a tenant, account or token.

    `vault_adapters.telemetry` passes these counts and operations on to OpenTelemetry. A host with other metrics may use
    this class directly.
    """

    __slots__ = ("_measuring",)

    def __init__(self, measuring: MeasuringService) -> None:
        self._measuring = measuring

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VaultMeasures) and self._measuring is other._measuring

    def __hash__(self) -> int:
        return hash(self._measuring)

    @property
    def is_closed(self) -> bool:
        """Whether the vault was closed, so that its counts do not change any more."""
        return self._measuring.observed.is_closed

    def counts(self) -> VaultCounts:
        """Return, without I/O, what this vault has counted since it was opened; any thread may call this."""
        return self._measuring.counts()

    def observe(self, observer: Observer) -> None:
        """Tell an observer of every operation that begins from now on; any thread may call this."""
        self._measuring.observed.add(observer)

    @scrubbed_async
    async def census(self) -> Census:
        """Count all accounts and tokens. This reads the whole database, so call it seldom.

        In a large vault, the counts of tokens of status VALID are estimates; see `HealthCount.is_estimate`.

        At most 100,000 accounts are counted in each state except ``connected``. Further accounts in these states count
        as ``connected``.
        """
        return await self._measuring.census.take()
