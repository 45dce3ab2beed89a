"""Cursors of listings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from tests.services.over_dict import OverDict

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import ContractFixtures, events_of, key
from vault_domain.entities.account import TokenKey, TokenKind
from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.page import Page, decode_cursor
from vault_domain.facade.vault import TokenVault

DAY = timedelta(days=1)


class TestCursors(OverDict, ContractFixtures):
    """A cursor is for its own listing."""

    async def test_cursors_are_for_their_own_listing(self, vault: TokenVault, clock: ManualClock) -> None:
        await vault.store_tokens([(key(number), "v", clock.now()) for number in range(3)])
        for tenant in ("t2", "t3"):
            await vault.store_token(TokenKey(tenant, "p", TokenKind.API_KEY), "v")
        cursors = [
            (await vault.list_tokens("t1", limit=1)).next,
            (await vault.list_accounts("t1", limit=1)).next,
            (await vault.find_expiring_tokens(DAY, limit=1)).next,
            (await vault.audit_events(limit=3)).next,
            (await vault.list_tenants(limit=1)).next,
        ]
        assert None not in cursors
        listings: list[Callable[[Any], Awaitable[Page[Any]]]] = [
            lambda after: vault.list_tokens("t1", after=after),
            lambda after: vault.list_accounts("t1", after=after),
            lambda after: vault.find_expiring_tokens(DAY, after=after),
            lambda after: vault.audit_events(after=after),
            lambda after: vault.list_tenants(after=after),
        ]
        for number, listing in enumerate(listings):
            for other, cursor in enumerate(cursors):
                if number == other:
                    assert len((await listing(cursor)).items) == 2
                else:
                    with pytest.raises(InvalidInputError):
                        await listing(cursor)
            for garbage in ("", "x", "'; --", "AAAA", 5, b"AAAA", "W10", "e30", "WzFd" * 4000):
                with pytest.raises(InvalidInputError):
                    await listing(garbage)

        for cursor in (cursors[1], cursors[-1]):
            for across in (vault.list_accounts(after=cursor), vault.find("google", after=cursor)):
                with pytest.raises(InvalidInputError):
                    await across

    @pytest.mark.parametrize("wrong", ["a", " a ", "", "x" * 256, "a\0b", "\ud800x", None, b"ana"])
    async def test_what_cannot_be_found_is_refused_and_not_repeated(self, vault: TokenVault, wrong: Any) -> None:
        with pytest.raises(InvalidInputError) as caught:
            await vault.find(wrong)
        assert not isinstance(wrong, str) or len(wrong) < 2 or wrong not in str(caught.value)

    async def test_cursors_of_events_do_not_count_other_tenants(self, store: Store, vault: TokenVault) -> None:
        for each in ("t1", "t2", "t2", "t1", "t2"):
            await vault.store_token(TokenKey(each, "google", TokenKind.API_KEY), "v")
        positions = {event.cursor for event in await store.audit.page(None, limit=9, after=None)}
        cursors = {tenant: [event.cursor for event in await events_of(vault, tenant)] for tenant in ("t1", "t2", None)}
        shown = [cursor for found in cursors.values() for cursor in found]
        assert len(set(shown)) == 10, "an event has the same cursor in two listings"
        for cursor in shown:
            assert cursor is not None
            assert cursor not in positions
            with pytest.raises(InvalidInputError):
                decode_cursor(cursor, int, int)
        for tenant in cursors:
            for other in cursors.keys() - {tenant}:
                with pytest.raises(InvalidInputError):
                    await vault.audit_events(tenant_id=tenant, after=cursors[other][0])
