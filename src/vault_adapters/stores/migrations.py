"""Loads the numbered migrations of the schema, finds those that a database lacks, and refuses those that do not fit."""

import hashlib
import logging
import re
from collections.abc import Collection

from attrs import field, frozen

from vault_adapters.stores.queries import folder_of
from vault_domain.entities.errors import ConfigurationError, SchemaOutdatedError

_log = logging.getLogger(__name__)

_NEEDS = re.compile(r"-- needs: (\d{4})\n")
"""The first line of a migration that leaves the schema usable for releases that do not know the migration."""


@frozen(repr=False)
class Migration:
    """A numbered SQL file that brings the schema up to date.

    Attributes:
        number: number of the migration, from 1, without gaps.
        name: the file's name without number and extension.
        sql: the migration's statements.
        digest: SHA-256 of the file, in hex; it shows whether the file was changed after the migration was applied.
        needs: a release must know the migration of this number to run on a schema to which this migration was applied.
    """

    number: int
    name: str
    sql: str = field(repr=False)
    digest: str
    needs: int


@frozen(repr=False)
class Applied:
    """A row of the ledger, the table that tells which migrations were applied to a database.

    Attributes:
        number, digest, needs: see `Migration`. ``needs`` is None if a release wrote the row that did not know this
            column.
    """

    number: int
    digest: str
    needs: int | None


def load_migrations(package: str) -> list[Migration]:
    """Read the numbered ``.sql`` files of the folder ``migrations`` in ``package``, in order."""
    paths = sorted(folder_of(package).joinpath("migrations").iterdir(), key=lambda path: path.name)
    return [_load(path.name, path.read_text(encoding="utf-8")) for path in paths if path.name.endswith(".sql")]


def pending_migrations(known: list[Migration], applied: Collection[Applied]) -> list[Migration]:
    """Return the migrations that a database lacks.

    The migrations of newer releases are no reason to refuse a database, as long as each of them says that this release
    may run on it.

    Args:
        known: the migrations of this release.
        applied: the rows of the database's ledger.

    Raises:
        ConfigurationError: a newer release migrated the database in a way with which this release cannot run, no
            release makes such a ledger, or an applied migration's file was changed.
    """
    digests = {row.number: row.digest for row in applied}
    if set(digests) != set(range(1, len(digests) + 1)):
        raise unknown_schema()
    for migration in known:
        if digests.get(migration.number, migration.digest) != migration.digest:
            raise ConfigurationError(
                f"migration {migration.number:04d} differs from the one that was applied", code="schema_changed"
            )
    _refuse_newer(len(known), [row for row in applied if row.number > len(known)])
    return [migration for migration in known if migration.number not in digests]


def unknown_schema() -> ConfigurationError:
    """Return the error for a ledger that no release makes."""
    return ConfigurationError(
        "no release of token-vault makes such a table of migrations: check that the URL and the schema's name are those"
        " of the vault, and do not change this table",
        code="schema_unknown",
    )


def _refuse_newer(known: int, newer: list[Applied]) -> None:
    if not newer:
        return
    needs = max(row.number if row.needs is None else row.needs for row in newer)
    last = max(row.number for row in newer)
    if needs > known:
        raise ConfigurationError(
            f"a newer release of token-vault migrated the database to {last:04d}, and this release, which knows"
            f" {known:04d}, cannot run on it: start a release that knows {needs:04d}, or restore a backup that is older"
            " than the migration",
            code="schema_newer",
        )
    _log.info("the schema is at migration %04d; this release knows %04d, and may run on it", last, known)


def refuse_pending(pending: list[Migration]) -> None:
    """Raise `SchemaOutdatedError` if migrations are pending."""
    if pending:
        raise SchemaOutdatedError


def _load(file_name: str, text: str) -> Migration:
    number, _, name = file_name.removesuffix(".sql").partition("_")
    needs = _NEEDS.match(text)
    return Migration(
        int(number), name, text, hashlib.sha256(text.encode()).hexdigest(), int(needs[1] if needs else number)
    )
