"""Cases for `due_at` of accounts whose refresh token lapses unused, or whose access token is deleted."""

from __future__ import annotations

from datetime import timedelta

import pytest
from attrs import evolve

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import ACCESS, ACCOUNT, REFRESH, ContractFixtures, import_sealed
from vault_adapters.testing.contract.refreshing import HOUR, LEAD, answer, due_at
from vault_adapters.testing.contract.schedule import NO_TIME, WRITES, write_value
from vault_domain.entities.account import TokenKey, TokenKind
from vault_domain.entities.imported import ImportedToken
from vault_domain.entities.secret import Secret
from vault_domain.facade.vault import TokenVault


class IdleScheduleCases(ContractFixtures, given=("data_key",)):
    """`due_at` after a value with a `due_in` was stored, and after an access token was deleted."""

    @pytest.fixture
    async def data_key(self, vault: TokenVault) -> None:
        """Give the tenant a data key by storing a value."""
        await vault.store_token(ACCOUNT.key(TokenKind.WEBHOOK_SECRET), "v")

    @pytest.mark.parametrize("how", WRITES)
    async def test_a_refresh_token_that_lapses_unused_makes_a_new_account_due(
        self, store: Store, clock: ManualClock, how: str
    ) -> None:
        await write_value(store, how, REFRESH, due_in=NO_TIME)
        assert await due_at(store) == clock.now()

    @pytest.mark.parametrize("keys", [[ACCESS, REFRESH], [REFRESH, ACCESS]], ids=["access", "refresh"])
    @pytest.mark.parametrize("how", ["many", "store_set", "import"])
    @pytest.mark.parametrize("due_in", [3 * HOUR, HOUR])
    async def test_an_access_token_decides_when_an_account_is_due_that_is_stored_whole(
        self, store: Store, clock: ManualClock, how: str, keys: list[TokenKey], due_in: timedelta
    ) -> None:
        waits = {TokenKind.ACCESS_TOKEN: due_in, TokenKind.REFRESH_TOKEN: NO_TIME}
        writes = [
            evolve(write, due_in=waits[write.key.kind]) for write in await answer(store, keys=keys, lifetime=2 * HOUR)
        ]
        if how == "many":
            await store.tokens.store(writes, actor=None)
        elif how == "store_set":
            await store.changes.store_set(ACCOUNT, writes, label=None, actor=None)
        else:
            end = clock.now() + 2 * HOUR
            imported = [
                ImportedToken(each.key, Secret("v"), expires_at=end).seal(each.sealed, each.lead, each.due_in)
                for each in writes
            ]
            await import_sealed(store, imported)
        assert await due_at(store) == clock.now() + min(2 * HOUR - LEAD, due_in)

    @pytest.mark.parametrize("had", [HOUR, -HOUR, None])
    @pytest.mark.parametrize("gone", [ACCESS, REFRESH])
    async def test_an_account_whose_access_token_is_deleted_is_due_now(
        self, store: Store, clock: ManualClock, had: timedelta | None, gone: TokenKey
    ) -> None:
        """A deleted access token no longer decides when the account is due, so a sweep must look at the account now."""
        await write_value(store, "store", lifetime=HOUR + LEAD)
        await write_value(store, "store", REFRESH)
        due = None if had is None else clock.now() + had
        await store.refreshes.reschedule(ACCOUNT, lambda record, now: due)
        await store.changes.delete_token(gone, actor=None)
        is_later = due is None or due > clock.now()
        assert await due_at(store) == (clock.now() if gone == ACCESS and is_later else due)

    async def test_the_deletion_of_an_access_token_schedules_no_account_without_a_row(self, store: Store) -> None:
        await write_value(store, "store", lifetime=None)
        await store.changes.delete_token(ACCESS, actor=None)
        assert await due_at(store) is None
