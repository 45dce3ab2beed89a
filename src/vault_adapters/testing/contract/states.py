"""Used states of authorization requests: each is used once, before its expiry."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import timedelta

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import ContractFixtures
from vault_domain.ports.upkeep import StateUse

LIFETIME = timedelta(minutes=10)
STEP = timedelta(microseconds=1)


def _id(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


class StateCases(ContractFixtures):
    """`Upkeep.use_state` and `tenant_of`."""

    async def test_of_callers_at_once_one_is_the_first(self, store: Store, clock: ManualClock) -> None:
        ends = clock.now() + LIFETIME
        uses = await asyncio.gather(*[store.upkeep.use_state(_id("state"), ends) for _ in range(8)])
        assert sorted(uses, key=[StateUse.FIRST, StateUse.USED].index) == [StateUse.FIRST, *[StateUse.USED] * 7]

    async def test_a_used_state_is_remembered_until_it_expires(self, store: Store, clock: ManualClock) -> None:
        ends = clock.now() + LIFETIME
        assert await store.upkeep.use_state(_id("first"), ends) is StateUse.FIRST
        assert await store.upkeep.use_state(_id("second"), ends + STEP) is StateUse.FIRST
        assert await store.upkeep.use_state(_id("first"), ends) is StateUse.USED
        clock.advance(LIFETIME)
        assert await store.upkeep.use_state(_id("first"), ends) is StateUse.EXPIRED
        assert await store.upkeep.use_state(_id("second"), ends + STEP) is StateUse.USED
