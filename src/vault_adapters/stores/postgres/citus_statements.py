"""Changes statements for a server without Citus (a plain server) into statements for tables that Citus distributes.

The tables are distributed by tenant. Some statements are written anew, in the folder ``sql_citus``. These rules apply
to all statements:

- A statement that writes gets the time as a parameter, because Citus refuses the time function in CASE,
  ON CONFLICT and RETURNING.
- Citus does not support a statement that locks rows of several tenants. So a statement about several tenants takes no
  row locks. Other statements lock its rows first, tenant by tenant (`HELD`), or no statement does (`UNHELD`).
- Some statements of a plain server put a parameter into a subquery, to hide it from the planner. The statements for
  Citus have the parameter without the subquery, because Citus plans a statement with such a subquery differently.
- No statement notifies, because a notification would not leave the node on which it is sent.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

from vault_adapters.stores.columns import PLAIN, TOKEN_ALONE, VALUE, with_plain
from vault_adapters.stores.queries import Queries

FUNCTIONS_SQL = with_plain(files("vault_adapters.stores.postgres").joinpath("citus_functions.sql").read_text("utf-8"))
"""The SQL of the functions that store values, with placeholders for the schema and the version."""


def version_of(sql: str) -> str:
    """Return the version of the functions in a script; the comments between the functions do not count."""
    return hashlib.sha256(re.sub(r"(?m)^--.*\n", "", sql).encode()).hexdigest()[:8]


FUNCTIONS_VERSION = version_of(FUNCTIONS_SQL)
"""Version of the functions; their names end with it.

A release that changes the functions creates them under new names. The processes of an older release go on with the
older functions.
"""

HELD: Mapping[str, tuple[str, ...]] = {
    "load_held": ("hold_data_keys", "hold_tokens"),
    "reseal_tokens": ("hold_data_keys", "hold_tokens"),
    "share_active_master_key": ("hold_master_keys",),
    "change_wraps": ("hold_data_keys",),
    "empty_tenant_audit_events": ("copy_tenant_audit_events",),
}
"""For a statement, the statements that run before it in the same transaction."""

ALONE = frozenset({"store_token"})
"""The statements that are a transaction of their own: one call of a function, which reads the clock itself."""

UNHELD = frozenset({"reserve_due_accounts", "record_uses", "prune_audit_events", "put_data_keys"})
"""The statements whose row locks are removed, without another statement that takes these locks first.

Between the search for rows and the change of them, another process may change the rows. So these statements check the
rows again in each change. Only the following changes are made without this check, by the primary keys of the rows that
the search found: `prune_audit_events` deletes events, `record_uses` stores uses, and `put_data_keys` deletes wraps.
"""

_ROW_LOCK = re.compile(r"\n\s*FOR (?:KEY SHARE|SHARE|UPDATE)(?: OF \w+)?(?: SKIP LOCKED)?(?=[,)\s]|\Z)")
_WRITES = re.compile(r'\b(?:INSERT INTO|UPDATE|DELETE FROM) "')
_HIDDEN = re.compile(r"\(SELECT (%\(\w+\)b::text)\)")  # a parameter that a plain server's planner must not see

_GIVEN_NOW = "%(now)b::timestamptz"
_UNTOLD = "NULL::boolean AS told"

_STORED = {
    **{f"t.{name}": f"s.stored_{name}" for name in ("id", "expires_at", "generation", "last_refreshed_at")},
    **{f"t.{name}": f"s.stored_{name}" for name in ("created_at", "updated_at", "scopes")},
    **dict.fromkeys(("t.suspect_since", "t.rejected_at"), "NULL::timestamptz"),
    "t.status": "'valid'::text",
    "t.error_code": "NULL::text",
    "t.lifetime": "%(lifetime)b::bigint",
    "t.value_id": "%(value_id)b::uuid",
    **{f"t.{column.name}": f"%({column.name})b::{column.type}" for column in PLAIN},
}
"""The SQL for each column of a stored token: a column that `citus_store_token` returns, a parameter or a constant."""


def distributed_fragments(horizon: str, data_key_event: str) -> dict[str, str]:
    """Return the parts of statements that differ from those of a plain server, by name.

    Args:
        horizon: the plain server's expression for the number of the oldest transaction that may still add events; a
            page of the audit log ends before this transaction. The node that gives the events their places in
            the log evaluates the expression.
        data_key_event: the plain server's expression for the event that confirms a state of a data key.
    """
    return {
        **dict.fromkeys(("told_value", "told_change", "told_tenant"), _UNTOLD),
        "told_values": f"SELECT {_UNTOLD}",
        "locked_place": "g.tenant_id, g.provider, g.kind, g.identifier",
        "at_locked_place": " AND ".join(
            f"t.{name} = l.{name}" for name in ("tenant_id", "provider", "kind", "identifier")
        ),
        "own_data_key_event": data_key_event.replace("e.tenant_id = d.tenant_id", "e.tenant_id = %(tenant_id)b"),
        "stored_columns": ", ".join(_STORED[name] for name in TOKEN_ALONE),
        "token_columns_alone": ", ".join((*TOKEN_ALONE, *VALUE)),
        "horizon_here": horizon,
        "horizon": "%(horizon)b::text::xid8",
        "after": "(%(after_xid)b::text::xid8, %(after_seq)b::bigint)",
        "functions_version": FUNCTIONS_VERSION,
    }


def distributed_queries(queries: Queries, now: str) -> Queries:
    """Return the statements for distributed tables.

    Args:
        queries: the plain server's statements, after the statements of ``sql_citus`` have replaced those of the same
            name.
        now: the SQL of the time in these statements.
    """
    return Queries({name: _distributed(name, queries[name], now) for name in queries})


def _distributed(name: str, sql: str, now: str) -> str:
    if name in UNHELD or name in HELD:
        sql = _ROW_LOCK.sub("", sql)
    sql = _HIDDEN.sub(r"\1", sql)
    return sql.replace(now, _GIVEN_NOW) if _WRITES.search(sql) else sql


def held_statements(*loaded: Queries) -> dict[str, tuple[str, ...]]:
    """Return a map from the SQL of each statement of `HELD` to the SQL of the statements that run before it.

    No statement runs before a statement of `ALONE`; the map holds an empty tuple for it.
    If two statements have the same SQL, the same statements must run before both.
    """
    holds = {**HELD, **dict.fromkeys(ALONE, ())}
    return {queries[name]: tuple(queries[hold] for hold in holds[name]) for queries in loaded for name in holds}


def held_parameters(hold: str, parameters: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the parameters of each run of a statement that runs before another one.

    There is one run for each tenant if the other statement has many tenants, else one run. A statement without
    parameters runs once.

    Args:
        hold: the SQL of the statement that runs before.
        parameters: the parameters of the other statement.
    """
    tenants = parameters.get("tenant_ids")
    if "%(" not in hold:
        yield {}
    elif tenants is None:
        yield dict(parameters)
    else:
        for tenant_id in sorted(set(tenants)):
            yield {
                "tenant_id": tenant_id,
                **{
                    name: _own(tenant_id, tenants, value) if isinstance(value, list) else value
                    for name, value in parameters.items()
                    if name != "tenant_id"
                },
            }


def _own(tenant_id: str, tenants: list[str], values: list[Any]) -> list[Any]:
    if len(values) != len(tenants):
        return values
    return [value for owner, value in zip(tenants, values, strict=True) if owner == tenant_id]
