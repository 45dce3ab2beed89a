"""The one place that appends audit events on Postgres, as a statement of its own or as a part of another statement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vault_adapters.stores.postgres.cursors import int8
from vault_adapters.stores.postgres.database import Transaction
from vault_adapters.stores.postgres.shaping import Shape, row_of, shaped
from vault_adapters.stores.queries import Queries
from vault_domain.entities.audit import AuditEvent

_COLUMNS = {
    "tenant_id": "text",
    "action": "text",
    "occurred_at": "timestamptz",
    "provider": "text",
    "identifier": "text",
    "kind": "text",
    "generation": "bigint",
    "credential_generation": "bigint",
    "actor": "text",
    "code": "text",
}
"""The columns of an audit event, with their types; the parameters have the prefix ``event_``."""

_NAMES = ", ".join(_COLUMNS)

APPENDED = """INSERT INTO {{schema}}.audit_event ({{event_columns}}, xid)
    SELECT {{event_columns}}, xid FROM event"""
"""Appends the rows of the CTE ``event``, which has the columns of an event and its place, xid.

A change and its event are mostly one statement, because that is one round trip less. The CTE computes the place when
the rows that the event reports are locked. A statement about many rows computes it once, for all of them.
"""

_FEW = 8
"""Largest number of events for which `insert_events` is quicker than `append_events` on Citus."""


def appending_fragments() -> dict[str, str]:
    """Return the parts of statements that append events, by name."""
    return {
        "appended": APPENDED,
        "event_columns": _NAMES,
        "event_row": row_of(_COLUMNS, "e"),
        "events": f"unnest({', '.join(f'%(event_{name})b::{kind}[]' for name, kind in _COLUMNS.items())}) e ({_NAMES})",
    }


async def append_events(transaction: Transaction, queries: Queries, events: Sequence[AuditEvent]) -> None:
    """Append events in the transaction of the change that they report.

    On Citus, run this when the rows of the change are locked, so that the events get a place after those of all earlier
    writers.
    """
    if not events:
        return
    if transaction.is_distributed and len(events) <= _FEW:
        sql = shaped(queries["insert_events"], Shape(frozenset(), (("event", range(len(events))),)))
        await transaction.execute(sql, event_rows(events))
        return
    rows = [_row(event) for event in events]
    columns = zip(_COLUMNS, zip(*rows, strict=True), strict=True)
    await transaction.execute(queries["append_events"], {f"event_{name}": list(column) for name, column in columns})


def event_rows(events: Sequence[AuditEvent]) -> dict[str, Any]:
    """Return the parameters of the rows ``{{event_row}}`` of a statement; see `shaping`."""
    return {
        f"e{number}_{name}": value
        for number, event in enumerate(events)
        for name, value in zip(_COLUMNS, _row(event), strict=True)
    }


def _row(event: AuditEvent) -> tuple[Any, ...]:
    return (
        event.tenant_id or "",
        event.action.value,
        event.occurred_at,
        event.provider if event.account is None else event.account.provider,
        None if event.account is None else event.account.identifier or "",
        None if event.kind is None else event.kind.value,
        None if event.generation is None else int8(event.generation),
        None if event.credential_generation is None else int8(event.credential_generation),
        event.actor,
        event.code,
    )
