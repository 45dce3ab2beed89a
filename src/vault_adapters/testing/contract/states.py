"""Sealed states of authorization requests: a state opens once, before its expiry, with the text that it is bound to."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import timedelta

import pytest

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import ACCESS, ACCOUNT, ContractFixtures, OpenStore, value_of
from vault_domain.entities.account import Account
from vault_domain.entities.errors import StateRefusedError
from vault_domain.entities.token_set import TokenSet
from vault_domain.facade.vault import TokenVault
from vault_domain.ports.upkeep import StateUse

LIFETIME = timedelta(minutes=10)
STEP = timedelta(microseconds=1)


def _id(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


class StateCases(ContractFixtures):
    """`Upkeep.use_state`, and `VaultStates` over it."""

    async def refusal_of(self, vault: TokenVault, state: str, bound_to: str = "session") -> str | None:
        """Open a state; return the reason of the refusal, or None."""
        try:
            await vault.states.open(state, bound_to=bound_to)
        except StateRefusedError as error:
            return error.reason
        return None

    async def test_of_callers_at_once_one_opens_it(self, vault: TokenVault) -> None:
        state = await vault.states.seal(ACCOUNT, "content", bound_to="session")
        reasons = await asyncio.gather(*[self.refusal_of(vault, state) for _ in range(8)])
        assert sorted(reasons, key=str) == [None, *["used"] * 7]

    async def test_a_state_expires_by_the_stores_time(self, vault: TokenVault, clock: ManualClock) -> None:
        states = [await vault.states.seal(ACCOUNT, "content", bound_to="session") for _ in range(2)]
        clock.advance(LIFETIME - STEP)
        assert await self.refusal_of(vault, states[0]) is None
        clock.advance(STEP)
        assert [await self.refusal_of(vault, state) for state in states] == ["expired", "expired"]

    async def test_a_state_dies_with_its_tenant(self, vault: TokenVault) -> None:
        state = await vault.states.seal(ACCOUNT, "content", bound_to="session")
        other = await vault.states.seal(Account("t2", ACCOUNT.provider), "content", bound_to="session")
        await vault.erase_tenant(ACCOUNT.tenant_id)
        assert await self.refusal_of(vault, state) == "unreadable"
        assert (await vault.states.open(other, bound_to="session")).tenant_id == "t2"

    async def test_a_state_dies_with_its_tenant_in_other_processes(
        self, vault: TokenVault, open_store: OpenStore, clock: ManualClock
    ) -> None:
        async with open_store(clock) as store, self.vault_over(store) as other:
            state = await other.states.seal(ACCOUNT, "content", bound_to="session")
            await vault.erase_tenant(ACCOUNT.tenant_id)
            assert await self.refusal_of(other, state) == "unreadable"

    async def test_what_began_before_an_erasure_does_not_bring_the_tenant_back(
        self, vault: TokenVault, store: Store, open_store: OpenStore, clock: ManualClock
    ) -> None:
        async with open_store(clock) as second, self.vault_over(second) as other:
            state = await other.states.seal(ACCOUNT, "content", bound_to="session")
            opened = await other.states.open(state, bound_to="session")
            await vault.erase_tenant(ACCOUNT.tenant_id)
            # The other process still holds the data key; this one must not make a new one.
            for process in (other, vault):
                with pytest.raises(StateRefusedError) as caught:
                    await process.store_token_set(ACCOUNT, TokenSet("access"), state=opened)
                assert (caught.value.reason, caught.value.account) == ("unreadable", ACCOUNT)
            assert await store.keys.data_key(ACCOUNT.tenant_id, None) is None
            # The tenant comes back by a new request; what began before the erasure stays outside.
            state = await vault.states.seal(ACCOUNT, "content", bound_to="session")
            with pytest.raises(StateRefusedError):
                await other.store_token_set(ACCOUNT, TokenSet("access"), state=opened)
            assert (await vault.list_tokens(ACCOUNT.tenant_id)).items == ()
            anew = await other.states.open(state, bound_to="session")
            await other.store_token_set(ACCOUNT, TokenSet("access"), state=anew)
            assert await value_of(vault, ACCESS) == "access"

    async def test_a_used_state_is_remembered_until_it_expires(self, store: Store, clock: ManualClock) -> None:
        ends = clock.now() + LIFETIME
        assert await store.upkeep.use_state(_id("first"), ends) is StateUse.FIRST
        assert await store.upkeep.use_state(_id("second"), ends + STEP) is StateUse.FIRST
        assert await store.upkeep.use_state(_id("first"), ends) is StateUse.USED
        clock.advance(LIFETIME)
        assert await store.upkeep.use_state(_id("first"), ends) is StateUse.EXPIRED
        assert await store.upkeep.use_state(_id("second"), ends + STEP) is StateUse.USED

    async def test_a_data_key_names_its_tenant(self, vault: TokenVault, store: Store) -> None:
        await vault.states.seal(ACCOUNT, "content", bound_to="session")
        record = await store.keys.data_key(ACCOUNT.tenant_id, None)
        assert record is not None
        assert await store.upkeep.tenant_of(record.key_id) == ACCOUNT.tenant_id
        assert await store.upkeep.tenant_of(b"n" * 16) is None
