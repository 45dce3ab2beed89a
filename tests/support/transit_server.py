"""A stand-in for the Transit engine of HashiCorp Vault or OpenBao, in a process of its own.

It follows https://developer.hashicorp.com/vault/api-docs/secret/transit: tokens, paths, bodies, statuses and texts of
errors. ``POST /control/<key>`` with ``ok``, ``denied``, ``disabled``, ``sealed`` or ``hang`` says what a key does from
then on, and ``GET /control/<key>`` tells how many requests for the key have come.
"""

import asyncio
import base64
import json
import os
import re
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

TOKEN = "hvs.a-token-for-the-tests-only"
ROOT = Path(__file__).resolve().parents[2]
_FAILURES = {
    "denied": (403, "1 error occurred:\n\t* permission denied\n\n"),
    "disabled": (400, "ciphertext or signature version is disallowed by policy (too old)"),
    "sealed": (503, "Vault is sealed"),
}


class Engine:
    """Keys by name, and what each of them does."""

    def __init__(self):
        self.keys, self.modes, self.asked = {}, {}, Counter()

    async def answer(self, method, path, headers, body):
        if found := re.fullmatch(r"/control/([\w.-]+)", path):
            if method == "POST":
                self.modes[found[1]] = body.decode()
            return 200, {"asked": self.asked[found[1]]}
        found = re.fullmatch(r"/v1/([\w/]+)/(encrypt|decrypt)/([\w.-]+)", path)
        if method not in ("POST", "PUT") or found is None:
            return 404, {"errors": []}
        _, operation, name = found.groups()
        self.asked[name] += 1
        mode = self.modes.get(name, "ok")
        if mode == "hang":
            await asyncio.sleep(3600)
        if mode in _FAILURES:
            status, text = _FAILURES[mode]
            return status, {"errors": [text]}
        if headers.get("x-vault-token") != TOKEN:
            return 403, {"errors": ["permission denied"]}
        aead = AESGCM(self.keys.setdefault(name, os.urandom(32)))
        given = json.loads(body)
        if operation == "encrypt":
            nonce = os.urandom(12)
            sealed = nonce + aead.encrypt(nonce, base64.b64decode(given["plaintext"]), None)
            return 200, {"data": {"ciphertext": "vault:v1:" + base64.b64encode(sealed).decode(), "key_version": 1}}
        try:
            sealed = base64.b64decode(given["ciphertext"].removeprefix("vault:v1:"), validate=True)
            plaintext = aead.decrypt(sealed[:12], sealed[12:], None)
        except (InvalidTag, ValueError):
            return 400, {"errors": ["cipher: message authentication failed"]}
        return 200, {"data": {"plaintext": base64.b64encode(plaintext).decode()}}

    async def serve(self, reader, writer):
        try:
            while line := await reader.readline():
                method, path, _ = line.decode().split()
                headers = {}
                while header := (await reader.readline()).decode().strip():
                    name, _, value = header.partition(":")
                    headers[name.lower()] = value.strip()
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                status, answer = await self.answer(method, path, headers, body)
                text = json.dumps(answer).encode()
                writer.write(b"HTTP/1.1 %d .\r\nContent-Length: %d\r\n\r\n%s" % (status, len(text), text))
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, ValueError):
            pass
        finally:
            writer.close()


class Transit:
    """The running stand-in.

    Attributes:
        address: its address, as in a URI.
    """

    def __init__(self, address):
        self.address = address

    def uri(self, name):
        return f"transit:{self.address}/transit/{name}"

    def make(self, name, mode):
        """Let a key do something from now on."""
        with urlopen(Request(f"{self.address}/control/{name}", data=mode.encode(), method="POST")):
            pass

    def asked(self, name):
        with urlopen(f"{self.address}/control/{name}") as response:
            return json.load(response)["asked"]

    def tokens(self, folder):
        """Write the file of tokens, and return its path."""
        path = folder / "tokens.json"
        path.write_text(json.dumps({self.address: {"token": TOKEN}}))
        path.chmod(0o600)
        return path


@contextmanager
def running():
    """Run the stand-in in another process during the block."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.transit_server"], stdout=subprocess.PIPE, env=environment, cwd=ROOT
    )
    try:
        yield Transit(f"http://127.0.0.1:{int(process.stdout.readline())}")
    finally:
        process.kill()
        process.communicate()


async def _main():
    server = await asyncio.start_server(Engine().serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main())
