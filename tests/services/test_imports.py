"""Imports of tokens."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from attrs import evolve
from tests.services.over_dict import OverDict

from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import (
    ACCESS,
    ContractFixtures,
    key,
    tokens_of,
    value_of,
)
from vault_domain.entities.account import TokenKey
from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.imported import ImportedToken, ImportFailure, ImportReport
from vault_domain.entities.secret import Secret
from vault_domain.facade.vault import TokenVault

THEN = datetime(2024, 5, 1, 12, tzinfo=UTC)


class TestImports(OverDict, ContractFixtures):
    """`TokenVault.import_tokens`."""

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

    @pytest.mark.parametrize("apart", [0, 1000])
    @pytest.mark.parametrize(("first", "second"), [(1, 1), (None, 1), (1, None), (None, None)])
    async def test_of_equal_rows_the_first_wins(
        self, vault: TokenVault, first: int | None, second: int | None, apart: int
    ) -> None:
        await vault.import_tokens([row(ACCESS, "first", first), *others(apart), row(ACCESS, "second", second)])
        assert await value_of(vault, ACCESS) == "first"

    @pytest.mark.parametrize("day", [None, 1])
    async def test_a_token_marked_invalid_between_runs_stays_so(self, vault: TokenVault, day: int | None) -> None:
        await vault.import_tokens([row(ACCESS, "v", day)], source="file")
        await vault.mark_token_invalid((await tokens_of(vault))[ACCESS], "revoked")
        assert await vault.import_tokens([row(ACCESS, "v", day)], source="file") == ImportReport(skipped=1)
        assert (await tokens_of(vault))[ACCESS].error_code == "revoked"

    async def test_a_token_refreshed_between_runs_stays(self, vault: TokenVault, clock: ManualClock) -> None:
        await vault.import_tokens([row(ACCESS, "old", day=1)], source="file")
        await vault.store_token(ACCESS, "rotated")
        ahead = ImportedToken(ACCESS, Secret("newer"), updated_at=clock.now() + timedelta(days=1))
        clock.advance(timedelta(days=2))
        await vault.import_tokens([ahead], source="file")
        assert await value_of(vault, ACCESS) == "rotated"

    async def test_failures_are_passed_on_and_progress_is_told(self, vault: TokenVault) -> None:
        told: list[ImportReport] = []
        failures = [ImportFailure(number, "not_json") for number in range(1, 1502)]
        report = await vault.import_tokens([row(ACCESS, "v"), *failures], progress=told.append)
        assert report == ImportReport(imported=1, failed=1501, failures=tuple(failures[:1000]))
        assert [counts.rows for counts in told] == [1000, 1502]
        assert told[-1] == report

    async def test_nothing_to_import(self, vault: TokenVault) -> None:
        assert await vault.import_tokens([]) == ImportReport()

    @pytest.mark.parametrize("rows", [None, 5, ["text"], [None], [(ACCESS, "v")]])
    async def test_other_rows_are_refused(self, vault: TokenVault, rows: Any) -> None:
        with pytest.raises(InvalidInputError):
            await vault.import_tokens(rows)


def row(token_key: TokenKey, value: str, day: int | None = None) -> ImportedToken:
    """Return a row that was last changed on a day of May 2024, or at an unknown time."""
    updated_at = None if day is None else THEN.replace(day=day)
    return ImportedToken(token_key, Secret(value), updated_at=updated_at)


def others(count: int, name: str = "other") -> Iterator[ImportedToken]:
    """Return rows for other keys, to fill a batch."""
    return (row(key(f"{name}-{number}"), "other") for number in range(count))
