"""A certified OpenID provider of other authors, npm's oidc-provider, where node and npm exist.

It is installed once, into the user's cache folder; without node, npm or a registry, its tests are skipped.
"""

import json
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
from attrs import frozen
from tests.support.npm import installed

VERSION = "9.13.3"
_SERVER = Path(__file__).with_name("server.mjs")


@frozen
class Peer:
    """The running provider."""

    issuer: str
    client_id: str
    client_secret: str
    signing_client_id: str
    secret_signing_client_id: str
    signing_secret: str
    pushing_client_id: str
    device_client_id: str
    bound_client_id: str
    bound_device_client_id: str
    certified_client_id: str
    self_signed_client_id: str | None = None


@contextmanager
def openid_peer(redirect_uri, public_jwk, tls=None):
    """Run the provider with clients of several kinds; one signs with the key of ``public_jwk``.

    With ``tls``, the provider is served by https; see `tests.support.client_certificates`.
    """
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    folder = installed(f"oidc-provider-{VERSION}", f"oidc-provider@{VERSION}")
    server = folder / "server.mjs"
    shutil.copyfile(_SERVER, server)
    process = subprocess.Popen(
        [
            node,
            str(server),
            redirect_uri,
            json.dumps(public_jwk),
            *([] if tls is None else [json.dumps(tls.for_server)]),
        ],
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
