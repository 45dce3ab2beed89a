"""Facts told to two processes in turn, each of which knows what it has read or written last: none decides by old facts.

One process alone is `FactCases`. SQLite loads in the transaction that writes, so it has nothing to know.
"""

from contextlib import AsyncExitStack

import pytest
from tests.contract.stores import opening

from vault_adapters import Secret, VaultConfig
from vault_adapters.composition import open_vault_over
from vault_adapters.testing import ManualClock
from vault_adapters.testing.contract.facts import ACCOUNT, ACCOUNTS, Story
from vault_adapters.testing.contract.fixtures import key

CONFIG = VaultConfig(encryption_secret=Secret("account-states-" + "0" * 40), scrypt_log2_n=14)
STEPS = 300


class TwoProcesses(Story):
    """Tells each fact to one of two stores over one database; a third one, which knows nothing, is compared."""

    def __init__(self, stores, observer, *rest):
        super().__init__(3, observer, *rest)
        self._stores, self._observer = stores, observer

    async def step(self):
        self._stores.reverse()
        self.store, other = self._stores
        for account in ACCOUNTS:
            await other.accounts.read(account)  # before this fact, so that what it knows is old when its turn comes
        await super().step()

    async def compare(self, name):
        self.store = self._observer
        await super().compare(name)


@pytest.fixture
def opener(request):
    yield from opening(request, "prepared_schemas")


async def test_no_process_decides_by_what_has_changed_since(opener):
    clock = ManualClock()
    async with AsyncExitStack() as stack:
        *stores, observer = [await stack.enter_async_context(opener(clock)) for _ in range(3)]
        async with open_vault_over(observer, CONFIG) as vault:
            await vault.store_token(key("another account"), "v")
            active = await observer.keys.data_key(ACCOUNT.tenant_id, None)
            story = TwoProcesses(stores, observer, active.key_id, clock)
            for _ in range(STEPS):
                await story.step()
