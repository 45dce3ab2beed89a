"""A provider's answer is stored once, overwrites nothing that was stored meanwhile, and is not lost if it is late."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.failures import UNWRITABLE
from vault_adapters.testing.contract.fixtures import ACCESS, ACCOUNT, REFRESH, ContractFixtures, events_of, tokens_of
from vault_adapters.testing.contract.refreshing import (
    HOUR,
    LEASE,
    SECOND,
    answer,
    blobs_of,
    claimed,
    due_at,
    state_of,
    token_set,
)
from vault_domain.entities.account import ConnectionState
from vault_domain.entities.attempt import Commit, CommitOutcome, Failure
from vault_domain.entities.audit import AuditAction
from vault_domain.entities.refresh_state import RefreshState
from vault_domain.entities.token import TokenStatus
from vault_domain.facade.vault import TokenVault
from vault_domain.ports.change import DataKeyInactiveError

A, R = ACCESS.kind, REFRESH.kind


class CommitCases(ContractFixtures, given=("stored_account",)):
    """`RefreshLedger.commit`."""

    async def test_an_answer_is_stored(self, store: Store, vault: TokenVault, clock: ManualClock) -> None:
        before = await tokens_of(vault)
        attempt = await claimed(store)
        clock.advance(SECOND)
        writes = await answer(store)
        ids = {write.key: write.value_id for write in writes if write.value_id}
        change = await store.refreshes.commit(attempt, writes, actor="me")
        now = clock.now()
        assert change.result.outcome is CommitOutcome.WRITTEN
        assert await blobs_of(store) == {A: b"access_token 1", R: b"refresh_token 1"}
        renewed: dict[str, Any] = {"generation": 2, "updated_at": now, "last_refreshed_at": now}
        assert await tokens_of(vault) == {
            ACCESS: evolve(before[ACCESS], expires_at=now + HOUR, value_id=ids[ACCESS], **renewed),
            REFRESH: evolve(before[REFRESH], value_id=ids[REFRESH], **renewed),
        }
        row = (await store.tokens.get(ACCESS)).row
        assert row is not None
        assert change.result.access == evolve(row, info=(await tokens_of(vault))[ACCESS])
        events = (await events_of(vault))[-1:]
        assert [evolve(event, cursor=None) for event in events] == [evolve(each, cursor=None) for each in change.events]
        [event] = events
        assert (event.action, event.kind, event.actor) == (AuditAction.TOKEN_REFRESHED, A, "me")
        assert (event.generation, event.credential_generation) == (2, 2)
        record, _ = await store.accounts.get(ACCOUNT)
        assert record is not None
        assert record.label == "Ann"

    async def test_a_commit_ends_the_lease_and_clears_failures_and_unknown_outcome(
        self, store: Store, clock: ManualClock
    ) -> None:
        await store.refreshes.fail(await claimed(store), Failure("server_error", SECOND, unknown=True))
        clock.advance(HOUR)
        attempt = await claimed(store)
        await store.refreshes.commit(attempt, await answer(store), actor=None)
        state = await state_of(store)
        assert (state.lease_until, state.failures, state.next_attempt_at) == (None, 0, None)
        assert (state.unknown_since, state.error_code) == (None, None)
        assert state.attempt_id == attempt.attempt_id

    async def test_a_repeated_commit_changes_nothing(self, store: Store, vault: TokenVault, clock: ManualClock) -> None:
        attempt, writes = await claimed(store), await answer(store)
        await store.refreshes.commit(attempt, writes, actor=None)
        before, events = await tokens_of(vault), await events_of(vault)
        clock.advance(SECOND)
        again = await store.refreshes.commit(attempt, writes, actor=None)
        assert (again.result, tuple(again.events)) == (Commit(CommitOutcome.WRITTEN), ())
        assert (await tokens_of(vault), await events_of(vault)) == (before, events)

    async def test_a_repeated_commit_of_an_access_token_alone_changes_nothing(
        self, store: Store, vault: TokenVault
    ) -> None:
        attempt, writes = await claimed(store), await answer(store, keys=[ACCESS])
        before = (await tokens_of(vault))[REFRESH]
        for _ in range(2):
            assert (await store.refreshes.commit(attempt, writes, actor=None)).result.outcome is CommitOutcome.WRITTEN
        tokens = await tokens_of(vault)
        assert (tokens[ACCESS].generation, tokens[REFRESH]) == (2, before)

    async def test_a_repeated_commit_does_not_replace_newer_tokens(self, store: Store, vault: TokenVault) -> None:
        attempt, writes = await claimed(store), await answer(store)
        await store.refreshes.commit(attempt, writes, actor=None)
        await vault.store_token_set(ACCOUNT, token_set(7))
        before = await tokens_of(vault)
        assert (await store.refreshes.commit(attempt, writes, actor=None)).result.outcome is CommitOutcome.WRITTEN
        assert await tokens_of(vault) == before

    @pytest.mark.parametrize("keeps_mark", [True, False])
    async def test_a_late_answer_keeps_the_mark_of_the_credential_that_it_replaces(
        self, store: Store, vault: TokenVault, clock: ManualClock, keeps_mark: bool
    ) -> None:
        late, writes = await claimed(store), await answer(store)
        clock.advance(LEASE)
        await store.refreshes.reject(await claimed(store), "invalid_grant", actor=None)
        writes = [evolve(write, keeps_mark=keeps_mark) for write in writes]
        assert (await store.refreshes.commit(late, writes, actor=None)).result.outcome is CommitOutcome.WRITTEN
        assert (await blobs_of(store))[R] == b"refresh_token 1"
        tokens, info = await tokens_of(vault), await vault.get_account(ACCOUNT)
        assert info is not None
        assert (tokens[ACCESS].status, tokens[ACCESS].error_code) == (TokenStatus.VALID, None)
        if keeps_mark:
            assert (tokens[REFRESH].status, tokens[REFRESH].error_code) == (TokenStatus.UNKNOWN, "invalid_grant")
            assert (info.state, info.reason) == (ConnectionState.RETRYING, "invalid_grant")
            # The next refresh presents the new credential, and its success clears the mark.
            assert (await store.refreshes.commit(await claimed(store), await answer(store, 2), actor=None)).result
            tokens, info = await tokens_of(vault), await vault.get_account(ACCOUNT)
            assert info is not None
        assert (tokens[REFRESH].status, tokens[REFRESH].error_code) == (TokenStatus.VALID, None)
        assert info.state is ConnectionState.CONNECTED

    async def test_a_refresh_token_alone_is_stored(self, store: Store, vault: TokenVault) -> None:
        before = (await tokens_of(vault))[ACCESS]
        change = await store.refreshes.commit(await claimed(store), await answer(store, keys=[REFRESH]), actor=None)
        assert change.result == Commit(CommitOutcome.WRITTEN)
        assert (await tokens_of(vault))[ACCESS] == before
        assert (await blobs_of(store))[R] == b"refresh_token 1"

    @pytest.mark.parametrize("how", ["replaced", "deleted", "stored_again"])
    async def test_an_access_token_changed_during_the_attempt_is_not_overwritten(
        self, store: Store, vault: TokenVault, how: str
    ) -> None:
        attempt = await claimed(store)
        if how != "replaced":
            await vault.delete_token(ACCESS)
        if how != "deleted":
            await vault.store_token(ACCESS, "theirs")
        theirs, blobs = (await tokens_of(vault)).get(ACCESS), await blobs_of(store)
        change = await store.refreshes.commit(attempt, await answer(store), actor=None)
        assert change.result == Commit(CommitOutcome.ACCESS_MOVED)
        assert [event.kind for event in change.events] == [R]
        assert (await tokens_of(vault)).get(ACCESS) == theirs
        assert await blobs_of(store) == {**blobs, R: b"refresh_token 1"}
        assert (await state_of(store)).lease_until is None

    @pytest.mark.parametrize("how", ["replaced", "deleted", "stored_again", "account_deleted"])
    async def test_an_answer_for_a_replaced_or_deleted_credential_is_dropped(
        self, store: Store, vault: TokenVault, how: str
    ) -> None:
        attempt = await claimed(store)
        if how in ("deleted", "stored_again"):
            await vault.delete_token(REFRESH)
        if how in ("replaced", "stored_again"):
            await vault.store_token(REFRESH, "theirs")
        if how == "account_deleted":
            await vault.delete_account(ACCOUNT)
        before, events, blobs = await tokens_of(vault), await events_of(vault), await blobs_of(store)
        change = await store.refreshes.commit(attempt, await answer(store), actor=None)
        assert (change.result, tuple(change.events)) == (Commit(CommitOutcome.CREDENTIAL_MOVED), ())
        assert (await tokens_of(vault), await events_of(vault)) == (before, events)
        assert await blobs_of(store) == blobs
        if how == "account_deleted":
            assert await vault.get_account(ACCOUNT) is None
            assert await due_at(store) is None
        else:
            assert (await state_of(store)).lease_until is None

    async def test_an_answer_for_a_credential_marked_invalid_is_stored(self, store: Store, vault: TokenVault) -> None:
        attempt = await claimed(store)
        await vault.mark_token_invalid((await tokens_of(vault))[REFRESH], "revoked")
        change = await store.refreshes.commit(attempt, await answer(store), actor=None)
        assert change.result.outcome is CommitOutcome.WRITTEN
        refresh = (await tokens_of(vault))[REFRESH]
        assert (refresh.status, refresh.error_code) == (TokenStatus.UNKNOWN, "revoked")

    async def test_a_first_access_token_is_stored(self, store: Store, vault: TokenVault, clock: ManualClock) -> None:
        await vault.delete_token(ACCESS)
        attempt = await claimed(store)
        assert attempt.access is None
        change = await store.refreshes.commit(attempt, await answer(store), actor=None)
        assert change.result.outcome is CommitOutcome.WRITTEN
        info = (await tokens_of(vault))[ACCESS]
        assert change.result.access is not None
        assert change.result.access.info == info
        assert (info.generation, info.last_refreshed_at) == (1, clock.now())
        assert (await tokens_of(vault))[REFRESH].generation == 2

    async def test_a_first_access_token_of_another_writer_is_not_overwritten(
        self, store: Store, vault: TokenVault
    ) -> None:
        await vault.delete_token(ACCESS)
        attempt = await claimed(store)
        theirs = await vault.store_token(ACCESS, "theirs")
        change = await store.refreshes.commit(attempt, await answer(store), actor=None)
        assert change.result == Commit(CommitOutcome.ACCESS_MOVED)
        assert (await tokens_of(vault))[ACCESS] == theirs
        assert (await blobs_of(store))[R] == b"refresh_token 1"

    async def test_an_answer_after_the_lease_is_stored(
        self, store: Store, vault: TokenVault, clock: ManualClock
    ) -> None:
        attempt = await claimed(store)
        clock.advance(HOUR)
        change = await store.refreshes.commit(attempt, await answer(store), actor=None)
        assert change.result.outcome is CommitOutcome.WRITTEN
        state = await state_of(store)
        assert (state.lease_until, state.unknown_at(clock.now())) == (None, None)

    async def test_a_late_answer_is_stored_and_does_not_end_the_lease_of_the_next_attempt(
        self, store: Store, clock: ManualClock
    ) -> None:
        late = await claimed(store)
        clock.advance(LEASE)
        current = await claimed(store)
        change = await store.refreshes.commit(late, await answer(store), actor=None)
        assert change.result.outcome is CommitOutcome.WRITTEN
        state = await state_of(store)
        assert (state.attempt_id, state.lease_until) == (current.attempt_id, clock.now() + LEASE)
        change = await store.refreshes.commit(current, await answer(store, 2), actor=None)
        assert change.result.outcome is CommitOutcome.CREDENTIAL_MOVED
        assert await blobs_of(store) == {A: b"access_token 1", R: b"refresh_token 1"}
        assert (await state_of(store)).lease_until is None

    async def test_under_a_data_key_that_is_not_active_nothing_happens(self, store: Store, vault: TokenVault) -> None:
        attempt, writes = await claimed(store), await answer(store)
        await vault.keys.rotate_data_key(ACCOUNT.tenant_id)
        before, state = await tokens_of(vault), await state_of(store)
        with pytest.raises(DataKeyInactiveError):
            await store.refreshes.commit(attempt, writes, actor=None)
        assert (await tokens_of(vault), await state_of(store)) == (before, state)
        change = await store.refreshes.commit(attempt, await answer(store), actor=None)
        assert change.result.outcome is CommitOutcome.WRITTEN

    async def test_a_commit_whose_events_cannot_be_written_stores_nothing(
        self, store: Store, vault: TokenVault
    ) -> None:
        attempt, writes = await claimed(store), await answer(store)
        before, state = await tokens_of(vault), await state_of(store)
        with pytest.raises(Exception):  # noqa: B017, PT011 - a store may raise any error
            await store.refreshes.commit(attempt, writes, actor=UNWRITABLE)
        assert (await tokens_of(vault), await state_of(store)) == (before, state)
        assert (await store.refreshes.commit(attempt, writes, actor=None)).result.outcome is CommitOutcome.WRITTEN

    async def test_a_tenant_erased_after_the_claim_stays_erased(self, store: Store, vault: TokenVault) -> None:
        attempt, writes = await claimed(store), await answer(store)
        await vault.erase_tenant(ACCOUNT.tenant_id)
        events = await events_of(vault)
        try:
            change = await store.refreshes.commit(attempt, writes, actor=None)
        except DataKeyInactiveError:
            pass  # either result is right, because both the data key and the credential are gone
        else:
            assert (change.result, tuple(change.events)) == (Commit(CommitOutcome.CREDENTIAL_MOVED), ())
        await store.refreshes.fail(attempt, Failure("server_error", SECOND, unknown=True))
        await store.refreshes.release(attempt)
        assert (await store.refreshes.reject(attempt, "invalid_grant", actor=None)).result is False
        assert await tokens_of(vault) == {}
        assert await store.keys.active_data_key(ACCOUNT.tenant_id) is None
        assert await events_of(vault) == events
        assert await due_at(store) is None
        await vault.store_token_set(ACCOUNT, token_set())
        assert await state_of(store) == RefreshState()
