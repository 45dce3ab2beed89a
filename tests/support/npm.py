"""Programs of other authors from npm, installed once into the user's cache folder."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

_INSTALL_SECONDS = 180


def installed(name, *packages):
    """Return the folder with these packages; without npm or a registry, the test is skipped.

    Args:
        name: the folder's name, with a version.
        packages: what to install, each with a version. No script of a package runs.
    """
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "token-vault-tests"
    folder = cache / name
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=cache))
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", *packages]
    try:
        subprocess.run(command, cwd=fresh, check=True, capture_output=True, timeout=_INSTALL_SECONDS)
        fresh.rename(folder)
    except (subprocess.SubprocessError, OSError):
        shutil.rmtree(fresh, ignore_errors=True)
        if not folder.is_dir():  # another process may have been faster
            pytest.skip(f"{name} cannot be installed")
    return folder
