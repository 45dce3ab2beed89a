"""Tools for the tests of hosts: a vault in memory, a clock that a test moves, and a provider that follows a script.

`vault_adapters.testing.contract` has the suite that a store of your own must pass. Only that module needs pytest.
"""

from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.memory import memory_sync_vault, memory_vault
from vault_adapters.testing.refresher import Answer, RecordedCall, ScriptedRefresher

__all__ = ["Answer", "ManualClock", "RecordedCall", "ScriptedRefresher", "memory_sync_vault", "memory_vault"]
