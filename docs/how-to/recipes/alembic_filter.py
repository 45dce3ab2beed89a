"""Functions for the `env.py` of Alembic, so that autogenerate does not drop the vault's tables."""

from typing import Any

VAULT_SCHEMA = "token_vault"  # VaultConfig.postgres_schema


def include_name(name: str | None, type_: str, parent_names: Any) -> bool:
    """Return False for the vault's schema, so that Alembic does not read it."""
    return not (type_ == "schema" and name == VAULT_SCHEMA)


def include_object(item: Any, name: str | None, type_: str, reflected: bool, compare_to: Any) -> bool:
    """Return False for all objects of the vault's schema, such as tables, indexes and constraints."""
    table = item if type_ == "table" else getattr(item, "table", None)
    return getattr(table, "schema", None) != VAULT_SCHEMA


# In env.py: context.configure(..., include_schemas=True, include_name=include_name, include_object=include_object)
