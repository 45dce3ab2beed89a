"""Deleting with the host's own tenants: a trigger on its table, as SQL for whoever administers the database."""

import re
from importlib.resources import files

from vault_adapters.stores.postgres.schema import quoted
from vault_domain.entities.errors import InvalidInputError

_PART = r'"(?:[^"\0]|"")+"|[A-Za-z_][A-Za-z0-9_$]*'
_TABLE = re.compile(rf"({_PART})\.({_PART})")
_COLUMN = re.compile(_PART)


def tenants_trigger_sql(schema: str, table: str, column: str) -> str:
    """Return a script that erases a tenant in the vault when its row in the host's table is deleted.

    It also covers TRUNCATE, and may be run again. Whoever runs it owns the functions: it takes the rights to change
    the vault's tables, to read the host's, and to put a trigger on that. Whoever deletes a tenant needs no right in
    the vault's schema.

    Args:
        schema: the vault's schema.
        table: ``schema.table``, each written as in SQL: folded to lower case unless in double quotes.
        column: the table's column with the tenant ids, of a uuid, integer or text type, written likewise.

    Raises:
        InvalidInputError: a name is not one.
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
    """Return an identifier in double quotes that means what the given one means."""
    return part if part.startswith('"') else quoted(part.lower())


def _dollar_tag(names: str) -> str:
    tag = "$body$"
    while tag in names:
        tag = f"{tag[:-1]}_$"
    return tag
