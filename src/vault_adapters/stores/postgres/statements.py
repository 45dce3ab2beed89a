"""The store's statements, filled with what they share."""

from vault_adapters.stores.postgres.schema import quoted
from vault_adapters.stores.queries import Queries, load_queries

_NOW = "coalesce(%(now)b::timestamptz, statement_timestamp())"
"""The store's time: a clock's where there is one, else the database's. (A volatile function would not use an index.)"""

_SCHEDULED = """scheduled AS (
    INSERT INTO {{schema}}.account AS a (tenant_id, provider, identifier, due_at)
    SELECT s.tenant_id, s.provider, s.identifier, s.expires_at - %(lead)b::bigint * interval '1 microsecond'
    FROM stored s
    ON CONFLICT (tenant_id, provider, identifier) DO UPDATE SET due_at = excluded.due_at
        WHERE a.due_at IS NULL OR a.due_at > excluded.due_at)"""
"""Lets an account be due no later than its stored value asks for."""

_WOKEN = """scheduled AS (
    UPDATE {{schema}}.account a SET due_at = s.updated_at
    FROM stored s
    WHERE a.tenant_id = s.tenant_id AND a.provider = s.provider AND a.identifier = s.identifier
        AND (a.due_at IS NULL OR a.due_at > s.updated_at))"""
"""Lets an account that is there be due now, because a value of it was stored that has no lead or no expiry."""


def load_statements(schema: str, *, waking: bool = False) -> Queries:
    """Return the statements for a schema.

    Args:
        schema: the schema's name.
        waking: whether those that store one value wake its account; otherwise they schedule it. One statement that
            did either took 4 % longer.
    """
    scheduled = (_WOKEN if waking else _SCHEDULED).replace("{{schema}}", quoted(schema))
    return load_queries("vault_adapters.stores.postgres", schema=quoted(schema), now=_NOW, scheduled=scheduled)
