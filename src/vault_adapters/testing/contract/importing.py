"""Imports of tokens: stored tokens stay unless overwritten, the latest row of a key wins, and a run may be repeated."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from attrs import evolve

from vault_adapters.composition import Store, open_vault_over
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import (
    ACCESS,
    CONFIG,
    UNWRITABLE,
    ContractFixtures,
    events_of,
    import_sealed,
    key,
    rows_of,
    tokens_of,
    value_of,
)
from vault_domain.entities.account import TokenKey
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.imported import ImportedToken, ImportedWrite, ImportFailure, ImportReport
from vault_domain.entities.secret import Secret
from vault_domain.entities.token import SealedToken, TokenStatus
from vault_domain.facade.vault import TokenVault
from vault_domain.ports.change import DataKeyInactiveError

THEN = datetime(2024, 5, 1, 12, tzinfo=UTC)


def row(token_key: TokenKey, value: str, day: int | None = None) -> ImportedToken:
    """Return a row that was last changed on a day of May 2024, or at an unknown time."""
    updated_at = None if day is None else THEN.replace(day=day)
    return ImportedToken(token_key, Secret(value), updated_at=updated_at)


def others(count: int, name: str = "other") -> Iterator[ImportedToken]:
    """Return rows for other keys, to fill a batch."""
    return (row(key(f"{name}-{number}"), "other") for number in range(count))


class ImportCases(ContractFixtures):
    """`TokenVault.import_tokens`."""

    async def test_a_row_goes_in_as_it_was(
        self, vault: TokenVault, clock: ManualClock, happened: list[AuditEvent]
    ) -> None:
        times = {name: THEN + timedelta(days=day, microseconds=day) for day, name in enumerate(_TIMES)}
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

    async def test_what_a_row_does_not_say(self, vault: TokenVault, clock: ManualClock) -> None:
        invalid = ImportedToken(key("i"), Secret("v"), status=TokenStatus.INVALID)
        unknown = ImportedToken(key("u"), Secret("v"), status=TokenStatus.UNKNOWN, updated_at=THEN)
        await vault.import_tokens([row(ACCESS, "v"), invalid, unknown])
        infos = await tokens_of(vault)
        assert infos[ACCESS].created_at == infos[ACCESS].updated_at == clock.now()
        assert (infos[ACCESS].status, infos[ACCESS].expires_at) == (TokenStatus.VALID, None)
        assert (infos[ACCESS].last_used_at, infos[ACCESS].last_refreshed_at) == (None, None)
        assert infos[key("i")].error_code == "imported"
        assert infos[key("u")].status is TokenStatus.UNKNOWN
        assert infos[key("u")].created_at == THEN

    async def test_times_in_the_future_become_the_present(self, vault: TokenVault, clock: ManualClock) -> None:
        later = clock.now() + timedelta(hours=2)
        times: dict[str, Any] = dict.fromkeys(_TIMES, later)
        await vault.import_tokens([ImportedToken(ACCESS, Secret("v"), **times)])
        info = (await tokens_of(vault))[ACCESS]
        assert info.expires_at == later
        assert {getattr(info, name) for name in _TIMES if name != "expires_at"} == {clock.now()}

    async def test_what_is_stored_stays(self, vault: TokenVault) -> None:
        stored = await vault.store_token(ACCESS, "rotated")
        report = await vault.import_tokens([row(ACCESS, "old"), row(key("new"), "new")])
        assert report == ImportReport(imported=1, skipped=1)
        assert (await tokens_of(vault))[ACCESS] == stored
        assert await value_of(vault, ACCESS) == "rotated"

    @pytest.mark.parametrize("source", [None, "file"])
    async def test_a_second_run_changes_nothing(self, vault: TokenVault, source: str | None) -> None:
        rows = [row(key(number), f"v{number}", day=1 + number) for number in range(5)]
        await vault.import_tokens(rows, source=source)
        await vault.store_token(key(0), "rotated")
        before, events = await tokens_of(vault), await events_of(vault)
        assert await vault.import_tokens(rows, source=source) == ImportReport(skipped=5)
        assert (await tokens_of(vault), await events_of(vault)) == (before, events)

    async def test_overwriting_begins_anew(self, vault: TokenVault) -> None:
        first = await vault.store_token(ACCESS, "v1", scopes=["a"])
        report = await vault.import_tokens([row(ACCESS, "v2"), row(key("new"), "v3")], overwrite=True)
        assert report == ImportReport(imported=1, replaced=1)
        info = (await tokens_of(vault))[ACCESS]
        assert (info.generation, info.scopes) == (1, ())
        assert info.id != first.id
        assert await value_of(vault, ACCESS) == "v2"
        events = [event for event in await events_of(vault) if event.action is AuditAction.TOKEN_IMPORTED]
        assert sorted([event.code or "" for event in events]) == ["", "replaced"]

    @pytest.mark.parametrize("apart", [0, 1000])
    @pytest.mark.parametrize(("refreshed", "days"), [(True, (1, 2)), (False, (1, 2)), (False, (2, 1))])
    async def test_overwriting_counts_as_a_refresh(
        self, vault: TokenVault, clock: ManualClock, apart: int, refreshed: bool, days: tuple[int, ...]
    ) -> None:
        await vault.store_token(ACCESS, "v1")
        clock.advance(timedelta(hours=1))
        time: dict[str, Any] = {"last_refreshed_at": THEN} if refreshed else {}
        rows = [evolve(row(ACCESS, f"day {day}", day=day), **time) for day in days]
        await vault.import_tokens([rows[0], *others(apart), rows[1], row(key("new"), "v")], overwrite=True)
        infos = await tokens_of(vault)
        assert infos[ACCESS].last_refreshed_at == (THEN if refreshed else clock.now())
        assert infos[key("new")].last_refreshed_at is None

    async def test_overwriting_again_replaces_again(self, vault: TokenVault) -> None:
        await vault.import_tokens([row(ACCESS, "v1", day=1)], overwrite=True, source="file")
        await vault.store_token(ACCESS, "rotated")
        report = await vault.import_tokens([row(ACCESS, "v1", day=1)], overwrite=True, source="file")
        assert (report.replaced, await value_of(vault, ACCESS)) == (1, "v1")

    @pytest.mark.parametrize("overwrite", [False, True])
    @pytest.mark.parametrize(("apart", "days"), [(0, (1, 2, 3)), (0, (3, 1, 2)), (999, (1, 2, 3)), (999, (2, 3, 1))])
    async def test_the_latest_of_several_rows_wins(
        self, vault: TokenVault, days: tuple[int, ...], apart: int, overwrite: bool
    ) -> None:
        if overwrite:
            await vault.store_token(ACCESS, "there before")
        rows: list[ImportedToken] = []
        for day in days:
            rows += [row(ACCESS, f"day {day}", day=day), *others(apart, str(day))]
        report = await vault.import_tokens(rows, overwrite=overwrite)
        assert await value_of(vault, ACCESS) == "day 3"
        assert (report.imported, report.replaced) == (3 * apart + (not overwrite), int(overwrite))
        assert (report.skipped, report.rows) == (2, len(rows))

    @pytest.mark.parametrize("apart", [0, 1000])
    @pytest.mark.parametrize(("first", "second"), [(1, 1), (None, 1), (1, None), (None, None)])
    async def test_of_equal_rows_the_first_wins(
        self, vault: TokenVault, first: int | None, second: int | None, apart: int
    ) -> None:
        await vault.import_tokens([row(ACCESS, "first", first), *others(apart), row(ACCESS, "second", second)])
        assert await value_of(vault, ACCESS) == "first"

    async def test_a_token_refreshed_during_the_run_is_not_replaced(
        self, vault: TokenVault, clock: ManualClock
    ) -> None:
        async def rows() -> AsyncIterator[ImportedToken]:
            yield row(ACCESS, "old", day=1)
            for other in others(1999):  # fills two batches, so ACCESS is stored before the last row is read
                yield other
            await vault.store_token(ACCESS, "rotated")
            yield ImportedToken(ACCESS, Secret("newer"), updated_at=clock.now() + timedelta(days=1))

        assert (await vault.import_tokens(rows())).skipped == 1
        assert await value_of(vault, ACCESS) == "rotated"

    async def test_a_run_that_was_killed_goes_on(self, vault: TokenVault) -> None:
        await vault.import_tokens([row(ACCESS, "old", day=1)], source="file")
        report = await vault.import_tokens([row(ACCESS, "old", day=1), row(ACCESS, "new", day=2)], source="file")
        assert (report, await value_of(vault, ACCESS)) == (ImportReport(skipped=2), "new")

    @pytest.mark.parametrize("day", [None, 1])
    async def test_a_token_marked_invalid_between_runs_stays_so(self, vault: TokenVault, day: int | None) -> None:
        await vault.import_tokens([row(ACCESS, "v", day)], source="file")
        await vault.mark_token_invalid((await tokens_of(vault))[ACCESS], "revoked")
        assert await vault.import_tokens([row(ACCESS, "v", day)], source="file") == ImportReport(skipped=1)
        assert (await tokens_of(vault))[ACCESS].error_code == "revoked"

    async def test_another_source_does_not_replace(self, vault: TokenVault) -> None:
        await vault.import_tokens([row(ACCESS, "old", day=1)], source="file")
        for source in (None, "another"):
            await vault.import_tokens([row(ACCESS, "new", day=2)], source=source)
        assert await value_of(vault, ACCESS) == "old"

    async def test_a_token_refreshed_between_runs_stays(self, vault: TokenVault, clock: ManualClock) -> None:
        await vault.import_tokens([row(ACCESS, "old", day=1)], source="file")
        await vault.store_token(ACCESS, "rotated")
        ahead = ImportedToken(ACCESS, Secret("newer"), updated_at=clock.now() + timedelta(days=1))
        clock.advance(timedelta(days=2))
        await vault.import_tokens([ahead], source="file")
        assert await value_of(vault, ACCESS) == "rotated"

    async def test_a_data_key_that_was_rotated_by_somebody_else(self, vault: TokenVault, store: Store) -> None:
        await vault.import_tokens([row(key("before"), "v")])
        async with open_vault_over(store, CONFIG) as other:
            await other.keys.rotate_data_key("t1")
        assert (await vault.import_tokens([row(ACCESS, "v")])).imported == 1
        assert await value_of(vault, ACCESS) == "v"

    @pytest.mark.parametrize("overwrite", [False, True])
    async def test_a_dry_run_counts_the_same_and_writes_nothing(self, vault: TokenVault, overwrite: bool) -> None:
        await vault.store_token(ACCESS, "there")
        rows: list[ImportedToken | ImportFailure] = [row(ACCESS, "v"), row(key("a"), "v"), *others(1000)]
        rows += [row(key("a"), "w"), ImportFailure(7, "not_json")]
        before = await tokens_of(vault), await events_of(vault)
        dry = await vault.import_tokens(rows, overwrite=overwrite, dry_run=True)
        assert (await tokens_of(vault), await events_of(vault)) == before
        assert await vault.import_tokens(rows, overwrite=overwrite) == dry

    async def test_a_batch_without_its_events_is_not_stored(self, vault: TokenVault, store: Store) -> None:
        await vault.store_token(ACCESS, "v")
        [stored] = await rows_of(store, [ACCESS])
        with pytest.raises(Exception):  # noqa: B017, PT011 - a store may raise any error
            await import_sealed(store, [_write("a", stored.sealed)], overwrite=False, actor=UNWRITABLE)
        assert set(await tokens_of(vault)) == {ACCESS}

    async def test_a_batch_under_a_data_key_that_is_not_active(self, vault: TokenVault, store: Store) -> None:
        await vault.store_token(ACCESS, "v")
        [stored] = await rows_of(store, [ACCESS])
        writes = [_write("a", stored.sealed), _write("b", SealedToken(os.urandom(16), stored.sealed.blob))]
        with pytest.raises(DataKeyInactiveError):
            await import_sealed(store, writes)
        await vault.keys.rotate_data_key("t1")
        with pytest.raises(DataKeyInactiveError):
            await import_sealed(store, writes[:1])
        assert set(await tokens_of(vault)) == {ACCESS}


_TIMES = ("expires_at", "last_used_at", "last_refreshed_at", "created_at", "updated_at")


def _write(identifier: str, sealed: SealedToken) -> ImportedWrite:
    return ImportedToken(key(identifier), Secret("v")).seal(sealed)
