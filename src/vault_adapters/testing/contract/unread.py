"""Answers that could not be read: one is kept for an account, until it is read, or its account is deleted."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest
from attrs import evolve

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import ACCOUNT, ContractFixtures, attempts_of, events_of
from vault_adapters.testing.contract.refreshing import SECOND, claimed, state_of
from vault_domain.entities.account import Account
from vault_domain.entities.attempt import Attempt, Failure, SealedAnswer
from vault_domain.entities.audit import AuditAction
from vault_domain.entities.token import SealedToken
from vault_domain.entities.token_set import TokenSet
from vault_domain.facade.vault import TokenVault
from vault_domain.ports.change import DataKeyInactiveError

_OTHER = Account("t2", "hubspot", None)


class UnreadCases(ContractFixtures, given=("stored_account",)):
    """The kept answers of accounts, besides what `FactCases` tells."""

    async def answer(self, store: Store, account: Account) -> SealedAnswer:
        """Return an answer sealed under the data key of the account's tokens; no store looks into it."""
        [sealed, *_] = (await store.accounts.read(account)).sealed.values()
        failure = Failure("unreadable_answer", timedelta(days=4), unknown=False)
        return SealedAnswer(SealedToken(sealed.data_key_id, b"answer"), failure)

    async def keep(self, store: Store, attempt: Attempt) -> None:
        """Keep an answer of an attempt."""
        await attempts_of(store).keep(attempt, await self.answer(store, attempt.account), actor=None)

    async def test_kept_answers_are_listed_oldest_first_until_the_tenant_is_erased(
        self, store: Store, vault: TokenVault, clock: ManualClock
    ) -> None:
        await vault.store_token_set(_OTHER, TokenSet("access", "refresh", expires_in=3600))
        places = []
        for account in (ACCOUNT, _OTHER):
            attempt = await claimed(store, account=account)
            clock.advance(SECOND)
            await self.keep(store, attempt)
            places.append((account, (clock.now(), attempt.attempt_id)))
        listed = store.pages.kept_answers
        assert await listed(limit=10, after=None) == places
        assert await listed(limit=1, after=None) == places[:1]
        assert await listed(limit=10, after=places[0][1]) == places[1:]
        assert await listed(limit=10, after=places[1][1]) == []
        await vault.erase_tenant(ACCOUNT.tenant_id)
        assert await listed(limit=10, after=None) == places[1:]

    async def test_of_several_answers_at_once_each_replaces_the_one_before(
        self, store: Store, vault: TokenVault
    ) -> None:
        latest = await claimed(store)
        attempts = [latest, *(evolve(latest, attempt_id=uuid4()) for _ in range(3))]
        await asyncio.gather(*(self.keep(store, attempt) for attempt in attempts))
        assert len(await store.pages.kept_answers(limit=10, after=None)) == 1
        kept = [event for event in await events_of(vault) if event.action is AuditAction.ANSWER_KEPT]
        assert (len(kept), (await state_of(store)).failures) == (len(attempts), 1)

    async def test_an_answer_under_an_inactive_data_key_is_refused(self, store: Store, vault: TokenVault) -> None:
        attempt, answer = await claimed(store), await self.answer(store, ACCOUNT)
        await vault.keys.rotate_data_key(ACCOUNT.tenant_id)
        with pytest.raises(DataKeyInactiveError):
            await attempts_of(store).keep(attempt, answer, actor=None)
        assert ((await state_of(store)).failures, await store.pages.kept_answers(limit=10, after=None)) == (0, [])
