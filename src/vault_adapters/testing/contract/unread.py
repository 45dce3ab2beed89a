"""Answers that could not be read: one is kept for an account, until it is read, or its account is deleted."""

from __future__ import annotations

import pytest
from attrs import evolve

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import ACCOUNT, REFRESH, ContractFixtures, attempts_of, events_of
from vault_adapters.testing.contract.refreshing import SECOND, claimed
from vault_domain.entities.account import Account
from vault_domain.entities.attempt import Attempt
from vault_domain.entities.audit import AuditAction
from vault_domain.entities.token import SealedToken, StoredToken
from vault_domain.entities.token_set import TokenSet
from vault_domain.facade.vault import TokenVault
from vault_domain.ports.change import DataKeyInactiveError

_OTHER = Account("t2", "hubspot", None)


class UnreadCases(ContractFixtures, given=("stored_account",)):
    """The unread answers of `Upkeep`."""

    async def sealed(self, store: Store, blob: bytes = b"answer", account: Account = ACCOUNT) -> SealedToken:
        """Return a sealed answer under the data key of the account's refresh token; no store looks into it."""
        row = (await store.accounts.get(account.key(REFRESH.kind))).answer
        assert isinstance(row, StoredToken)
        return SealedToken(row.sealed.data_key_id, blob)

    async def second(self, store: Store, vault: TokenVault) -> Attempt:
        """Store and claim another tenant's account."""
        await vault.store_token_set(_OTHER, TokenSet("access", "refresh", expires_in=3600))
        return await claimed(store, account=_OTHER)

    async def test_answers_are_kept_in_order_until_they_are_dropped(
        self, store: Store, vault: TokenVault, clock: ManualClock
    ) -> None:
        attempts, known = [await claimed(store), await self.second(store, vault)], len(await events_of(vault))
        for number, attempt in enumerate(attempts):
            clock.advance(SECOND)
            sealed = await self.sealed(store, b"answer %d" % number, attempt.account)
            change = await store.upkeep.keep_answer(attempt, sealed, actor="me")
            assert change.result
            [event] = change.events
            assert event == evolve((await events_of(vault))[-1], cursor=None)
            assert (event.action, event.account, event.actor, event.code) == (
                AuditAction.ANSWER_KEPT,
                attempt.account,
                "me",
                "unreadable_answer",
            )
        assert len(await events_of(vault)) == known + 2
        first, second = await store.upkeep.kept_answers(None, 10)
        assert [first.account, second.account] == [ACCOUNT, _OTHER]
        assert [first.attempt_id, second.attempt_id] == [attempt.attempt_id for attempt in attempts]
        assert [first.sealed.blob, second.sealed.blob] == [b"answer 0", b"answer 1"]
        assert second.kept_at - first.kept_at == SECOND
        assert list(await store.upkeep.kept_answers(None, 1)) == [first]
        assert list(await store.upkeep.kept_answers((first.kept_at, first.attempt_id), 10)) == [second]
        assert list(await store.upkeep.kept_answers((second.kept_at, second.attempt_id), 10)) == []
        assert await store.upkeep.count_answers() == {"google": 1, "hubspot": 1}
        await store.upkeep.drop_answer(evolve(first, attempt_id=second.attempt_id))
        assert list(await store.upkeep.kept_answers(None, 10)) == [first, second]
        await store.upkeep.drop_answer(first)
        await store.upkeep.drop_answer(first)
        assert list(await store.upkeep.kept_answers(None, 10)) == [second]
        assert await store.upkeep.count_answers() == {"hubspot": 1}

    async def test_a_later_answer_replaces_the_account_s_earlier_one(
        self, store: Store, vault: TokenVault, clock: ManualClock
    ) -> None:
        attempt = await claimed(store)
        await store.upkeep.keep_answer(attempt, await self.sealed(store, b"first"), actor=None)
        clock.advance(SECOND)
        again = await store.upkeep.keep_answer(attempt, await self.sealed(store, b"again"), actor=None)
        [kept] = await store.upkeep.kept_answers(None, 10)
        assert (again.result, again.events, kept.sealed.blob) == (True, (), b"again")
        assert clock.now() - kept.kept_at == SECOND
        await attempts_of(store).release(attempt)
        later = await claimed(store)
        await store.upkeep.keep_answer(later, await self.sealed(store, b"later"), actor=None)
        [kept] = await store.upkeep.kept_answers(None, 10)
        assert (kept.attempt_id, kept.sealed.blob, kept.kept_at) == (later.attempt_id, b"later", clock.now())

    async def test_the_answer_for_a_replaced_credential_is_not_kept(self, store: Store, vault: TokenVault) -> None:
        attempt, sealed = await claimed(store), await self.sealed(store)
        await vault.store_token(REFRESH, "refresh-1")
        known = len(await events_of(vault))
        change = await store.upkeep.keep_answer(attempt, sealed, actor=None)
        assert (change.result, change.events) == (False, ())
        assert (list(await store.upkeep.kept_answers(None, 10)), len(await events_of(vault))) == ([], known)

    @pytest.mark.parametrize("how", ["account", "tokens", "tenant"])
    async def test_deleting_the_account_deletes_the_answer(self, store: Store, vault: TokenVault, how: str) -> None:
        other, attempt, sealed = await self.second(store, vault), await claimed(store), await self.sealed(store)
        await store.upkeep.keep_answer(attempt, sealed, actor=None)
        await store.upkeep.keep_answer(other, await self.sealed(store, account=_OTHER), actor=None)
        if how == "account":
            await vault.delete_account(ACCOUNT)
        elif how == "tokens":
            await vault.delete_provider_tokens(ACCOUNT.tenant_id, ACCOUNT.provider)
        else:
            await vault.erase_tenant(ACCOUNT.tenant_id)
        assert [kept.account for kept in await store.upkeep.kept_answers(None, 10)] == [_OTHER]

    async def test_an_answer_under_an_inactive_data_key_is_refused(self, store: Store, vault: TokenVault) -> None:
        attempt, sealed = await claimed(store), await self.sealed(store)
        await vault.keys.rotate_data_key(ACCOUNT.tenant_id)
        with pytest.raises(DataKeyInactiveError):
            await store.upkeep.keep_answer(attempt, sealed, actor=None)
        assert list(await store.upkeep.kept_answers(None, 10)) == []
        await vault.erase_tenant(ACCOUNT.tenant_id)
        with pytest.raises(DataKeyInactiveError):
            await store.upkeep.keep_answer(attempt, sealed, actor=None)
