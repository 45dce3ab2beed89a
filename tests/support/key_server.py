"""What the stand-ins of key services have in common: a server on loopback, in a process of its own.

``POST /control/<key>`` says what a key does from then on, and ``GET /control/<key>`` tells how many requests for it
came.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from urllib.request import ProxyHandler, Request, build_opener

ROOT = Path(__file__).resolve().parents[2]
_opener = build_opener(ProxyHandler({}))  # a test may set a proxy


class Engine:
    """Answers requests; a stand-in has ``answer``, which returns status, members and, if need be, headers.

    Attributes:
        modes: what each key does, by name.
        asked: number of requests for each key.
        tls: the TLS context for tunnels, which begin with CONNECT; None: there are none.
    """

    tls = None

    def __init__(self):
        self.modes, self.asked = {}, Counter()

    def control(self, name, mode):
        self.modes[name] = mode

    def mode(self, name):
        """Count a request for a key, and return what the key does."""
        self.asked[name] += 1
        return self.modes.get(name, "ok")

    async def serve(self, reader, writer):
        try:
            while line := await reader.readline():
                method, path, _ = line.decode().split()
                headers = {}
                while header := (await reader.readline()).decode().strip():
                    name, _, value = header.partition(":")
                    headers[name.lower()] = value.strip()
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                if method == "CONNECT":
                    writer.write(b"HTTP/1.1 200 .\r\n\r\n")
                    await writer.drain()
                    await writer.start_tls(self.tls)
                    continue
                if found := re.fullmatch(r"/control/(.+)", path):
                    if method == "POST":
                        self.control(found[1], body.decode())
                    status, members, more = 200, {"asked": self.asked[found[1]]}, {}
                else:
                    status, members, *rest = await self.answer(method, path, headers, body)
                    more = rest[0] if rest else {}
                text = json.dumps(members).encode()
                told = "".join(f"{name}: {value}\r\n" for name, value in more.items())
                told += f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n"
                writer.write(f"HTTP/1.1 {status} .\r\n{told}\r\n".encode() + text)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, ValueError):
            pass
        finally:
            writer.close()


class KeyServer:
    """A running stand-in.

    Attributes:
        address: its address.
    """

    def __init__(self, address):
        self.address = address

    def make(self, name, mode):
        """Let a key do something from now on."""
        with _opener.open(Request(f"{self.address}/control/{name}", data=mode.encode(), method="POST")):
            pass

    def asked(self, name):
        """Return the number of requests for a key."""
        with _opener.open(f"{self.address}/control/{name}") as response:
            return json.load(response)["asked"]


@contextmanager
def running_module(module, kind, *arguments):
    """Run a stand-in in another process during the block; ``kind`` is made of its address."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    process = subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)], stdout=subprocess.PIPE, env=environment, cwd=ROOT
    )
    try:
        yield kind(f"http://127.0.0.1:{int(process.stdout.readline())}")
    finally:
        process.kill()
        process.communicate()


def run(engine):
    """Serve until the process is killed, and print the port."""

    async def main():
        server = await asyncio.start_server(engine.serve, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

    asyncio.run(main())
