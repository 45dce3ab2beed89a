"""The notifications by which a writer tells other processes which rows it has changed.

A notification names no account, because every role of the database may listen. It names a *mark*: the first 24 bits of
a digest of tenant, provider and identifier. The notification's text is a list of items, separated by commas:

- ``k``, then the mark of a row, then the first eight hexadecimal digits of the id of the value that is stored now. If
  these digits are missing, the row was deleted, or its value became invalid or suspect.
- ``t``, then the mark of a tenant; all of its rows may have changed.
- ``p``, then random digits: a probe, with which a listener finds out whether notifications reach it.

A writer notifies only while somebody listens, because the server commits transactions with notifications one at a time.
Each listener holds an advisory lock that it shares with other listeners, and a writer checks whether this lock is free.
Only the trigger on the host's table of tenants always notifies.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

from vault_domain.entities.account import TokenKey

_MARK_DIGITS = 6
_VALUE_DIGITS = 8

_MOST_ITEMS = 500
"""Largest number of items in one notification. An item and its comma have 16 characters, and Postgres allows 7,999."""


_LISTENED = (
    "CASE WHEN pg_catalog.pg_try_advisory_lock({lock}) THEN NOT pg_catalog.pg_advisory_unlock({lock}) ELSE true END"
)
"""Whether somebody listens. A writer that gets the lock gives it back in the same expression, after a microsecond.

A concurrent writer that finds the lock taken meanwhile notifies without need, which does no harm.
"""

_TOLD = "CASE WHEN {listened} THEN pg_catalog.pg_notify('{channel}', {item}) IS NULL END AS told"

_TOLD_MANY = """SELECT pg_catalog.pg_notify('{channel}', pg_catalog.string_agg(i.item, ',')) IS NULL AS told
    FROM (SELECT {item} AS item, (pg_catalog.row_number() OVER () - 1) / {most} AS part FROM stored s) i
    WHERE (SELECT {listened})
    GROUP BY i.part"""


def channel_of(schema: str) -> str:
    """Return the name of the channel on which changes in a schema are told."""
    return f"token_vault_{_digest(schema)[:16]}"


def lock_of(schema: str) -> tuple[int, int]:
    """Return the numbers of the advisory lock that listeners hold."""
    digest = bytes.fromhex(_digest(f"listeners of {schema}"))
    return int.from_bytes(digest[:4], signed=True), int.from_bytes(digest[4:8], signed=True)


def mark_of(key: TokenKey) -> str:
    """Return the mark of a row; the SQL of `_mark_sql` returns the same mark."""
    return _mark_of(key.tenant_id, key.provider, key.identifier or "")


@lru_cache(maxsize=4096)
def _mark_of(tenant_id: str, provider: str, identifier: str) -> str:
    return _digest(f"{tenant_id}\n{provider}\n{identifier}")[:_MARK_DIGITS]


def mark_of_tenant(tenant_id: str) -> str:
    """Return the mark of a tenant; the SQL of `_digest_sql` returns the same mark for the tenant's id."""
    return _digest(tenant_id)[:_MARK_DIGITS]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def notifying_fragments(schema: str) -> dict[str, str]:
    """Return the parts of statements that notify, by name.

    - ``told_value``, ``told_change``, ``told_state``, ``told_tenant``: expressions for the RETURNING list of a
      statement that changes the row ``t``. The first tells that a value was stored in the row; the second, that the row
      was deleted or its value became invalid or suspect; the third, one of both by the parameter ``are_new``; the
      fourth, that any rows of its tenant may have changed. Postgres sends equal notifications of a transaction once.
    - ``told_values``: a query for a statement that has a CTE ``stored``. For each row of this CTE, the query tells that
      a value was stored in the row. The statement must read the query's result, because Postgres does not run a query
      whose result is not read.
    """
    first, second = lock_of(schema)
    listened = _LISTENED.replace("{lock}", f"{first}, {second}")

    def told(item: str) -> str:
        return _TOLD.replace("{item}", item).replace("{listened}", listened).replace("{channel}", channel)

    channel, mark, value = channel_of(schema), _mark_sql("t"), _value_sql("t")
    item = f"'k' || {_mark_sql('s')} || {_value_sql('s')}"
    many = _TOLD_MANY.replace("{item}", item).replace("{listened}", listened).replace("{channel}", channel)
    return {
        "told_value": told(f"'k' || {mark} || {value}"),
        "told_change": told(f"'k' || {mark}"),
        "told_state": told(f"'k' || {mark} || CASE WHEN %(are_new)b::boolean THEN {value} ELSE '' END"),
        "told_tenant": told(f"'t' || {_digest_sql('t.tenant_id')}"),
        "told_values": many.replace("{most}", str(_MOST_ITEMS)),
    }


def _mark_sql(row: str) -> str:
    return _digest_sql(f"{row}.tenant_id || E'\\n' || {row}.provider || E'\\n' || {row}.identifier")


def _value_sql(row: str) -> str:
    return f"pg_catalog.left({row}.value_id::text, {_VALUE_DIGITS})"


def _digest_sql(text: str) -> str:
    digest = f"pg_catalog.sha256(pg_catalog.convert_to({text}, 'UTF8'))"
    return f"pg_catalog.left(pg_catalog.encode({digest}, 'hex'), {_MARK_DIGITS})"
