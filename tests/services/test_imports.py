"""Imports of tokens."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.services.over_dict import OverDict

from vault_adapters.testing.contract.fixtures import (
    ACCESS,
    ContractFixtures,
    events_of,
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

    @pytest.mark.parametrize("overwrite", [False, True])
    @pytest.mark.parametrize(("apart", "days"), [(0, (3, 1, 2)), (999, (2, 3, 1))])
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

    @pytest.mark.parametrize(("first", "second"), [(1, 1), (None, 1), (1, None), (None, None)])
    async def test_of_equal_rows_the_first_wins(self, vault: TokenVault, first: int | None, second: int | None) -> None:
        await vault.import_tokens([row(ACCESS, "first", first), row(ACCESS, "second", second)])
        assert await value_of(vault, ACCESS) == "first"

    @pytest.mark.parametrize("overwrite", [False, True])
    async def test_a_dry_run_counts_the_same_and_writes_nothing(self, vault: TokenVault, overwrite: bool) -> None:
        await vault.store_token(ACCESS, "there")
        rows: list[ImportedToken | ImportFailure] = [row(ACCESS, "v"), row(key("a"), "v"), *others(1000)]
        rows += [row(key("a"), "w"), ImportFailure(7, "not_json")]
        before = await tokens_of(vault), await events_of(vault)
        dry = await vault.import_tokens(rows, overwrite=overwrite, dry_run=True)
        assert (await tokens_of(vault), await events_of(vault)) == before
        assert await vault.import_tokens(rows, overwrite=overwrite) == dry


def row(token_key: TokenKey, value: str, day: int | None = None) -> ImportedToken:
    """Return a row that was last changed on a day of May 2024, or at an unknown time."""
    updated_at = None if day is None else THEN.replace(day=day)
    return ImportedToken(token_key, Secret(value), updated_at=updated_at)


def others(count: int, name: str = "other") -> Iterator[ImportedToken]:
    """Return rows for other keys, to fill a batch."""
    return (row(key(f"{name}-{number}"), "other") for number in range(count))
