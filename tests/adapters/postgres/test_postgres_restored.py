"""The audit log of a database that came from another server, whose transactions had higher numbers."""

import asyncio
import os
import sys
from pathlib import Path

import pytest
from tests.support.processes import Call, run_processes

from vault_adapters import TokenKey, TokenKind, VaultConfig, open_vault

KEYS = [TokenKey("t1", "acme", TokenKind.API_KEY, f"a{number}") for number in range(6)]


def open_at(url, **options):
    config = VaultConfig(url, encryption_secret="a secret for tests of restored databases", scrypt_log2_n=14)
    return open_vault(config, **options)


def move_to_a_younger_server(execute):
    """Make the events' transaction numbers higher than the server's, as after a restore on a younger server."""
    execute("UPDATE token_vault.audit_event SET xid = (xid::text::bigint + 1000000000)::text::xid8")


async def moved(vault, cursor):
    """Return the cursor as the other server gave it."""
    seal = await vault._services.listing._seal.get()
    xid, seq = seal.open(cursor, None)
    return seal.seal((xid + 1_000_000_000, seq), None)


async def identifiers(vault, **options):
    return [event.account.identifier async for event in vault.iter_audit_events(**options)]


async def store(vault, *keys):
    for key in keys:
        await vault.store_token(key, "value")


async def test_its_events_are_seen_and_come_before_what_is_new(url, execute):
    async with open_at(url) as vault:
        await store(vault, *KEYS[:3])
        first = (await vault.audit_events(limit=1)).next
        last = (await vault.audit_events()).items[-1].cursor
    move_to_a_younger_server(execute)
    async with open_at(url, migrate=False) as vault:
        assert await identifiers(vault) == []  # only a vault that may migrate renumbers restored events
    async with open_at(url) as vault:
        assert await identifiers(vault) == ["a0", "a1", "a2"]
        await store(vault, *KEYS[3:5])
        assert await identifiers(vault, tenant_id="t1") == ["a0", "a1", "a2", "a3", "a4"]
        # Readers go on where they were on the other server.
        for cursor, behind in (first, ["a1", "a2", "a3", "a4"]), (last, ["a3", "a4"]):
            page = await vault.audit_events(after=await moved(vault, cursor))
            assert [event.account.identifier for event in page.items] == behind
    async with open_at(url) as vault:
        await store(vault, KEYS[5])
        assert await identifiers(vault) == ["a0", "a1", "a2", "a3", "a4", "a5"]


async def adopt(url):
    async with open_at(url):
        pass


@pytest.mark.real_scrypt
async def test_the_command_init_adopts_them_although_the_schema_is_current(url, execute):
    async with open_at(url) as vault:
        await store(vault, *KEYS[:3])
    move_to_a_younger_server(execute)
    variables = {
        "DATABASE_URL": url,
        "ENCRYPTION_SECRET": "a secret for tests of restored databases",
        "TOKEN_VAULT_SCRYPT_LOG2_N": "14",
    }
    command = Path(sys.executable).with_name("token-vault")
    process = await asyncio.create_subprocess_exec(
        command, "init", env=os.environ | variables, stdout=asyncio.subprocess.PIPE
    )
    shown, _ = await process.communicate()
    assert "already up to date" in shown.decode()
    assert "nothing" not in shown.decode()  # the restored events were renumbered
    async with open_at(url, migrate=False) as vault:
        assert await identifiers(vault) == ["a0", "a1", "a2"]


async def test_several_processes_find_it_at_once(url, execute):
    async with open_at(url) as vault:
        await store(vault, *KEYS[:3])
    move_to_a_younger_server(execute)
    run_processes([Call(adopt, [url])] * 4)
    assert execute("SELECT DISTINCT xid::text FROM token_vault.audit_event") == [("2",)]


async def test_a_database_of_this_server_is_left_as_it_is(url, execute):
    async with open_at(url) as vault:
        await store(vault, *KEYS[:3])
    before = execute("SELECT xid::text, seq FROM token_vault.audit_event ORDER BY 2")
    async with open_at(url):
        pass
    assert execute("SELECT xid::text, seq FROM token_vault.audit_event ORDER BY 2") == before
