"""A stand-in for the Transit engine of HashiCorp Vault or OpenBao, in a process of its own.

It follows https://developer.hashicorp.com/vault/api-docs/secret/transit: tokens, paths, bodies, statuses and texts of
errors. A key is made to do ``ok``, ``denied``, ``disabled``, ``sealed`` or ``hang``; or ``rsa``, which makes it one.
"""

import asyncio
import base64
import json
import os
import re
from contextlib import contextmanager

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.support.key_server import Engine, KeyServer, run, running_module

TOKEN = "hvs.a-token-for-the-tests-only"
_FAILURES = {
    "denied": (403, "1 error occurred:\n\t* permission denied\n\n"),
    "disabled": (400, "ciphertext or signature version is disallowed by policy (too old)"),
    "sealed": (503, "Vault is sealed"),
}
_OAEP = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)


class _Symmetric:
    def __init__(self):
        self._aead = AESGCM(os.urandom(32))

    def encrypt(self, plaintext):
        nonce = os.urandom(12)
        return nonce + self._aead.encrypt(nonce, plaintext, None)

    def decrypt(self, sealed):
        return self._aead.decrypt(sealed[:12], sealed[12:], None)


class _Rsa:
    def __init__(self):
        self._key = rsa.generate_private_key(65537, 2048)

    def encrypt(self, plaintext):
        return self._key.public_key().encrypt(plaintext, _OAEP)

    def decrypt(self, sealed):
        return self._key.decrypt(sealed, _OAEP)


class Transit(Engine):
    """Keys by name."""

    def __init__(self):
        super().__init__()
        self.keys = {}

    async def answer(self, method, path, headers, body):
        found = re.fullmatch(r"/v1/([\w/]+)/(encrypt|decrypt)/([\w.-]+)", path)
        if method not in ("POST", "PUT") or found is None:
            return 404, {"errors": []}
        _, operation, name = found.groups()
        mode = self.mode(name)
        if mode == "hang":
            await asyncio.sleep(3600)
        if mode in _FAILURES:
            status, text = _FAILURES[mode]
            return status, {"errors": [text]}
        if headers.get("x-vault-token") != TOKEN:
            return 403, {"errors": ["permission denied"]}
        key = self.keys.get(name) or self.keys.setdefault(name, _Rsa() if mode == "rsa" else _Symmetric())
        given = json.loads(body)
        if operation == "encrypt":
            sealed = key.encrypt(base64.b64decode(given["plaintext"]))
            return 200, {"data": {"ciphertext": "vault:v1:" + base64.b64encode(sealed).decode(), "key_version": 1}}
        try:
            plaintext = key.decrypt(base64.b64decode(given["ciphertext"].removeprefix("vault:v1:"), validate=True))
        except (InvalidTag, ValueError):
            return 400, {"errors": ["cipher: message authentication failed"]}
        return 200, {"data": {"plaintext": base64.b64encode(plaintext).decode()}}


class TransitServer(KeyServer):
    """The running stand-in."""

    def uri(self, name):
        return f"transit:{self.address}/transit/{name}"

    def tokens(self, folder):
        """Write the file of tokens, and return its path."""
        path = folder / "tokens.json"
        path.write_text(json.dumps({self.address: {"token": TOKEN}}))
        path.chmod(0o600)
        return path


@contextmanager
def running():
    """Run the stand-in in another process during the block."""
    with running_module("tests.support.transit_server", TransitServer) as server:
        yield server


if __name__ == "__main__":
    run(Transit())
