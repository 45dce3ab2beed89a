"""`schema`: prints the SQL of the vault's tables, for operators who create them themselves."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter

from vault_adapters.composition import schema_script
from vault_adapters.configuration.config import VaultConfig


def schema(
    *,
    tenants_table: Annotated[str | None, Parameter(help="Your table of tenants, as schema.table.")] = None,
    tenants_column: Annotated[str, Parameter(help="The column of this table with the tenants' ids.")] = "id",
    citus: Annotated[
        bool, Parameter(help="Print the SQL that distributes the tables with Citus.", negative=())
    ] = False,
) -> None:
    """Print the SQL that creates the schema, without running it; no secret is needed.

    With --tenants-table, print a Postgres trigger instead. The trigger erases a tenant in the vault when its row in
    your own table is deleted. With --citus, print the SQL that distributes the tables over a Citus cluster by tenant.
    This SQL creates the tables first if there are none.
    """
    config = VaultConfig.from_env()
    script = schema_script(config, tenants_table=tenants_table, tenants_column=tenants_column, citus=citus)
    sys.stdout.write(script)
