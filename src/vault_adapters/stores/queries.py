"""Loads named queries from ``.sql`` files; each query has a name and a description.

Lists that differ only in their rows are parts of one query: ``-- name: expiring of page`` names a query whose text is
that of ``page``, with the part in place of ``{{part}}``. So a list's columns stand once.
"""

import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from attrs import field, frozen

from vault_adapters.stores.columns import placeholders as column_placeholders
from vault_adapters.stores.columns import with_limits, with_plain

_NAME = re.compile(r"^-- name: (?P<name>[a-z0-9_]+)(?: of (?P<whole>[a-z0-9_]+))?$", re.MULTILINE)
_PART = "{{part}}"
_OPTIONAL = re.compile(r"\s+AND \((?:%\(|:)(?P<name>\w+)(?:\)b::\w+)? IS NULL\s+OR (?P<condition>.*)\)$", re.MULTILINE)


@frozen(eq=False, repr=False)
class Queries:
    """The queries of a store, by name."""

    _by_name: Mapping[str, str] = field(repr=False)

    def __getitem__(self, name: str) -> str:
        return self._by_name[name]

    def narrowed(self, name: str, parameters: Mapping[str, Any]) -> str:
        """Return a query without the conditions on parameters that are None; the other conditions are left bare.

        Such a condition has a line of its own: ``AND (:name IS NULL OR condition)``. So each choice of conditions is a
        text of its own, whose plan, however often it is used, reads the index that serves this choice.
        """
        return _OPTIONAL.sub(
            lambda found: "" if parameters[found["name"]] is None else f" AND {found['condition']}", self[name]
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)


def load_queries(package: str, *, size: str, overlay: str | None = None, **placeholders: str) -> Queries:
    """Read all queries of ``package``'s folder ``sql``.

    Args:
        package: the dotted name of the store's package.
        size: the SQL function that returns a value's size; see `columns.placeholders`.
        overlay: another folder of the package. Its queries replace the queries of the same name; its further queries
            are added.
        placeholders: the texts that replace ``{{name}}`` in queries, such as a quoted schema name. The column groups
            of `columns` are placeholders too; an argument with a group's name replaces that group. Lists of plain
            columns are filled in by `with_plain`.

    Raises:
        ValueError: two queries of a folder have the same name, a query lacks its description, or a placeholder is
            unknown.
    """
    filled = {**column_placeholders(size), **placeholders}
    by_name = _read(package, "sql", filled, size)
    if overlay is not None:
        by_name |= _read(package, overlay, filled, size)
    return Queries(by_name)


def folder_of(package: str) -> Path:
    """Return the folder of a store's package.

    `importlib.resources` would find it in an archive too, and loads zip and temporary files for that. But a package
    that needs drivers in C is never run from an archive.
    """
    return Path(str(import_module(package).__file__)).parent


def _read(package: str, folder: str, placeholders: Mapping[str, str], size: str) -> dict[str, str]:
    by_name: dict[str, str] = {}
    for path in sorted(folder_of(package).joinpath(folder).iterdir(), key=lambda path: path.name):
        if path.name.endswith(".sql"):
            wholes: dict[str, str] = {}
            for name, whole, plain in _split(path.read_text(encoding="utf-8")):
                sql = with_limits(plain, size)
                if name in by_name or name in wholes:
                    raise ValueError(f"two queries of {package} have the name {name}")
                if _PART in sql:
                    wholes[name] = sql
                else:
                    by_name[name] = _fill(sql if whole is None else wholes[whole].replace(_PART, sql), placeholders)
    return by_name


def _split(text: str) -> Iterator[tuple[str, str | None, str]]:
    """Yield the name of each query of a file, that of the query that it is a part of, and its text."""
    marks = list(_NAME.finditer(text))
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        body = text[mark.end() : following.start() if following else len(text)].strip()
        if not body.startswith("--"):
            raise ValueError(f"the query {mark['name']} lacks its description")
        sql = "\n".join(line for line in body.splitlines() if not line.startswith("--"))
        yield mark["name"], mark["whole"], sql.strip()


def _fill(sql: str, placeholders: Mapping[str, str]) -> str:
    sql = with_plain(sql)
    for name, value in placeholders.items():
        sql = sql.replace("{{" + name + "}}", value)
    if "{{" in sql:
        raise ValueError("a query names an unknown placeholder")
    return sql.strip()
