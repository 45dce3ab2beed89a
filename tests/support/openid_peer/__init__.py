"""A certified OpenID provider of other authors, npm's oidc-provider, where node and npm exist.

It is installed once, into the user's cache folder; without node, npm or a registry, its tests are skipped.
"""

import json
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from attrs import frozen

VERSION = "9.13.3"
_SERVER = Path(__file__).with_name("server.mjs")
_INSTALL_SECONDS = 120


@frozen
class Peer:
    """The running provider."""

    issuer: str
    client_id: str
    client_secret: str
    signing_client_id: str


@contextmanager
def openid_peer(redirect_uri, public_jwk):
    """Run the provider with a client that has a secret, and another that signs with the key of ``public_jwk``."""
    node, folder = shutil.which("node"), _installed()
    server = folder / "server.mjs"
    shutil.copyfile(_SERVER, server)
    process = subprocess.Popen(
        [node, str(server), redirect_uri, json.dumps(public_jwk)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield Peer(**json.loads(process.stdout.readline()))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _installed():
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "token-vault-tests"
    folder = cache / f"oidc-provider-{VERSION}"
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=cache))
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", f"oidc-provider@{VERSION}"]
    try:
        subprocess.run(command, cwd=fresh, check=True, capture_output=True, timeout=_INSTALL_SECONDS)
        fresh.rename(folder)
    except (subprocess.SubprocessError, OSError):
        shutil.rmtree(fresh, ignore_errors=True)
        if not folder.is_dir():  # another process may have been faster
            pytest.skip("oidc-provider cannot be installed")
    return folder
