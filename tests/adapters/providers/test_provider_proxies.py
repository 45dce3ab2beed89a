"""A request counts as sent once it is through the proxy's tunnel. Asking for the tunnel sends the provider nothing."""

import asyncio
from contextlib import asynccontextmanager, suppress

import httpx
import httpx2
import pytest
from tests.adapters.providers.asking import failure
from tests.support.certificates import tls_of, write_identity

from vault_adapters.providers import OAuth2Refresher
from vault_domain.entities import causes
from vault_domain.entities.errors import RefreshFailedError

OPENED = b"HTTP/1.1 200 Connection established\r\n\r\n"


@pytest.fixture(scope="module")
def identity(tmp_path_factory):
    """The TLS context of a server with a certificate of its own."""
    return tls_of(write_identity(tmp_path_factory.mktemp("identity")))


@asynccontextmanager
async def proxy(serve):
    """Run a proxy on loopback; ``serve`` is called after each CONNECT request, and then the proxy says nothing more."""
    ended, asked = asyncio.Event(), []

    async def connection(reader, writer):
        asked.append((await reader.readuntil(b"\r\n\r\n")).split()[0])
        with suppress(OSError, EOFError):
            await serve(reader, writer)
            await ended.wait()
        writer.transport.abort()

    server = await asyncio.start_server(connection, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
    finally:
        ended.set()
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0)  # lets the connections end


async def silent(reader, writer):
    """Leave the CONNECT request without an answer."""


async def broken(reader, writer):
    writer.transport.abort()


async def open_without_tls(reader, writer):
    writer.write(OPENED)


@pytest.fixture(params=[httpx2, httpx])
def library(request):
    return request.param


async def asked_through(library, serve, *, deadline=1.0):
    """Return the error of a refresh through a proxy, and the methods that the proxy was asked for."""
    async with proxy(serve) as (url, asked), library.AsyncClient(proxy=url, verify=False, trust_env=False) as client:
        refresher = OAuth2Refresher("https://provider.example/token", "client", "secret").with_client(client)
        error = await failure(refresher, deadline=deadline, send_deadline=deadline / 2)
    assert isinstance(error, RefreshFailedError)
    return error, asked


@pytest.mark.parametrize(
    ("serve", "cause"),
    [(silent, causes.TIMEOUT), (open_without_tls, causes.TIMEOUT), (broken, causes.CONNECTION_FAILED)],
    ids=["silent", "no TLS", "broken"],
)
async def test_a_request_for_a_tunnel_is_not_the_providers_request(library, serve, cause):
    error, asked = await asked_through(library, serve)
    assert asked == [b"CONNECT"]
    assert (error.outcome_unknown, error.reason) == (False, cause)


@pytest.mark.parametrize(
    ("and_then", "cause"), [(silent, causes.TIMEOUT), (broken, causes.CONNECTION_LOST)], ids=["silent", "broken"]
)
async def test_a_request_that_went_through_the_tunnel_has_left(library, identity, and_then, cause):
    received = []

    async def tunnel(reader, writer):
        writer.write(OPENED)
        await writer.start_tls(identity)
        received.append(await reader.readuntil(b"\r\n\r\n"))
        await and_then(reader, writer)

    error, asked = await asked_through(library, tunnel)
    assert (asked, received[0].split()[0]) == ([b"CONNECT"], b"POST")
    assert (error.outcome_unknown, error.reason) == (True, cause)
