"""A request counts as sent once it is through the proxy's tunnel. Asking for the tunnel sends the provider nothing."""

import asyncio
import datetime as dt
import ssl
from contextlib import asynccontextmanager, suppress

import httpx
import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.adapters.providers.asking import failure

from vault_adapters.providers import OAuth2Refresher
from vault_domain.entities import causes
from vault_domain.entities.errors import RefreshFailedError

OPENED = b"HTTP/1.1 200 Connection established\r\n\r\n"


@pytest.fixture(scope="module")
def identity(tmp_path_factory):
    """The TLS context of a server with a certificate of its own."""
    now, key = dt.datetime.now(dt.UTC), ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a provider")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path_factory.mktemp("identity") / "server.pem"
    path.write_bytes(private + builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


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
