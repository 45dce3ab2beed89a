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
    key,
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


def row(token_key: TokenKey, value: str, day: int | None = None) -> ImportedToken:
    """Return a row that was last changed on a day of May 2024, or at an unknown time."""
    updated_at = None if day is None else THEN.replace(day=day)
    return ImportedToken(token_key, Secret(value), updated_at=updated_at)


def others(count: int, name: str = "other") -> Iterator[ImportedToken]:
    """Return rows for other keys, to fill a batch."""
    return (row(key(f"{name}-{number}"), "other") for number in range(count))
