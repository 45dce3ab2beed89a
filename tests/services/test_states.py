"""Sealed states of authorization requests."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.services.over_dict import OverDict

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import ACCESS, ACCOUNT, ContractFixtures, OpenStore, value_of
from vault_domain.entities.account import Account
from vault_domain.entities.errors import StateRefusedError
from vault_domain.entities.token_set import TokenSet
from vault_domain.facade.vault import TokenVault

LIFETIME = timedelta(minutes=10)
STEP = timedelta(microseconds=1)


class TestStates(OverDict, ContractFixtures):
    """`VaultStates`."""

    async def refusal_of(self, vault: TokenVault, state: str, bound_to: str = "session") -> str | None:
        """Open a state; return the reason of the refusal, or None."""
        try:
            await vault.states.open(state, bound_to=bound_to)
        except StateRefusedError as error:
            return error.reason
        return None

    async def test_a_state_opens_once(self, vault: TokenVault) -> None:
        state = await vault.states.seal(ACCOUNT, "what the host must know", bound_to="session")
        opened = await vault.states.open(state, bound_to="session")
        assert (opened.tenant_id, opened.content.reveal()) == (ACCOUNT.tenant_id, "what the host must know")
        assert await self.refusal_of(vault, state) == "used"

    @pytest.mark.parametrize("character", ["x", '"', "\\", "\n", "é", "日", "😀"])
    async def test_the_longest_content_opens_whatever_its_characters(self, vault: TokenVault, character: str) -> None:
        content = character * (4096 // len(character.encode()))
        state = await vault.states.seal(ACCOUNT, content, bound_to="session")
        assert (await vault.states.open(state, bound_to="session")).content.reveal() == content

    async def test_a_state_of_something_else_is_not_used_up(self, vault: TokenVault) -> None:
        state = await vault.states.seal(ACCOUNT, "content", bound_to="session")
        changed = state[:-8] + ("A" * 8 if state[-8:] != "A" * 8 else "B" * 8)
        assert await self.refusal_of(vault, state, "another session") == "unreadable"
        assert await self.refusal_of(vault, changed) == "unreadable"
        assert await self.refusal_of(vault, "not a state") == "unreadable"
        assert await self.refusal_of(vault, state) is None

    async def test_a_replaced_data_key_keeps_what_has_begun(self, vault: TokenVault) -> None:
        state = await vault.states.seal(ACCOUNT, "content", bound_to="session")
        opened = await vault.states.open(state, bound_to="session")
        await vault.keys.rotate_data_key(ACCOUNT.tenant_id)
        await vault.store_token_set(ACCOUNT, TokenSet("access", "refresh"), state=opened)
        assert await value_of(vault, ACCESS) == "access"

    async def test_a_state_stores_for_its_own_tenant_only(self, vault: TokenVault) -> None:
        state = await vault.states.seal(ACCOUNT, "content", bound_to="session")
        opened = await vault.states.open(state, bound_to="session")
        with pytest.raises(ValueError, match="state must be"):
            await vault.store_token_set(Account("t2", ACCOUNT.provider), TokenSet("access"), state=opened)

    @pytest.mark.parametrize("content", ["", "x" * 4097])
    async def test_a_content_must_fit(self, vault: TokenVault, content: str) -> None:
        with pytest.raises(ValueError, match="content"):
            await vault.states.seal(ACCOUNT, content, bound_to="session")

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

    async def test_a_state_expires_by_the_stores_time(self, vault: TokenVault, clock: ManualClock) -> None:
        states = [await vault.states.seal(ACCOUNT, "content", bound_to="session") for _ in range(2)]
        clock.advance(LIFETIME - STEP)
        assert await self.refusal_of(vault, states[0]) is None
        clock.advance(STEP)
        assert [await self.refusal_of(vault, state) for state in states] == ["expired", "expired"]
