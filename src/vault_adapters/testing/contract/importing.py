"""Imports of tokens: stored tokens stay unless overwritten, and a run replaces its own rows by later ones.

What becomes of the account is in `FactCases`.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import (
    ACCESS,
    UNWRITABLE,
    ContractFixtures,
    events_of,
    import_sealed,
    key,
    row_of,
    tokens_of,
    value_of,
)
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.imported import ImportedToken, ImportedWrite, ImportOutcome, ImportReport
from vault_domain.entities.secret import Secret
from vault_domain.entities.token import SealedToken, TokenStatus
from vault_domain.facade.vault import TokenVault
from vault_domain.ports.change import DataKeyInactiveError
from vault_domain.ports.late_writes import LateWrites

THEN = datetime(2024, 5, 1, 12, tzinfo=UTC)


class ImportCases(ContractFixtures):
    """`TokenVault.import_tokens`, and `Accounts.begin_import`."""

    async def test_a_row_goes_in_as_it_was(
        self, vault: TokenVault, clock: ManualClock, happened: list[AuditEvent]
    ) -> None:
        names = ("expires_at", "last_used_at", "last_refreshed_at", "created_at", "updated_at")
        times = {name: THEN + timedelta(days=day, microseconds=day) for day, name in enumerate(names)}
        token = ImportedToken(
            ACCESS, Secret("v"), status=TokenStatus.INVALID, error_code="gone", scopes=("a", "b"), **times
        )
        report = await vault.with_actor("me").import_tokens([token])

        assert report == ImportReport(imported=1)
        info = (await tokens_of(vault))[ACCESS]
        assert {name: getattr(info, name) for name in times} == times
        assert (info.status, info.error_code, info.scopes) == (TokenStatus.INVALID, "gone", ("a", "b"))
        assert (info.generation, info.lifetime) == (1, None)
        assert await value_of(vault, ACCESS) == "v"
        [event] = await events_of(vault)
        assert (event.action, event.actor, event.generation) == (AuditAction.TOKEN_IMPORTED, "me", 1)
        assert (event.account, event.kind, event.code) == (ACCESS.account, ACCESS.kind, None)
        assert event.occurred_at == clock.now()
        assert [evolve(event, cursor=None)] == [evolve(each, cursor=None) for each in happened]

    async def test_what_is_stored_stays(self, vault: TokenVault) -> None:
        stored = await vault.store_token(ACCESS, "rotated")
        rows = [ImportedToken(each, Secret("imported")) for each in (ACCESS, key("new"))]
        assert await vault.import_tokens(rows) == ImportReport(imported=1, skipped=1)
        assert (await tokens_of(vault))[ACCESS] == stored
        assert await value_of(vault, ACCESS) == "rotated"
        assert await vault.import_tokens(rows, overwrite=True) == ImportReport(replaced=2)
        assert await value_of(vault, ACCESS) == "imported"

    @pytest.mark.parametrize(("source", "is_again"), [(None, False), ("file", True)])
    async def test_a_run_replaces_its_own_rows_by_later_ones(
        self, vault: TokenVault, store: Store, source: str | None, is_again: bool
    ) -> None:
        await vault.store_token(key("any"), "v")
        sealed = (await row_of(store, key("any"))).sealed

        async def bring(source: str | None, *days: int) -> list[ImportOutcome]:
            prepare, outcomes = store.accounts.begin_import(source, overwrite=False, actor=None), []
            for day in days:
                token = ImportedToken(ACCESS, Secret("v"), updated_at=THEN.replace(day=day))
                outcomes += (await (await prepare(LateWrites.of([token.seal(sealed)])))()).result
            return outcomes

        async def stored_day() -> int:
            return (await tokens_of(vault))[ACCESS].updated_at.day

        assert await bring(source, 2, 3, 1) == [ImportOutcome.IMPORTED, *[ImportOutcome.SKIPPED] * 2]
        assert await stored_day() == 3
        for other in (None, "another"):
            await bring(other, 4)
        assert await stored_day() == 3
        await bring(source, 5)
        assert await stored_day() == (5 if is_again else 3)

    async def test_a_batch_without_its_events_is_not_stored(self, vault: TokenVault, store: Store) -> None:
        await vault.store_token(ACCESS, "v")
        writes = [_write("a", (await row_of(store)).sealed)]
        with pytest.raises(Exception):  # noqa: B017, PT011 - a store may raise any error
            await import_sealed(store, writes, overwrite=False, actor=UNWRITABLE)
        assert set(await tokens_of(vault)) == {ACCESS}

    async def test_a_batch_under_a_data_key_that_is_not_active(self, vault: TokenVault, store: Store) -> None:
        await vault.store_token(ACCESS, "v")
        sealed = (await row_of(store)).sealed
        writes = [_write("a", sealed), _write("b", SealedToken(os.urandom(16), sealed.blob))]
        with pytest.raises(DataKeyInactiveError):
            await import_sealed(store, writes)
        await vault.keys.rotate_data_key("t1")
        with pytest.raises(DataKeyInactiveError):
            await import_sealed(store, writes[:1])
        assert set(await tokens_of(vault)) == {ACCESS}


def _write(identifier: str, sealed: SealedToken) -> ImportedWrite:
    return ImportedToken(key(identifier), Secret("v")).seal(sealed)
