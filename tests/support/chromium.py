"""A real Chromium (Debian's), driven by Playwright, and axe-core, which finds accessibility problems.

`.ci/run` provides both. Where one is missing, a developer's tests are skipped, and CI's fail.
"""

import hashlib
import os
import shutil
import subprocess
import tarfile
from contextlib import contextmanager
from pathlib import Path

import pytest

AXE_VERSION = "4.10.3"
AXE_SHA256 = "880970c081707360e64f34cea25ff91892f5bc95675b0776925b9709dd8a68bb"
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_chromium() -> str | None:
    """Return the program's path, or None if it is not installed."""
    return shutil.which("chromium")


@contextmanager
def start_chromium():
    """Give a browser of Playwright; skip or fail without Chromium."""
    program = find_chromium() or missing("Chromium is not installed: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def find_axe(folder: Path) -> str:
    """Return the source of axe-core: from the file that AXE_CORE names, or from npm; skip or fail without it."""
    named = os.environ.get("AXE_CORE")
    path = Path(named) if named else _from_npm(folder)
    source = path.read_bytes()
    assert hashlib.sha256(source).hexdigest() == AXE_SHA256, f"axe-core must be {AXE_VERSION}"
    return source.decode()


def _from_npm(folder: Path) -> Path:
    if shutil.which("npm") is None:
        missing("npm is not installed, and AXE_CORE names no file: axe-core cannot be had")
    name = f"axe-core@{AXE_VERSION}"
    done = subprocess.run(["npm", "pack", "--silent", name], cwd=folder, capture_output=True, text=True, timeout=120)
    if done.returncode:
        missing(f"npm could not fetch {name}")
    with tarfile.open(folder / done.stdout.strip().splitlines()[-1]) as archive:
        archive.extract("package/axe.min.js", folder, filter="data")
    return folder / "package" / "axe.min.js"


def missing(reason: str):
    """Skip the test, or fail it under CI, where everything must be provided."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
