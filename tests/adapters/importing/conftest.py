"""The command line over a database, and rows to import."""

import base64
import hashlib
import json
import os

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.adapters.cli.command import CommandLine
from tests.contract.stores import contract_database, database, prepared_schemas
from tests.support.databases import SECRET

__all__ = ["contract_database", "database", "prepared_schemas"]

OLD_SECRET = "the secret of the original, 32 characters"


@pytest.fixture
def token_vault(database, tmp_path):
    """The command line over a database that is ready for use."""
    config = database.config()
    command = CommandLine(
        tmp_path,
        {
            "DATABASE_URL": config.database_url.reveal(),
            "ENCRYPTION_SECRET": SECRET,
            "TOKEN_VAULT_SCRYPT_LOG2_N": "14",
            "TOKEN_VAULT_POSTGRES_SCHEMA": config.postgres_schema,
        },
    )
    assert command("init").code == 0
    (tmp_path / "old-secret").write_text(OLD_SECRET + "\n")
    return command


def sealed_as_originally(value, secret=OLD_SECRET):
    """Encrypt as the original system did."""
    salt, iv = os.urandom(16), os.urandom(12)
    key = hashlib.scrypt(secret.encode(), salt=salt, n=16384, r=8, p=1, dklen=32)
    sealed = AESGCM(key).encrypt(iv, value.encode(), None)
    return base64.b64encode(salt + iv + sealed[-16:] + sealed[:-16]).decode()


def original_row(value, secret=OLD_SECRET, **columns):
    """A row of the original table."""
    return {
        "id": 1,
        "tenant_id": "t1",
        "provider": "google",
        "token_type": "refresh_token",
        "identifier": None,
        "encrypted_value": sealed_as_originally(value, secret),
        "expires_at": None,
        "last_used_at": None,
        "last_refreshed_at": None,
        "is_valid": True,
        "last_error": None,
        "created_at": "2024-04-01T12:00:00+00:00",
        "updated_at": "2024-05-01T12:00:00+00:00",
        **columns,
    }


def plain_row(identifier, value, **columns):
    """A token in clear."""
    row = {"tenant_id": "t1", "provider": "google", "kind": "refresh_token", "value": value}
    return {**row, "identifier": identifier, **columns}


def json_lines(*rows):
    """Return rows as JSON lines; a row of bytes is kept as it is."""
    return b"".join(row if isinstance(row, bytes) else json.dumps(row).encode() + b"\n" for row in rows)
