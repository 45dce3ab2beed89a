"""`SyncStates`: seals the states of authorization requests, for code without an event loop."""

from __future__ import annotations

from vault_adapters.sync.views import View, blocking
from vault_domain.facade.states import VaultStates


class SyncStates(View[VaultStates]):
    """Seals and opens states; it has the methods of `VaultStates`, without await."""

    _path = "states."

    seal = blocking(VaultStates.seal)
    open = blocking(VaultStates.open)
