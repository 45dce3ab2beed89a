"""Chooses the part of a large table from which a health report estimates its counts; converts rows to counts."""

from collections.abc import Iterable, Sequence
from typing import Any

from vault_domain.entities.reports import HealthCount
from vault_domain.entities.token import TokenHealth

_TOKENS_OF_A_BLOCK = 10
"""Low estimate of the number of tokens in one block of the table on Postgres."""


def sampled_percent(blocks: int, most: int) -> float:
    """Return the percentage of a table's ``blocks`` to read for about ``most`` tokens; 100: read the whole table."""
    wanted = most / _TOKENS_OF_A_BLOCK
    return 100.0 if blocks <= wanted else 100.0 * wanted / blocks


def sampled_rows(highest: int, most: int) -> tuple[int, int]:
    """Return the step between the row numbers to look up, and the number of lookups; (1, 0): read all rows.

    Args:
        highest: the highest row number of the table.
        most: the largest number of lookups.
    """
    if highest <= most:
        return 1, 0
    step = -(-highest // most)
    return (step, -(-highest // step)) if step > 1 else (1, 0)


def health_counts(rows: Iterable[Sequence[Any]]) -> list[HealthCount]:
    """Return the counts from a store's rows; each row is (provider, health, count, whether the count is estimated)."""
    return [HealthCount(provider, TokenHealth(health), count, bool(guess)) for provider, health, count, guess in rows]
