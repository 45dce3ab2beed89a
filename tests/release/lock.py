"""Read the lock of the environments that CI builds, `requirements/ci.txt`.

`python -m tests.release.lock` removes from a new lock what belongs to the machine that made it, and adds the heading.
With `--differing` it prints the installed releases that differ from the lock.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

from attrs import Factory, frozen

ROOT: Final = Path(__file__).resolve().parents[2]
LOCK: Final = ROOT / "requirements" / "ci.txt"
PROJECT: Final = "token-vault"

_HEADING = """\
# Everything that CI installs, pinned and with hashes; `nox -s lock` writes this file.
# CI downloads these files, pip compares their hashes, and all that is installed later comes from them.
"""
_PIN = re.compile(r"(?P<name>[a-z0-9][a-z0-9-]*)==(?P<version>[^ ;\\]+)(?: ; (?P<marker>[^\\]+?))? \\")
_HASH = re.compile(r"    --hash=sha256:(?P<digest>[0-9a-f]{64})(?: \\)?")
_VIA = re.compile(r"    # (?:via)? *(?P<parent>[a-zA-Z0-9._-]*).*")


class LockError(Exception):
    """A line of the lock is not a pin, a hash or a comment."""


@frozen
class Pin:
    """One release in the lock.

    Attributes:
        name: the normalised name of the distribution.
        version: its only version.
        marker: where it is installed; empty for everywhere.
        hashes: SHA-256 digests of its files, in hexadecimal.
        parents: normalised names of the distributions that ask for it.
    """

    name: str
    version: str
    marker: str
    hashes: list[str] = Factory(list)
    parents: set[str] = Factory(set)


def read_lock(text: str) -> list[Pin]:
    """Return the pins of a lock.

    Raises:
        LockError: a line is of another kind, such as an option, a URL or a pin without a version.
    """
    pins: list[Pin] = []
    for number, line in enumerate(text.splitlines(), 1):
        if found := _PIN.fullmatch(line):
            pins.append(Pin(found["name"], found["version"], found["marker"] or ""))
        elif found := _HASH.fullmatch(line):
            pins[-1].hashes.append(found["digest"])
        elif found := _VIA.fullmatch(line):
            pins[-1].parents.update({normalised(found["parent"])} - {""})
        elif not line.startswith("#"):
            raise LockError(f"line {number} is not a pin, a hash or a comment")
    return pins


def normalised(name: str) -> str:
    """Return the normalised form of a distribution's name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def below(roots: Iterable[str], pins: Iterable[Pin]) -> set[str]:
    """Return the names of the roots and of all that they need, directly or not."""
    children: dict[str, set[str]] = {}
    for pin in pins:
        for parent in pin.parents:
            children.setdefault(parent, set()).add(pin.name)
    found, waiting = set(), list(roots)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += children.get(name, ())
    return found


def differing(pins: Iterable[Pin], installed: Iterable[tuple[str, str]]) -> list[str]:
    """Return a line for each installed release, given by name and version, that is not the one in the lock."""
    locked: dict[str, set[str]] = {}
    for pin in pins:
        locked.setdefault(pin.name, set()).add(pin.version)
    found = {normalised(name): version for name, version in installed}
    return [
        f"{name} {version}, locked {', '.join(sorted(locked.get(name, {'nowhere'})))}"
        for name, version in sorted(found.items())
        if version not in locked.get(name, ()) and name != PROJECT
    ]


def _cleaned(text: str) -> Iterator[str]:
    """Yield the lines of a new lock without its heading and without the names of files outside the project."""
    for line in text.splitlines():
        if "# via -r" in line:
            yield f"    # via {PROJECT}-build"
        elif re.match(r"    #   -r", line):
            yield f"    #   {PROJECT}-build"
        elif not line.startswith("#"):
            yield line


def main() -> None:
    """Clean the lock in place, or print what differs from it."""
    if sys.argv[1:] == ["--differing"]:
        installed = [(each.metadata["Name"], each.version) for each in metadata.distributions()]
        print("\n".join(differing(read_lock(LOCK.read_text()), installed)) or "nothing differs from the lock")
        return
    text = _HEADING + "\n".join(_cleaned(LOCK.read_text())) + "\n"
    read_lock(text)
    LOCK.write_text(text)


if __name__ == "__main__":
    main()
