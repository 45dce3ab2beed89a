"""Lets processes share accounts at an MCP server that uses each refresh token once: `python -m tests.scale.mcp`.

The vault, and the SDK's own OAuth provider over a shared file, take turns. Both are asked for the same accounts until
the server has seen so many refreshes. The table tells how many grants were lost, and how often a user had to log in
again.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import tempfile
import time
import warnings
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
from tests.support.mcp_stub import McpStub, mcp_stub

from vault_adapters import Account, VaultConfig, open_vault
from vault_adapters.clients.httpx2 import VaultAuth
from vault_adapters.connect.mcp import McpConnector, McpRefresher

_REDIRECT_URI = "http://127.0.0.1:9/callback"
_LIFETIME = 2
_MOST_SECONDS = 300


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both and print a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.scale.mcp", description=__doc__)
    parser.add_argument("--processes", type=int, default=5)
    parser.add_argument("--accounts", type=int, default=50)
    parser.add_argument("--expiries", type=int, default=1000)
    options = parser.parse_args(arguments)
    print(
        "| who refreshes | refreshes | grants lost | further logins | failed calls |\n| --- | --- | --- | --- | --- |"
    )
    for name, work, prepare in (("token-vault", _vault, _connect_all), ("the SDK's provider", _sdk, _log_in_all)):
        result = run(work, prepare, options.processes, options.accounts, options.expiries)
        print(f"| {name} | {result['refreshes']} | {result['lost']} | {result['logins']} | {result['failed']} |")
    return 0


def run(work, prepare, processes: int, accounts: int, expiries: int) -> dict[str, int]:
    """Let processes call for the accounts until the server has refreshed so often; return what it has counted."""
    with tempfile.TemporaryDirectory() as folder, mcp_stub(lifetime=_LIFETIME) as stub:
        asyncio.run(prepare(folder, stub, accounts))
        first = len(stub.codes_given)
        stop = os.path.join(folder, "stop")
        context = multiprocessing.get_context("spawn")
        crowd = [context.Process(target=work, args=(folder, stub.url, accounts, stop)) for _ in range(processes)]
        for process in crowd:
            process.start()
        end = time.monotonic() + _MOST_SECONDS
        while stub.refreshes < expiries and time.monotonic() < end and any(each.is_alive() for each in crowd):
            time.sleep(0.2)
        Path(stop).touch()
        for process in crowd:
            process.join(120)
        failed = sum(int(path.read_text()) for path in Path(folder).glob("failed-*"))
        logins = len(stub.codes_given) - first
        return {"refreshes": stub.refreshes, "lost": stub.lost, "logins": logins, "failed": failed}


def _config(folder: str) -> VaultConfig:
    return VaultConfig(
        f"sqlite:///{folder}/vault.db",
        encryption_secret="0123456789abcdefghijklmnopqrstuvwxyz",
        scrypt_log2_n=14,
        storage_timeout=timedelta(seconds=30),
        journal_dir=f"{folder}/journal-{os.getpid()}",
    )


def _opened(folder: str):
    return open_vault(_config(folder), refreshers={"mcp": McpRefresher(private_addresses=True)})


async def _connect_all(folder: str, stub: McpStub, accounts: int) -> None:
    async with _opened(folder) as vault, httpx2.AsyncClient(trust_env=False) as browser:
        connector = McpConnector(vault, client_name="crowd", redirect_uri=_REDIRECT_URI, private_addresses=True)
        for number in range(accounts):
            start = await connector.begin(f"t{number}", stub.url, session="s")
            answer = await browser.get(start.url)
            came = urlsplit(answer.headers["location"])
            await connector.finish(came.query, session="s", redirect_uri=came.path)


async def _log_in_all(folder: str, stub: McpStub, accounts: int) -> None:
    from tests.scale.mcp_sdk import provider

    for number in range(accounts):
        auth = provider(stub.url, Path(folder) / f"sdk-{number}.json", _REDIRECT_URI)
        async with httpx2.AsyncClient(auth=auth, trust_env=False) as http:
            await http.post(stub.url)


def _vault(folder: str, url: str, accounts: int, stop: str) -> None:
    asyncio.run(_call_by_the_vault(folder, url, accounts, stop))


async def _call_by_the_vault(folder: str, url: str, accounts: int, stop: str) -> None:
    async with _opened(folder) as vault:

        async def call(number: int) -> bool:
            auth = VaultAuth(vault, Account(f"t{number}", "mcp", url))
            async with httpx2.AsyncClient(auth=auth, trust_env=False, timeout=60) as http:
                return (await http.post(url)).status_code == 200

        await _calls(folder, call, accounts, stop)


def _sdk(folder: str, url: str, accounts: int, stop: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asyncio.run(_call_by_the_sdk(folder, url, accounts, stop))


async def _call_by_the_sdk(folder: str, url: str, accounts: int, stop: str) -> None:
    from tests.scale.mcp_sdk import provider

    # One provider for each account, as in a service: a new one does not know when the stored token expires.
    providers = [provider(url, Path(folder) / f"sdk-{number}.json", _REDIRECT_URI) for number in range(accounts)]

    async def call(number: int) -> bool:
        async with httpx2.AsyncClient(auth=providers[number], trust_env=False, timeout=60) as http:
            return (await http.post(url)).status_code == 200

    await _calls(folder, call, accounts, stop)


async def _calls(folder: str, call, accounts: int, stop: str) -> None:
    failed, stopped = 0, Path(stop)
    while not stopped.exists():  # noqa: ASYNC240 - on a disk in memory
        for number in range(accounts):
            try:
                failed += not await call(number)
            except Exception:
                failed += 1
            if stopped.exists():  # noqa: ASYNC240
                break
    (Path(folder) / f"failed-{os.getpid()}").write_text(str(failed))


if __name__ == "__main__":
    raise SystemExit(main())
