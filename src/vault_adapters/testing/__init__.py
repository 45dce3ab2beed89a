"""For the tests of hosts: a vault in memory, a clock to move and a provider that answers as it is told.

`vault_adapters.testing.contract` has the suite that a store of your own is to pass; it needs pytest, the rest does not.
"""

from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.memory import memory_vault
from vault_adapters.testing.refresher import Answer, RecordedCall, ScriptedRefresher

__all__ = ["Answer", "ManualClock", "RecordedCall", "ScriptedRefresher", "memory_vault"]
