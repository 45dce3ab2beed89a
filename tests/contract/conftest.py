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
from tests.support.scrypt import cheap_scrypt_here

__all__ = [
    "cheap_scrypt_here",
    "citus_schemas",
    "contract_database",
    "database",
    "opener",
    "postgres_schema",
    "prepared_file",
    "prepared_schemas",
    "seeming_schemas",
]
