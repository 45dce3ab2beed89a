from tests.contract.stores import contract_database, database, opener, postgres_schema

__all__ = ["contract_database", "database", "opener", "postgres_schema"]
