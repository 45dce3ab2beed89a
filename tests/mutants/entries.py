"""The list of bugs: reading it, and planting one in a tree of files."""

import re
import tomllib
from collections.abc import Sequence
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

from attrs import fields_dict, frozen

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
_NAMED = "-- name: "
_CONTRACT = "src/vault_adapters/testing/contract"


class EntryError(Exception):
    """An entry of the list is incomplete or wrong."""


class StaleError(Exception):
    """The source has changed since an entry was written."""


@frozen
class Mutant:
    """One bug.

    Attributes:
        group: name of the file that lists it.
        name: unique within its group.
        file: path of the file that gets the bug, from the root of the tree.
        old: text that stands exactly once in the file, or in the statement that `query` names.
        new: text that replaces it.
        tests: arguments of pytest that choose the tests which must fail.
        query: name of a statement in an SQL file, whose other statements may contain `old` too; empty for a whole file.
    """

    group: str
    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    query: str = ""

    @property
    def title(self) -> str:
        """Group and name."""
        return f"{self.group}/{self.name}"

    def applied_to(self, text: str) -> str:
        """Return a source text with the bug in it.

        Raises:
            StaleError: the text to replace does not stand there exactly once.
        """
        begin, end = self._reach(text)
        count = text.count(self.old, begin, end)
        if count != 1:
            where = f"{self.query} of {self.file}" if self.query else self.file
            raise StaleError(f"{self.title}: the text to replace stands {count} times in {where}")
        return text[:begin] + text[begin:end].replace(self.old, self.new) + text[end:]

    def plant(self, root: Path) -> None:
        """Write the bug into a tree, and remove the bytecode of the unchanged file.

        Raises:
            StaleError: the text to replace does not stand there exactly once.
        """
        path = root / self.file
        text = self.applied_to(path.read_text(encoding="utf-8"))
        path.unlink()  # it may be a hard link to a file without the bug
        path.write_text(text, encoding="utf-8")
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
            compiled.unlink()

    def _reach(self, text: str) -> tuple[int, int]:
        """Return begin and end of the part of a source text in which `old` must stand."""
        if not self.query:
            return 0, len(text)
        begin = text.find(f"{_NAMED}{self.query}\n")
        if begin < 0:
            raise StaleError(f"{self.title}: there is no statement {self.query} in {self.file}")
        end = text.find(_NAMED, begin + 1)
        return begin, len(text) if end < 0 else end


def load(folder: Path = FOLDER) -> list[Mutant]:
    """Return all entries below a folder.

    Raises:
        EntryError: an entry lacks a member or has an unknown one, changes nothing, names no test, or has the name of
            another entry.
    """
    mutants = [
        _mutant(path.stem, entry)
        for path in sorted(folder.glob("*.toml"))
        for entry in tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]
    ]
    titles = [mutant.title for mutant in mutants]
    twice = sorted({title for title in titles if titles.count(title) > 1})
    if twice:
        raise EntryError(f"two entries are called {', '.join(twice)}")
    return mutants


def chosen(mutants: Sequence[Mutant], patterns: Sequence[str]) -> list[Mutant]:
    """Return the mutants whose title matches a pattern or begins with it; all of them where there is no pattern."""
    if not patterns:
        return list(mutants)
    return [
        mutant
        for mutant in mutants
        if any(mutant.title.startswith(pattern) or fnmatch(mutant.title, pattern) for pattern in patterns)
    ]


def stale(mutants: Sequence[Mutant], root: Path = ROOT) -> dict[Mutant, str]:
    """Return the entries that cannot be planted in a tree or tested there, and why."""
    problems = {mutant: _problem_of(mutant, root) for mutant in mutants}
    return {mutant: problem for mutant, problem in problems.items() if problem is not None}


def _problem_of(mutant: Mutant, root: Path) -> str | None:
    try:
        mutant.applied_to((root / mutant.file).read_text(encoding="utf-8"))
    except StaleError as error:
        return str(error)
    except FileNotFoundError:
        return f"{mutant.title}: there is no {mutant.file}"
    gone = [test for test in mutant.tests if not _is_there(test, root)]
    return f"{mutant.title}: there is no {' '.join(gone)}" if gone else None


def _mutant(group: str, entry: dict[str, object]) -> Mutant:
    wanted = set(fields_dict(Mutant)) - {"group", "query"}
    name = str(entry.get("name", "an entry without a name"))
    if set(entry) - {"query"} != wanted:
        raise EntryError(f"{group}/{name}: an entry has the members {', '.join(sorted(wanted))}, and may have query")
    mutant = Mutant(group=group, **{**entry, "tests": tuple(entry["tests"])})  # type: ignore[arg-type]  # from TOML
    if mutant.old == mutant.new or not mutant.tests:
        raise EntryError(f"{group}/{name}: the bug changes nothing, or no test is named")
    return mutant


def _is_there(test: str, root: Path) -> bool:
    path, _, names = test.partition("::")
    if not names:
        return (root / path).exists()
    function = names.rpartition("::")[2].partition("[")[0]
    # The test may be a case of the store contract, which stands in another file. An entry may also name a whole class.
    files = [root / path, *(root / _CONTRACT).glob("*.py")]
    return any(file.is_file() and function in _names_in(file) for file in files)


@cache
def _names_in(path: Path) -> frozenset[str]:
    """Return the names of all functions and classes that a file defines."""
    return frozenset(re.findall(r"\b(?:def|class) (\w+)", path.read_text(encoding="utf-8")))
