"""Write where a release comes from, as an in-toto statement with SLSA provenance, and compare files with a statement.

`python -m tests.release.provenance [FOLDER]` describes the files of a folder, by default `dist`; the work tree must be
clean. `python -m tests.release.provenance --verify STATEMENT FOLDER` fails if a file is missing or differs.

The statement is not signed: it says what the files are, and not who says so. CONTRIBUTING.md says how to sign it.
"""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from tests.release.lock import LOCK, ROOT, Pin, read_lock
from tests.release.sbom import read_project

STATEMENT: Final = "https://in-toto.io/Statement/v1"
PROVENANCE: Final = "https://slsa.dev/provenance/v1"
_BUILD: Final = "urn:token-vault:build:nox-release:1"
"""The kind of build: the session `release` of noxfile.py, which CONTRIBUTING.md describes."""

_BUILDER: Final = "urn:token-vault:builder:maintainer"
_SUFFIXES: Final = (".whl", ".tar.gz", ".cdx.json")


class ProvenanceError(Exception):
    """Nothing can be stated, or a file is not what a statement says."""


def statement(
    files: Mapping[str, bytes],
    version: str,
    commit: str,
    pins: Iterable[Pin],
    lock: bytes,
    finished: datetime,
    repository: str | None = None,
) -> dict[str, Any]:
    """Return the statement about the files of a release.

    Args:
        files: the content of each file, by its name.
        version: the release's version.
        commit: the git commit that was built.
        pins: the lock; it names the version of the build's backend.
        lock: the file of the lock.
        finished: when the build ended.
        repository: the address that the description's links lead to; None if they are relative.
    """
    backend = next(pin for pin in pins if pin.name == "hatchling")
    return {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": _digest(files[name])}} for name in sorted(files)],
        "predicateType": PROVENANCE,
        "predicate": {
            "buildDefinition": {
                "buildType": _BUILD,
                "externalParameters": {"version": version, "session": "release", "repository": repository},
                "internalParameters": {"python": platform.python_version(), "platform": platform.platform()},
                "resolvedDependencies": [
                    {"name": "source", "digest": {"gitCommit": commit}},
                    {"name": LOCK.relative_to(ROOT).as_posix(), "digest": {"sha256": _digest(lock)}},
                    {"uri": f"pkg:pypi/{backend.name}@{backend.version}"},
                ],
            },
            "runDetails": {
                "builder": {"id": _BUILDER},
                "metadata": {"finishedOn": finished.strftime("%Y-%m-%dT%H:%M:%SZ")},
            },
        },
    }


def differing(found: Mapping[str, Any], files: Mapping[str, bytes]) -> list[str]:
    """Return the names of files that are missing, or that differ from a statement.

    Raises:
        ProvenanceError: this is no statement with SLSA provenance.
    """
    if (found.get("_type"), found.get("predicateType")) != (STATEMENT, PROVENANCE):
        raise ProvenanceError("this is no in-toto statement with SLSA provenance")
    named = {each["name"]: each["digest"]["sha256"] for each in found["subject"]}
    if not named:
        raise ProvenanceError("the statement names no file")
    return [name for name, digest in named.items() if name not in files or _digest(files[name]) != digest]


def read_files(folder: Path) -> dict[str, bytes]:
    """Return the files of a release that a folder holds."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name.endswith(_SUFFIXES)}


def _digest(content: bytes) -> str:
    return sha256(content).hexdigest()


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def main(arguments: list[str]) -> int:
    """Write a statement, or compare files with one."""
    if arguments[:1] == ["--verify"]:
        found = json.loads(Path(arguments[1]).read_bytes())
        wrong = differing(found, read_files(Path(arguments[2])))
        print(
            "\n".join(f"{name} is missing, or is another file" for name in wrong)
            or "all files are those of the statement"
        )
        return len(wrong) > 0
    folder = Path(arguments[0]) if arguments else ROOT / "dist"
    if _git("status", "--porcelain"):
        raise ProvenanceError("the work tree has changes, so no commit names what was built")
    _, version = read_project()
    files = {name: content for name, content in read_files(folder).items() if version in name}
    lock = LOCK.read_bytes()
    now, repository = datetime.now(UTC), os.environ.get("REPOSITORY_URL")
    made = statement(files, version, _git("rev-parse", "HEAD"), read_lock(lock.decode()), lock, now, repository)
    target = folder / f"token_vault-{version}.intoto.json"
    target.write_text(json.dumps(made, indent=2) + "\n")
    print(f"{target.name}: {len(files)} files of commit {_git('rev-parse', '--short', 'HEAD')}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
