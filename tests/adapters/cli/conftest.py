import hashlib
import shutil
import sqlite3
from contextlib import closing
from functools import cache

import pytest
from tests.adapters.cli.command import CommandLine

SECRET = "a-secret-that-only-these-tests-use-0123456789"


def variables_for(folder):
    return {
        "DATABASE_URL": f"sqlite:///{folder}/vault.db",
        "ENCRYPTION_SECRET": SECRET,
        "TOKEN_VAULT_SCRYPT_LOG2_N": "14",
    }


@pytest.fixture
def unprepared(tmp_path):
    """The command line, configured for a database that does not exist yet."""
    return CommandLine(tmp_path, variables_for(tmp_path))


@pytest.fixture(scope="session")
def templates(tmp_path_factory):
    """A function that returns a database that `init` has made; copying it is quicker than making one for each test."""

    @cache
    def made(derivation):
        folder = tmp_path_factory.mktemp("template")
        assert CommandLine(folder, variables_for(folder))("init").code == 0
        with closing(sqlite3.connect(folder / "vault.db", isolation_level=None)) as connection:
            connection.execute("DELETE FROM token_vault_home")  # a copy is at home where it is opened first
        return folder / "vault.db"

    return lambda: made(hashlib.scrypt)  # a test with the marker `real_scrypt` derives otherwise


@pytest.fixture
def token_vault(unprepared, templates):
    """The command line over a database that is ready for use."""
    shutil.copy(templates(), unprepared.folder)
    return unprepared


@pytest.fixture
def bare(tmp_path):
    """The command line without any configuration."""
    return CommandLine(tmp_path)
