"""Loads the numbered migrations of the schema, and finds the migrations that a database lacks."""

import hashlib
from collections.abc import Mapping
from importlib.resources import files

from attrs import field, frozen

from vault_domain.entities.errors import ConfigurationError, SchemaOutdatedError


@frozen
class Migration:
    """A numbered SQL file that brings the schema up to date.

    Attributes:
        number: number of the migration, from 1, without gaps.
        name: the file's name without number and extension.
        sql: the migration's statements.
        digest: SHA-256 of the file, in hex; it shows whether the file was changed after the migration was applied.
    """

    number: int
    name: str
    sql: str = field(repr=False)
    digest: str


def load_migrations(package: str) -> list[Migration]:
    """Read the numbered ``.sql`` files of the folder ``migrations`` in ``package``, in order."""
    paths = sorted(files(package).joinpath("migrations").iterdir(), key=lambda path: path.name)
    return [_load(path.name, path.read_text(encoding="utf-8")) for path in paths if path.name.endswith(".sql")]


def pending_migrations(known: list[Migration], applied: Mapping[int, str]) -> list[Migration]:
    """Return the migrations that a database lacks.

    Args:
        known: the migrations of this release.
        applied: the digests of the applied migrations, by number.

    Raises:
        ConfigurationError: a newer release migrated the database, or an applied migration's file was changed.
    """
    if set(applied) - {migration.number for migration in known}:
        raise ConfigurationError("the database was migrated by a newer release of token-vault", code="schema_newer")
    for migration in known:
        if applied.get(migration.number, migration.digest) != migration.digest:
            raise ConfigurationError(
                f"migration {migration.number:04d} differs from the one that was applied", code="schema_changed"
            )
    return [migration for migration in known if migration.number not in applied]


def refuse_pending(pending: list[Migration]) -> None:
    """Raise `SchemaOutdatedError` if migrations are pending."""
    if pending:
        raise SchemaOutdatedError


def _load(file_name: str, text: str) -> Migration:
    number, _, name = file_name.removesuffix(".sql").partition("_")
    return Migration(int(number), name, text, hashlib.sha256(text.encode()).hexdigest())
