"""Cases for two stored facts: each token's OAuth client, and the time since which a provider refuses an account."""

from __future__ import annotations

from datetime import timedelta

import pytest
from attrs import evolve

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import ACCESS, ACCOUNT, REFRESH, ContractFixtures
from vault_adapters.testing.contract.refreshing import HOUR, MINUTE, answer, claimed, state_of, token_set
from vault_domain.entities.attempt import Failure
from vault_domain.facade.vault import TokenVault

CLIENT, OTHER = b"a" * 16, b"b" * 16


class RefusalCases(ContractFixtures):
    """Each value has its client's fingerprint; the refresh state has the start of a run of refusals."""

    async def test_each_write_stores_the_client(self, vault: TokenVault, store: Store) -> None:
        await vault.store_token_set(ACCOUNT, token_set())
        writes = [evolve(write, client=CLIENT) for write in await answer(store)]
        [access, _] = (await store.tokens.store(writes, actor=None)).result
        assert access.client == CLIENT
        await self.check_clients(store, CLIENT)
        await store.changes.store_expecting(evolve(writes[0], client=OTHER), access.generation, actor=None)
        await store.tokens.store([evolve(writes[1], client=None)], actor=None)
        record, _ = await store.accounts.get(ACCOUNT)
        assert record is not None
        assert [record.tokens[key.kind].client for key in (ACCESS, REFRESH)] == [OTHER, None]

    @pytest.mark.usefixtures("vault")
    async def test_a_commit_and_a_set_store_the_client(self, vault: TokenVault, store: Store) -> None:
        await vault.store_token_set(ACCOUNT, token_set())
        attempt = await claimed(store)
        writes = [evolve(write, client=CLIENT) for write in await answer(store)]
        await store.refreshes.commit(attempt, writes, actor=None)
        await self.check_clients(store, CLIENT)
        others = [evolve(write, client=OTHER, value_id=None) for write in writes]
        await store.changes.store_set(ACCOUNT, others, label=None, actor=None)
        await self.check_clients(store, OTHER)

    async def check_clients(self, store: Store, expected: bytes) -> None:
        """Check the client of the account's access token and refresh token."""
        snapshot = await store.refreshes.read(ACCOUNT)
        assert snapshot.record is not None
        assert {info.client for info in snapshot.record.tokens.values()} == {expected}

    async def test_the_first_refusal_is_remembered_until_a_success(
        self, vault: TokenVault, store: Store, clock: ManualClock
    ) -> None:
        await vault.store_token_set(ACCOUNT, token_set())
        first = clock.now()
        for refused in (True, False, True):
            await store.refreshes.fail(await claimed(store), Failure("x", MINUTE, unknown=False, refused=refused))
            assert (await state_of(store)).refused_since == first
            clock.advance(HOUR)
        await store.refreshes.commit(await claimed(store), await answer(store), actor=None)
        assert (await state_of(store)).refused_since is None

    async def test_a_failure_of_another_kind_is_no_refusal(self, vault: TokenVault, store: Store) -> None:
        await vault.store_token_set(ACCOUNT, token_set())
        await store.refreshes.fail(await claimed(store), Failure(None, MINUTE, unknown=False))
        assert (await state_of(store)).refused_since is None

    async def test_another_set_or_credential_ends_the_refusals(
        self, vault: TokenVault, store: Store, clock: ManualClock
    ) -> None:
        await vault.store_token_set(ACCOUNT, token_set(), label="l")
        await store.refreshes.fail(await claimed(store), Failure(None, MINUTE, unknown=False, refused=True))
        await vault.store_token_set(ACCOUNT, token_set(1))
        assert (await state_of(store)).refused_since is None
        await store.refreshes.fail(await claimed(store), Failure(None, MINUTE, unknown=False, refused=True))
        await vault.store_token(REFRESH, "another refresh token")
        clock.advance(timedelta(minutes=2))
        await claimed(store)
        assert (await state_of(store)).refused_since is None
