from tests.contract.stores import (
    citus_schemas,
    contract_database,
    database,
    opener,
    postgres_schema,
    prepared_file,
    prepared_schemas,
    seeming_schemas,
)

__all__ = [
    "citus_schemas",
    "contract_database",
    "database",
    "opener",
    "postgres_schema",
    "prepared_file",
    "prepared_schemas",
    "seeming_schemas",
]
