"""Makes the SQL of a trigger that erases a tenant in the vault when the host deletes its own tenant row."""

import re
from importlib.resources import files

from vault_adapters.stores.postgres.schema import quoted
from vault_domain.entities.errors import InvalidInputError

_PART = r'"(?:[^"\0]|"")+"|[A-Za-z_][A-Za-z0-9_$]*'
_TABLE = re.compile(rf"({_PART})\.({_PART})")
_COLUMN = re.compile(_PART)


def tenants_trigger_sql(schema: str, table: str, column: str) -> str:
    """Return a script that erases a tenant in the vault when its row in the host's table is deleted.

    - The trigger also covers TRUNCATE, and the script may be run again.
    - The role that runs the script owns the functions. It needs the rights to change the vault's tables, to read the
      host's table and to create a trigger on it.
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
    }
    script = files("vault_adapters.stores.postgres").joinpath("tenants.sql").read_text(encoding="utf-8")
    script = script.replace("$body$", _dollar_tag("".join(names.values())))
    return re.sub(r"{{(schema|table|column)}}", lambda match: names[match[1]], script)


def _normalised(part: str) -> str:
    """Return an identifier in double quotes with the same meaning as the given one."""
    return part if part.startswith('"') else quoted(part.lower())


def _dollar_tag(names: str) -> str:
    tag = "$body$"
    while tag in names:
        tag = f"{tag[:-1]}_$"
    return tag
