"""A contract for import-linter: each folder imports the third-party packages that are listed for it, and no others."""

from __future__ import annotations

import sys
from typing import Any

from importlinter import Contract, ContractCheck, fields, output

RESTRICTED = frozenset({"sqlite3"})
"""Database drivers in the standard library, which must be listed like third-party packages."""


class AllowListContract(Contract):
    """Refuses imports of third-party packages that are not listed.

    Configuration options:

        - allowed: lines of ``package: names``. The names are the third-party packages that ``package`` may import. Only
          one line counts for a module: the line of the most specific package that holds the module.
    """

    allowed = fields.ListField(subfield=fields.StringField())

    def check(self, graph: Any, verbose: bool) -> ContractCheck:
        """Compare every direct import with the list."""
        lists = {
            place.strip(): set(names.split()) for place, _, names in (line.partition(":") for line in self.allowed)
        }
        roots = {place.split(".")[0] for place in lists}
        refused = []
        for module in sorted(graph.modules):
            if module.split(".")[0] not in roots:
                continue
            names = lists[_longest(module, lists)]
            imported = {name.split(".")[0] for name in graph.find_modules_directly_imported_by(module)}
            refused += [(module, name) for name in sorted(imported - roots - names) if _is_third_party(name)]
        return ContractCheck(kept=not refused, metadata={"refused": refused})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Name each import that no line allows."""
        for module, name in check.metadata["refused"]:
            output.print_error(f"{module} imports {name}, which .importlinter does not allow in this module's folder")


def _longest(module: str, places: Any) -> str:
    return max((place for place in places if module == place or module.startswith(f"{place}.")), key=len)


def _is_third_party(name: str) -> bool:
    return name in RESTRICTED or name not in sys.stdlib_module_names
