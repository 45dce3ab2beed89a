from tests.contract.stores import (
    contract_database,
    database,
    opener,
    postgres_schema,
    prepared_file,
    prepared_schemas,
)
from tests.support.scrypt import cheap_scrypt_here

__all__ = [
    "cheap_scrypt_here",
    "contract_database",
    "database",
    "opener",
    "postgres_schema",
    "prepared_file",
    "prepared_schemas",
]
