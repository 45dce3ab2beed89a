"""A forked child of an async program: it cannot use its parent's vault, and its end disturbs nobody."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.processes

PROGRAM = """
import asyncio, json, os, sys, time
from datetime import timedelta

from vault_adapters import TokenKey, TokenKind, VaultConfig, VaultError, open_vault

url, kind = sys.argv[1:]
KEY = TokenKey("t1", "acme", TokenKind.API_KEY)


async def tried(calls):
    told = []
    for call in calls:
        try:
            told.append(repr(await call))
        except VaultError as error:
            told.append(error.code)
    return told


async def main():
    config = VaultConfig(
        url, encryption_secret="the encryption secret of these tests", scrypt_log2_n=14,
        read_cache=timedelta(minutes=5),
    )
    async with open_vault(config) as vault:
        await vault.store_token(KEY, "value")
        await vault.get_token(KEY)
        keys, view = vault.keys, vault.with_actor("view")  # the child holds these from before the fork

        def calls():
            return [
                vault.get_token(KEY), vault.get_tokens([KEY]), vault.store_token(KEY, "newer"), vault.ready(),
                view.get_token(KEY), keys.status(),
            ]

        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            told = await tried(calls()) if kind == "exit" else []
            if kind == "run":
                asyncio._set_running_loop(None)
                told = asyncio.new_event_loop().run_until_complete(tried(calls()))
            os.write(writing, json.dumps(told).encode())
            sys.exit(3)
        began, ended = time.monotonic(), 0
        while not ended and time.monotonic() < began + 20:
            ended, status = os.waitpid(child, os.WNOHANG)
            await asyncio.sleep(0.02)
        if not ended:
            os.kill(child, 9)
            os.waitpid(child, 0)
            status = None
        found = (await vault.get_token(KEY, fresh=True)).value.reveal()
        await vault.store_token(KEY, "newest")
        print(json.dumps([status and os.waitstatus_to_exitcode(status), json.loads(os.read(reading, 9999)), found]))


asyncio.run(main())
"""


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/vault.db"
    return request.getfixturevalue("postgres").create_database(f"forks_{tmp_path.name[-30:]}")


@pytest.mark.parametrize("kind", ["exit", "run"])
def test_a_child_cannot_use_its_parents_vault_and_ends_at_once(url, kind):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, url, kind], capture_output=True, text=True, timeout=60, check=False
    )
    # On a loaded machine, psycopg may be cancelling a query when a process ends; it says so in a line of its own.
    assert [line for line in done.stderr.splitlines() if "query cancellation interrupted" not in line] == []
    exit_code, told, found = json.loads(done.stdout)
    assert told[:5] == ["used_across_fork"] * 5
    assert told[5] in ("used_across_fork", "wrong_event_loop")  # the view of the keys was made before the fork
    assert (exit_code, found) == (3, "value")
