"""The warning about a remote server whose certificate is not checked."""

import asyncio
import logging
from contextlib import asynccontextmanager

import pytest
from psycopg.conninfo import conninfo_to_dict

from vault_adapters import VaultConfig, open_vault
from vault_adapters.stores.postgres.pools import _warn_of_sslmode

SECRET = "an encryption secret for tests, long enough"
LOCAL = ["", "localhost", "127.0.0.1", "127.8.8.8", "::1", "/run/postgresql", "@abstract", "/run/pg,localhost"]
ELSEWHERE = ["db.example", "10.0.0.7", "192.168.1.1", "2001:db8::1", "localhost,db.example", "localhost.example"]


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@pytest.mark.parametrize("host", LOCAL)
def test_a_local_server_needs_no_certificate(host, caplog):
    for mode in ("disable", "prefer", "verify-full", ""):
        _warn_of_sslmode({"host": host, "sslmode": mode})
        _warn_of_sslmode({"host": "db.example", "hostaddr": "127.0.0.1", "sslmode": mode})
    assert warnings(caplog) == []


@pytest.mark.parametrize("host", ELSEWHERE)
def test_a_server_elsewhere_does(host, caplog):
    _warn_of_sslmode({"host": host, "sslmode": "verify-full"})
    assert warnings(caplog) == []
    for mode in ("disable", "allow", "prefer", "require", "verify-ca"):
        caplog.clear()
        _warn_of_sslmode({"host": host, "sslmode": mode})
        (message,) = warnings(caplog)
        assert f"sslmode is {mode}:" in message
        assert host not in message


@asynccontextmanager
async def listening_elsewhere(url):
    """Forward connections on 0.0.0.0, which is no loopback address, to the server's Unix socket; yield the port."""
    options = conninfo_to_dict(url)
    path = f"{options['host']}/.s.PGSQL.{options['port']}"

    async def copy_all(reader, writer):
        while part := await reader.read(65_536):
            writer.write(part)
        writer.close()

    async def forward(reader, writer):
        to_server = await asyncio.open_unix_connection(path)
        await asyncio.gather(copy_all(reader, to_server[1]), copy_all(to_server[0], writer), return_exceptions=True)

    server = await asyncio.start_server(forward, "0.0.0.0", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
async def test_opening_warns_once(url, caplog):
    name = conninfo_to_dict(url)["dbname"]
    async with listening_elsewhere(url) as port:
        there = f"postgresql://postgres:hunter2@0.0.0.0:{port}/{name}"
        for opened, count in ((there, 1), (url, 0)):
            caplog.clear()
            async with open_vault(VaultConfig(opened, encryption_secret=SECRET, scrypt_log2_n=14)):
                pass
            found = warnings(caplog)
            assert len(found) == count
            assert not any("hunter2" in message or "postgresql:" in message for message in found)
