"""Names and bounds of the monthly partitions of the audit log."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime

AHEAD = 3
"""Number of months for which partitions are made ahead: this month and the next two."""

_NAME = re.compile(r"audit_event_([1-8][0-9]{3})_(0[1-9]|1[0-2])\Z")


def months_ahead(now: datetime) -> Iterator[datetime]:
    """Yield the beginnings of this month and the next ones, UTC."""
    month = datetime(now.year, now.month, 1, tzinfo=UTC)
    for _ in range(AHEAD):
        yield month
        month = _next(month)


def name_of(month: datetime) -> str:
    """Return the name of a month's partition."""
    return f"audit_event_{month:%Y_%m}"


def end_of(name: str) -> datetime | None:
    """Return the end of a partition's month; None if the name is not that of a month's partition."""
    found = _NAME.match(name)
    return None if found is None else _next(datetime(int(found[1]), int(found[2]), 1, tzinfo=UTC))


def partition_sql(schema: str, month: datetime) -> str:
    """Return the statement that makes a month's partition.

    Args:
        schema: the quoted name of the schema.
        month: the beginning of the month, UTC.
    """
    start, end = (f"'{moment:%Y-%m-%d} 00:00:00+00'" for moment in (month, _next(month)))
    return (
        f"CREATE TABLE {schema}.{name_of(month)} PARTITION OF {schema}.audit_event FOR VALUES FROM ({start}) TO ({end})"
    )


def _next(month: datetime) -> datetime:
    return datetime(month.year + month.month // 12, month.month % 12 + 1, 1, tzinfo=UTC)
