"""Distributes the vault's tables over a Citus cluster by tenant."""

from __future__ import annotations

from vault_adapters.stores.postgres.database import PostgresDatabase
from vault_adapters.stores.postgres.schema import literal, quoted, schema_steps

FIRST = "data_key"
"""The table with which the other distributed tables are co-located, so that all rows of a tenant are on one node."""

DISTRIBUTED = (FIRST, "data_key_wrap", "token", "token_use", "account", "audit_event")
"""The tables with rows of tenants; each table comes after the tables that it refers to."""

REFERENCE = ("master_key", "migration", "client_refusal", "client_turn", "used_state", "timeline")
"""The tables without tenants, which Citus copies to each node."""

CHECKED = {"token": "BETWEEN 1 AND 255", "account": "BETWEEN 1 AND 255", "audit_event": "<= 255"}
"""The tables whose column ``tenant_id`` has a domain as its type, with the lengths that the domain allows.

Citus compares the types of the distribution columns, and a domain is another type than the text of the other tables.
So in distributed tables, the column becomes text with a check.
"""

_HAS_CITUS = "SELECT pg_catalog.to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL"
_IS_DISTRIBUTED = """
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_dist_partition p
    JOIN pg_catalog.pg_class c ON c.oid = p.logicalrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %(schema)b AND c.relname = 'token')
"""

_HEAD = """\
-- Distribute the tables of token-vault by tenant; create them first if there are none. Run this once, on the
-- coordinator, by the role that owns the tables, with no vault open on them: Citus locks each table while it moves its
-- rows. Run it in one transaction (psql --single-transaction), so that it does everything or nothing. See the page "Run
-- on Citus" before you run it.
"""


def citus_sql(schema: str) -> str:
    """Return a script that distributes the tables of a schema by tenant, for psql or any other client.

    The script does not begin a transaction; the client must run it in one. The partitions of the audit log are
    distributed with their table, and so are those that are made later.

    Args:
        schema: the schema's name.
    """
    name = quoted(schema)
    tables = "\n\n".join(schema_steps(schema))
    steps = [
        f"DO $token_vault_do$ BEGIN IF to_regclass({_table(schema, 'migration')}) IS NULL THEN",
        "EXECUTE $token_vault_tables$",
        tables,
        "$token_vault_tables$; END IF; END $token_vault_do$;",
        # Citus would lock the master key's row on every node for each wrap, and two of these locks may deadlock.
        f"ALTER TABLE {name}.data_key_wrap DROP CONSTRAINT IF EXISTS data_key_wrap_master_key_id_fkey;",
        *(f"SELECT create_reference_table({_table(schema, table)});" for table in REFERENCE),
        *(
            f'ALTER TABLE {name}.{table} ALTER COLUMN tenant_id TYPE text COLLATE "C",'
            f" ADD CHECK (char_length(tenant_id) {length});"
            for table, length in CHECKED.items()
        ),
        f"SELECT create_distributed_table({_table(schema, FIRST)}, 'tenant_id', colocate_with => 'none');",
        *(
            f"SELECT create_distributed_table({_table(schema, table)}, 'tenant_id',"
            f" colocate_with => {_table(schema, FIRST)});"
            for table in DISTRIBUTED[1:]
        ),
    ]
    # Empty a table after the tables that refer to it.
    emptied = [
        f"SELECT truncate_local_data_after_distributing_table({_table(schema, table)});"
        for table in (*reversed(DISTRIBUTED), *REFERENCE)
    ]
    rest = "-- These statements delete the former local rows from the coordinator, where no query sees them any more:"
    return "\n".join([_HEAD, *steps, "", rest, *emptied]) + "\n"


def _table(schema: str, table: str) -> str:
    """Return a table's quoted name as a literal, which Citus's functions take."""
    return literal(f"{quoted(schema)}.{table}")


async def is_distributed(database: PostgresDatabase, schema: str) -> bool:
    """Return whether Citus distributes the tables of a schema."""
    [(has_citus,)] = await database.fetch(_HAS_CITUS)
    if not has_citus:
        return False
    [(found,)] = await database.fetch(_IS_DISTRIBUTED, {"schema": schema})
    return bool(found)
