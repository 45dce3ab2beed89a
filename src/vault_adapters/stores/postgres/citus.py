"""Distributes the vault's tables over a Citus cluster by tenant."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from vault_adapters.stores.postgres.citus_statements import FUNCTIONS_SQL, FUNCTIONS_VERSION
from vault_adapters.stores.postgres.database import PostgresDatabase, Transaction
from vault_adapters.stores.postgres.limits import Pace
from vault_adapters.stores.postgres.schema import literal, quoted, schema_steps
from vault_domain.entities.errors import SchemaOutdatedError

FIRST = "data_key"
"""The table with which the other distributed tables are co-located, so that all rows of a tenant are on one node."""

DISTRIBUTED = (FIRST, "data_key_wrap", "token", "token_use", "account", "audit_event", "unread_answer")
"""The tables with rows of tenants; each table comes after the tables that it refers to."""

REFERENCE = (
    "master_key",
    "migration",
    "client_refusal",
    "client_turn",
    "used_state",
    "timeline",
    "restoration",
    "home",
    "audit_seal",
    "audit_chain",
    "document",
)
"""The tables without tenants, which Citus copies to each node."""

CHECKED = {"token": "BETWEEN 1 AND 255", "account": "BETWEEN 1 AND 255", "audit_event": "<= 255"}
"""The tables whose column ``tenant_id`` has a domain as its type, with the lengths that the domain allows.

Citus co-locates tables only if their distribution columns have the same type. In the other tables, this type is
``text``, and a domain is another type. So in distributed tables, the column becomes ``text`` with a check.
"""

TRIGGERS = ("keep_lasting_event_update", "keep_lasting_event_delete")
"""The triggers of the audit log; Citus refuses triggers on tables that it distributes."""

DELEGATED = tuple(f"citus_{name}_v{FUNCTIONS_VERSION}" for name in ("write_token", "write_tokens"))
"""The functions that Citus calls on the node of the tenant that is the function's first argument."""

FUNCTIONS = (f"citus_store_token_v{FUNCTIONS_VERSION}", *DELEGATED)
"""All functions of `functions_sql`. The first one runs on the vault's node."""

_HAS_CITUS = "SELECT pg_catalog.to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL"
_IS_DISTRIBUTED = """
SELECT
    (SELECT count(DISTINCT f.proname) FROM pg_catalog.pg_proc f
    WHERE f.pronamespace = n.oid AND f.proname = ANY (%(functions)b::text[])),
    ARRAY(
        SELECT t.name FROM pg_catalog.unnest(%(tables)b::text[]) t (name)
        WHERE NOT EXISTS (
            SELECT FROM pg_catalog.pg_dist_partition o JOIN pg_catalog.pg_class r ON r.oid = o.logicalrelid
            WHERE r.relnamespace = n.oid AND r.relname = t.name))
FROM pg_catalog.pg_dist_partition p
JOIN pg_catalog.pg_class c ON c.oid = p.logicalrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)b AND c.relname = 'token'
"""

_INCOMPLETE = (
    "Citus distributes the tables, but a function or a table of this release is missing on the nodes: run"
    " `token-vault init` with the URL of the coordinator"
)

_HEAD = """\
-- This script distributes the tables of token-vault by tenant. If the tables do not exist, it creates them first. Run
-- the script once, on the coordinator, as the role that owns the tables. No vault may have them open, because Citus
-- locks each table while it moves its rows. Run the script in one transaction (psql --single-transaction), so that it
-- does everything or nothing. See the page "Run on Citus" before you run it.
"""


def citus_sql(schema: str) -> str:
    """Return a script that distributes the tables of a schema by tenant, for psql or any other client.

    The script does not begin a transaction; the client must run it in one. The partitions of the audit log are
    distributed with their table, and so are partitions that are made later.

    Args:
        schema: the schema's name.
    """
    name = quoted(schema)
    tables = "\n\n".join(schema_steps(schema))
    steps = [
        # Without this setting, Citus copies rows over several connections, and then refuses to create functions in this
        # transaction.
        "SET LOCAL citus.multi_shard_modify_mode TO 'sequential';",
        f"DO $token_vault_do$ BEGIN IF to_regclass({_table(schema, 'migration')}) IS NULL THEN",
        "EXECUTE $token_vault_tables$",
        tables,
        "$token_vault_tables$; END IF; END $token_vault_do$;",
        # With this foreign key, Citus would lock the master key's row on every node for each wrap, and two of these
        # locks may deadlock.
        f"ALTER TABLE {name}.data_key_wrap DROP CONSTRAINT IF EXISTS data_key_wrap_master_key_id_fkey;",
        *(f"DROP TRIGGER IF EXISTS {trigger} ON {name}.audit_event;" for trigger in TRIGGERS),
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
    return "\n".join([_HEAD, *steps, "", functions_sql(schema), _delegated(schema), "", rest, *emptied]) + "\n"


def functions_sql(schema: str) -> str:
    """Return the SQL that creates the functions which a vault calls on distributed tables.

    Args:
        schema: the schema's name.
    """
    return FUNCTIONS_SQL.replace("{{functions_version}}", FUNCTIONS_VERSION).replace("{{schema}}", quoted(schema))


def _delegated(schema: str) -> str:
    """Return the SQL that makes Citus call `DELEGATED` on the tenant's node, within a transaction too."""
    return "\n".join(
        f"SELECT create_distributed_function(p.oid::regprocedure, 'given_tenant_id',\n"
        f"    colocate_with => {_table(schema, FIRST)}, force_delegation => true)\n"
        f"FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace\n"
        f"WHERE n.nspname = {literal(schema)} AND p.proname = '{name}';"
        for name in DELEGATED
    )


def _table(schema: str, table: str) -> str:
    """Return a table's quoted name as a literal, which Citus's functions take."""
    return literal(f"{quoted(schema)}.{table}")


async def is_distributed(database: PostgresDatabase, schema: str, *, migrate: bool) -> bool:
    """Return whether Citus distributes the tables of a schema.

    Args:
        database: the open database.
        schema: the schema's name.
        migrate: True creates the functions of `functions_sql` if they are missing, and copies tables that a migration
            has made to all nodes. Both work on the coordinator only.

    Raises:
        SchemaOutdatedError: a function is missing, or a table is on no other node, and ``migrate`` is False.
    """
    [(has_citus,)] = await database.fetch(_HAS_CITUS)
    expected = {"schema": schema, "functions": list(FUNCTIONS), "tables": list(REFERENCE)}
    found = await database.fetch(_IS_DISTRIBUTED, expected) if has_citus else []
    for functions, local in found:
        if functions == len(FUNCTIONS) and not local:
            continue
        if not migrate:
            raise SchemaOutdatedError(_INCOMPLETE, code="citus_functions")
        await database.transact(partial(_complete, schema=schema, local=local), pace=Pace.MIGRATION)
    return bool(found)


async def _complete(transaction: Transaction, schema: str, local: Sequence[str]) -> None:
    for table in local:
        await transaction.run_script(f"SELECT create_reference_table({_table(schema, table)})")
    await transaction.run_script(f"{functions_sql(schema)}\n{_delegated(schema)}")
