"""`SyncMeasures`: the counts and observers of a vault, for code without an event loop."""

from __future__ import annotations

from collections.abc import Callable

from vault_adapters.sync.session import Call
from vault_adapters.sync.views import View, blocking
from vault_domain.entities.measures import VaultCounts
from vault_domain.facade.measures import VaultMeasures
from vault_domain.ports.observer import Observer


class SyncMeasures(View[VaultMeasures]):
    """Shows what a vault does; it has the methods of `VaultMeasures`, without await."""

    _path = "measures."

    census = blocking(VaultMeasures.census)

    def counts(self) -> VaultCounts:
        """Return what this vault has counted since it was opened."""
        return self._session.run(Call(_counts, self._target, (), {}, "measures.counts"))

    def observe(self, observer: Observer) -> None:
        """Tell an observer of every operation that begins from now on; this may be called before the vault is open."""
        self.when_open(lambda measures: measures.observe(observer))

    def when_open(self, work: Callable[[VaultMeasures], object]) -> None:
        """Call a function on the vault's own thread: now if the vault is open, else when it opens.

        The function must return at once and cannot call this vault. An error that the function raises is raised by
        this method, or by the call that opens the vault.

        Raises:
            ConfigurationError: the vault was closed, or it was opened before the process forked.
        """
        self._session.when_open(lambda vault: work(self._target(vault)))


async def _counts(measures: VaultMeasures) -> VaultCounts:
    return measures.counts()
