"""Creates the directory and the secret's file of a demonstration, and never overwrites anything."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from attrs import frozen

from vault_adapters import generate_encryption_secret
from vault_adapters.configuration.config import VaultConfig
from vault_domain import InvalidInputError


@frozen
class Place:
    """The demonstration's files.

    Attributes:
        directory: the directory; only its owner can access it, unless the user passed a directory that existed.
        database: the path of the SQLite file, which the vault creates.
        secret_file: the path of the secret's file, for ``ENCRYPTION_SECRET_FILE``; accessible to its owner only.
    """

    directory: Path
    database: Path
    secret_file: Path

    def environment(self) -> dict[str, str]:
        """Return the variables that configure the demonstration's vault."""
        return {
            "DATABASE_URL": f"sqlite:///{self.database}",
            "ENCRYPTION_SECRET_FILE": str(self.secret_file),
        }

    def config(self) -> VaultConfig:
        """Return the configuration, read from `environment` as a service reads it from its own environment."""
        return VaultConfig.from_env(self.environment())


def make_place(directory: Path | None) -> Place:
    """Create the directory and a secret in it.

    Args:
        directory: a new or empty directory; None creates one in the system's temporary directory.

    Raises:
        InvalidInputError: the directory is not empty, or cannot be created or read; nothing was changed.
    """
    root = Path(tempfile.mkdtemp(prefix="token-vault-demo-")) if directory is None else _claim(directory)
    place = Place(root, root / "vault.db", root / "secret")
    descriptor = os.open(place.secret_file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(generate_encryption_secret() + "\n")
    return place


def _claim(directory: Path) -> Path:
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        is_empty = not any(directory.iterdir())
    except OSError:
        is_empty = None
    if is_empty is None:
        raise InvalidInputError("--directory cannot be made or read")
    if not is_empty:
        raise InvalidInputError("--directory must be new or empty; nothing was changed")
    return directory.resolve()
