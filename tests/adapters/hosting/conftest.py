"""A vault's database with a table of the host beside the vault's tables."""

import pytest
from tests.adapters.hosting.hosts import create_table, table_of
from tests.support.databases import PostgresSchema, SqliteFile


@pytest.fixture(params=["sqlite", "postgres"])
def database(request, tmp_path):
    """Give a database of either kind with the host's table."""
    if request.param == "sqlite":
        database = SqliteFile(tmp_path / "app.db")
        create_table(database)
        yield database
        return
    database = PostgresSchema(request.getfixturevalue("postgres").url)
    create_table(database)
    yield database
    database.execute(f"DROP TABLE {table_of(database)}")
    database.drop()
