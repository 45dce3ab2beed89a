"""`generate-secret`, `init` and `adopt`: prepare a vault for its first token, or for a new home."""

from __future__ import annotations

import sys

from vault_adapters import generate_encryption_secret
from vault_adapters.cli.parameters import Json
from vault_adapters.cli.screen import open_screen, print_json
from vault_adapters.cli.session import with_vault
from vault_adapters.configuration.config import VaultConfig
from vault_domain import SchemaOutdatedError, StorageError, TokenVault
from vault_domain.entities.causes import PERMISSION_DENIED

_RIGHTS = "on Postgres, `init` needs a role that owns the schema, or may create one (GRANT CREATE ON DATABASE)"


def generate_secret() -> None:
    """Print a new encryption secret.

    It has 256 random bits, and a form by which the vault knows this, so that opening a vault takes less time. Keep it
    apart from the database, because both together decrypt every token.
    """
    sys.stdout.write(generate_encryption_secret() + "\n")


def init(*, json: Json = False) -> None:
    """Create or migrate the schema.

    A new database also gets its master key. In a database that was restored on another server, `init` also puts the
    restored audit events before new ones. A second run changes nothing.
    """
    config = VaultConfig.from_env()
    changed, refusal = _prepared(config)
    if refusal is not None:
        raise StorageError(f"{refusal}; {_RIGHTS}", retryable=False, reason=refusal.reason)
    if json:
        print_json({"database": _place(config), "schema": "updated" if changed else "current"})
        return
    # Do not say that nothing changed, because `init` may have put restored audit events before new ones.
    done = "created or brought up to date" if changed else "already up to date"
    open_screen().fields([("database", _place(config)), ("schema", done), ("master key", "opened")])


def adopt(*, json: Json = False) -> None:
    """Say that this is where the database lives now, so that its vaults refresh.

    Run it after the database was moved to another server or file, if no vault uses the original any more. Never run it
    on a copy beside the original: it would use up the original's refresh tokens.
    """
    has_moved = with_vault(TokenVault.adopt, VaultConfig.from_env())
    if json:
        print_json({"moved": has_moved})
        return
    open_screen().fields([("home", "adopted" if has_moved else "here already")])


def _prepared(config: VaultConfig) -> tuple[bool, StorageError | None]:
    """Return whether the schema changed, and the error if the role lacks a right."""
    try:
        return _prepare(config), None
    except StorageError as error:
        if error.reason != PERMISSION_DENIED:
            raise
        return False, error


def _prepare(config: VaultConfig) -> bool:
    """Create or migrate the schema, put restored audit events before new ones; return whether the schema changed."""
    try:
        with_vault(_nothing, config)
    except SchemaOutdatedError:
        is_outdated = True
    else:
        is_outdated = False
    # Migrate even a schema that is current, because the database may be a backup of another server; see `init`.
    with_vault(_nothing, config, migrate=True)
    return is_outdated


async def _nothing(vault: TokenVault) -> None:
    """Do nothing, because opening the vault is enough."""


def _place(config: VaultConfig) -> str:
    """Name the database, without the password that its URL may hold."""
    url = config.database_url.parse()
    return url.target.reveal() if url.backend == "sqlite" else f"PostgreSQL, schema {config.postgres_schema}"
