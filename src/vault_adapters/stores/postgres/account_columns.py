"""The columns of tokens and accounts that `AccountStates` compares and writes, as parts of statements."""

from __future__ import annotations

from vault_adapters.stores.columns import PLAIN, TOKEN_ALONE

_ROW = {
    "label": "text",
    "credential_value_id": "uuid",
    "attempt_id": "uuid",
    "committed_attempt_id": "uuid",
    "lease_until": "timestamptz",
    "sent_at": "timestamptz",
    "failures": "bigint",
    "next_attempt_at": "timestamptz",
    "unknown_since": "timestamptz",
    "error_code": "text",
    "refused_since": "timestamptz",
    "refused_for": "bigint",
    "endpoint": "bytea",
    "due_at": "timestamptz",
}
"""The columns of an account's row besides its key, with their types."""

_TOKEN = {
    "kind": ("kinds", "text"),
    "id": ("ids", "uuid"),
    "value_id": ("value_ids", "uuid"),
    "data_key_id": ("data_key_ids", "bytea"),
    "blob": ("blobs", "bytea"),
    "extra": ("extras", "bytea"),
    "status": ("statuses", "text"),
    "error_code": ("error_codes", "text"),
    "expires_at": ("expires_at", "timestamptz"),
    "lifetime": ("lifetimes", "bigint"),
    "scopes": ("scopes", "text"),
    "generation": ("generations", "bigint"),
    "last_refreshed_at": ("refreshed_at", "timestamptz"),
    "created_at": ("created_at", "timestamptz"),
    "updated_at": ("updated_at", "timestamptz"),
    "suspect_since": ("suspect_since", "timestamptz"),
    "rejected_at": ("rejected_at", "timestamptz"),
    "noted_value_id": ("noted_value_ids", "uuid"),
    **{column.name: (column.name, column.type) for column in PLAIN},
}
"""The columns of a token besides its account, each with its parameter and its type."""

BINARY_HASH = "pg_catalog.hash_record_extended(ROW({columns}), 0)"
TEXT_HASH = "pg_catalog.hashtextextended(ROW({columns})::text, 0)"
"""The hash of a row's columns on PostgreSQL 13, which cannot hash a record."""


_SAME_TOKENS = """count(*) = pg_catalog.cardinality(%(kinds)b::text[]) AND count(*) FILTER (WHERE l.version
            IS DISTINCT FROM (%(versions)b::int8[])[pg_catalog.array_position(%(kinds)b::text[], l.kind::text)]) = 0"""
"""Whether the tokens ``l`` are those that were loaded: as many, and each kind with its version."""


def state_fragments(row_hash: str) -> dict[str, str]:
    """Return the parts of the statements of ``account_states.sql``, by name.

    The hashes name the columns one by one, so that a column that the host has added does not count, whatever its type.

    Args:
        row_hash: `BINARY_HASH`, or `TEXT_HASH` if the server lacks that function.
    """
    changes = ", ".join(f"{name} = excluded.{name}" for name in _ROW)
    written = [name for name in _TOKEN if name != "kind"]
    return {
        "token_hash": row_hash.format(columns=", ".join((*TOKEN_ALONE, "t.data_key_id", "t.noted_value_id"))),
        "same_tokens": _SAME_TOKENS,
        "account_hash": row_hash.format(columns=", ".join(f"a.{name}" for name in _ROW)),
        "row_columns": ", ".join(("tenant_id", "provider", "identifier", *_ROW)),
        "row_values": ", ".join(
            ("%(tenant_id)b", "%(provider)b", "%(identifier)b", *(f"%({name})b::{kind}" for name, kind in _ROW.items()))
        ),
        "row_changes": changes,
        "row_settings": ", ".join(f"{name} = %({name})b::{kind}" for name, kind in _ROW.items()),
        "written_columns": ", ".join(_TOKEN),
        "written_values": ", ".join(f"%(w_{name})b::{kind}[]" for name, kind in _TOKEN.values()),
        "written_changes": ", ".join(f"{name} = excluded.{name}" for name in written),
        "written_settings": ", ".join(f"{name} = w.{name}" for name in written),
        "first_written_values": ", ".join(f"(%(w_{name})b::{kind}[])[1]" for name, kind in _TOKEN.values()),
    }
