"""Makes the SQL of a trigger that erases a tenant in the vault when the host deletes the tenant's row."""

import logging
import re
from importlib.resources import files

from vault_adapters.stores.postgres.database import PostgresDatabase
from vault_adapters.stores.postgres.notifying import channel_of
from vault_adapters.stores.postgres.schema import quoted
from vault_domain.entities.errors import InvalidInputError

_log = logging.getLogger(__name__)

TRIGGER_VERSION = 7
"""Version of the script `tenants.sql`; increase it with each change to what the script deletes or writes."""

_COMMENT = re.compile(r"token-vault tenants trigger, version (\d{1,9})")
_INSTALLED = """
SELECT obj_description(p.oid, 'pg_proc'), coalesce(
    (SELECT min(format('%%I.%%I', c.relnamespace::regnamespace::text, c.relname))
    FROM pg_catalog.pg_trigger g
    JOIN pg_catalog.pg_proc f ON f.oid = g.tgfoid
    JOIN pg_catalog.pg_class c ON c.oid = g.tgrelid
    WHERE f.pronamespace = p.pronamespace AND g.tgname = 'token_vault_erase_deleted'), '')
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname = %(schema)b AND p.proname = 'erase_tenants'
"""

_PART = r'"(?:[^"\0]|"")+"|[A-Za-z_][A-Za-z0-9_$]*'
_TABLE = re.compile(rf"({_PART})\.({_PART})")
_COLUMN = re.compile(_PART)


def tenants_trigger_sql(schema: str, table: str, column: str) -> str:
    """Return a script whose trigger erases a tenant in the vault when the tenant's row in the host's table is deleted.

    - The trigger also covers TRUNCATE, and the script may be run again.
    - The role that runs the script owns the functions that the script creates. It needs the rights to change the
      vault's tables, to read the host's table and to create a trigger on it.
    - A role that deletes a tenant needs no right in the vault's schema.

    Args:
        schema: the vault's schema.
        table: ``schema.table``, written as in SQL: names without double quotes are folded to lower case.
        column: the table's column with the tenant ids, of a uuid, integer or text type, written as in SQL.

    Raises:
        InvalidInputError: the table or the column is not a valid name.
    """
    table_match, column_match = _TABLE.fullmatch(table), _COLUMN.fullmatch(column)
    if table_match is None:
        raise InvalidInputError("the tenants' table must be given as schema.table")
    if column_match is None:
        raise InvalidInputError("the tenants' column must be a column's name")
    names = {
        "schema": quoted(schema),
        "table": ".".join(_normalised(part) for part in table_match.groups()),
        "column": _normalised(column),
        "channel": channel_of(schema),
    }
    script = files("vault_adapters.stores.postgres").joinpath("tenants.sql").read_text(encoding="utf-8")
    script = script.replace("$body$", _dollar_tag("".join(names.values())))
    script = script.replace("{{version}}", str(TRIGGER_VERSION))
    return re.sub(r"{{(schema|table|column|channel)}}", lambda match: names[match[1]], script)


async def warn_of_old_trigger(database: PostgresDatabase, schema: str) -> None:
    """Log a warning if the trigger on the host's table of tenants is older than this release's trigger.

    An old trigger may leave rows of a deleted tenant behind. The vault does not replace it, because the host's
    table may belong to another role.
    """
    for comment, table in await database.fetch(_INSTALLED, {"schema": schema}):
        match = _COMMENT.fullmatch(comment or "")
        installed = int(match[1]) if match else 1
        if installed < TRIGGER_VERSION:
            _log.warning(
                "the trigger on the table of tenants has version %d, but this release needs version %d; run the SQL"
                " that `token-vault schema --tenants-table %s` prints",
                installed,
                TRIGGER_VERSION,
                table or "SCHEMA.TABLE",
            )


def _normalised(part: str) -> str:
    """Return the name in double quotes, with the same meaning in SQL."""
    return part if part.startswith('"') else quoted(part.lower())


def _dollar_tag(names: str) -> str:
    tag = "$body$"
    while tag in names:
        tag = f"{tag[:-1]}_$"
    return tag
