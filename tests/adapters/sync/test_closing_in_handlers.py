"""A signal handler closes a vault that is refreshing: it returns soon, and the provider's answer is kept nevertheless.

The programs are real ones, which end as Python programs end; the provider accepts each refresh token once.
"""

import asyncio
import json
import signal
import subprocess
import sys
import time

import pytest
from tests.support.databases import PostgresSchema, SqliteFile
from tests.support.fault_proxy import fault_proxy
from tests.support.strict_provider import digest, strict_provider

from vault_adapters import Account, open_vault

pytestmark = [pytest.mark.processes, pytest.mark.real_scrypt]

LATENCY, SOON = 4.0, 2.0
SALT = "salt"
HOW = {"exits": 3, "beside": 3, "goes-on": 0, "closes-again": 4}
"""What the program does after the handler, and the exit code."""


PROGRAM = """
import json, os, signal, sys, threading, time
from datetime import timedelta
from vault_adapters import Account, ConfigurationError, Rotation, TokenSet, VaultConfig, open_sync_vault
from vault_adapters.providers import OAuth2Refresher

how, url, schema, secret, token_url, refresh_token = sys.argv[1:]
config = VaultConfig(url, encryption_secret=secret, scrypt_log2_n=14, postgres_schema=schema)
refresher = OAuth2Refresher(token_url, client_id="c", client_secret="s", rotation=Rotation.strict())
vault = open_sync_vault(config, refreshers={"acme": refresher})
account, seen = Account(how, "acme"), {}
vault.store_token_set(account, TokenSet("old", refresh_token, expires_in=timedelta(seconds=1)))
time.sleep(1.1)  # until it has expired

def code_of(call):
    try:
        return repr(call())
    except ConfigurationError as error:
        return error.code

def handler(*_):
    if how != "beside":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    began = time.monotonic()
    vault.close()
    seen["seconds"] = time.monotonic() - began
    seen["new call"] = code_of(lambda: vault.list_tokens(how))
    print(json.dumps(seen), flush=True)
    if how in ("exits", "beside"):
        sys.exit(3)

signal.signal(signal.SIGTERM, handler)
if how == "beside":  # the signal interrupts no call
    threading.Thread(target=vault.ensure_access_token, args=[account]).start()
    time.sleep(60)
seen["interrupted"] = code_of(lambda: vault.ensure_access_token(account))
if how == "closes-again":
    vault.close()
    print(json.dumps(seen), flush=True)
    os._exit(4)  # nothing is left to the exit functions
print(json.dumps(seen), flush=True)
"""


@pytest.fixture
def sqlite_place(tmp_path):
    """Give a configuration, and a function that breaks the connections to its database."""
    return SqliteFile(tmp_path / "vault.db").config(), lambda: None


@pytest.fixture
def postgres_place(postgres):
    """The same for Postgres; each new connection needs a lookup of the host's name, as in production."""
    with fault_proxy(postgres.create_database("closing_in_handlers")) as proxy:
        yield PostgresSchema(proxy.url.replace("127.0.0.1", "localhost")).config(), proxy.reset


@pytest.fixture(params=["sqlite", "postgres"])
def place(request):
    return request.getfixturevalue(f"{request.param}_place")


class Program:
    """A program that refreshes an account of the tenant ``how``, and whose handler of SIGTERM closes the vault."""

    def __init__(self, how, config, provider, token_url):
        self.how, self._provider = how, provider
        _, self.refresh_token = provider.consent(how)
        where = [config.database_url.reveal(), config.postgres_schema]
        arguments = [how, *where, config.encryption_secret.reveal(), token_url, self.refresh_token]
        self._process = subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], stdout=subprocess.PIPE, text=True)

    def interrupt(self):
        """Send the signal as soon as the provider has the request."""
        until = time.monotonic() + 60
        while not any(each.account == self.how for each in self._provider.presented):
            assert self._process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.01)
        self._process.send_signal(signal.SIGTERM)

    def ended(self):
        """Return the exit code and what was printed."""
        with self._process as process:
            printed, _ = process.communicate(timeout=60)
        return process.returncode, [json.loads(line) for line in printed.splitlines()]


async def newest_refresh_token(config, tenant):
    async with open_vault(config) as vault:
        return (await vault.get_refresh_token(Account(tenant, "acme"))).value.reveal()


def test_a_handler_closes_soon_and_the_answer_is_kept(place):
    config, break_connections = place
    asyncio.run(create(config))
    with strict_provider(SALT, lifetime=3600) as (provider, base_url):
        provider.weather(latency=LATENCY)
        programs = [Program(how, config, provider, f"{base_url}/token") for how in HOW]
        for program in programs:
            program.interrupt()
        time.sleep(SOON)
        break_connections()
        results = [program.ended() for program in programs]
        assert [code for code, _ in results] == list(HOW.values())
        for program, (code, printed) in zip(programs, results, strict=True):
            assert printed[0]["seconds"] < SOON
            assert printed[0]["new call"] == "vault_closed"
            assert [each["interrupted"] for each in printed[1:]] == ["vault_closed"] * (code != 3)
            newest = asyncio.run(newest_refresh_token(config, program.how))
            assert provider.is_live(digest(SALT, newest))
        assert len(provider.presented) == len(programs)


async def create(config):
    async with open_vault(config):
        pass
