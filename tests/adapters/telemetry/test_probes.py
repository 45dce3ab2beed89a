"""The HTTP server for probes and metrics, with ordinary, slow and hostile clients."""

import asyncio

import pytest

from vault_adapters.cli.commands.working import as_address
from vault_adapters.runtime import probes
from vault_adapters.runtime.probes import Answer, serving
from vault_domain import InvalidInputError


async def fine():
    return Answer(b"ok\n")


async def broken():
    raise RuntimeError("a-secret")


async def large():
    return Answer(b"x" * 20_000_000)


ROUTES = {"/fine": fine, "/broken": broken, "/large": large}


@pytest.fixture
async def port():
    async with serving("127.0.0.1", 0, ROUTES) as port:
        yield port


async def ask(port, request):
    """Send bytes, and return what comes back until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        async with asyncio.timeout(20):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("request_line", "status", "body"),
    [
        (b"GET /fine HTTP/1.1", b"200 OK", b"ok\n"),
        (b"GET /fine?a=b HTTP/1.0", b"200 OK", b"ok\n"),
        (b"HEAD /fine HTTP/1.1", b"200 OK", b""),
        (b"POST /fine HTTP/1.1", b"405 Method Not Allowed", b"only GET and HEAD\n"),
        (b"GET /../etc/passwd HTTP/1.1", b"404 Not Found", b"not found\n"),
        (b"GET /\xff\x00 HTTP/1.1", b"404 Not Found", b"not found\n"),
        (b"GET http://elsewhere/fine HTTP/1.1", b"404 Not Found", b"not found\n"),
        (b"GET /fine", b"400 Bad Request", b"bad request\n"),
        (b"", b"400 Bad Request", b"bad request\n"),
        (b"\x16\x03\x01 \x00 \x01", b"400 Bad Request", b"bad request\n"),
        (b"GET /fine HTTP/1.1\r\nX: " + b"x" * 20_000, b"400 Bad Request", b"bad request\n"),
        (b"GET /broken HTTP/1.1", b"500 Internal Server Error", b"error\n"),
    ],
)
async def test_a_request_gets_its_answer(port, caplog, request_line, status, body):
    answer = await ask(port, request_line + b"\r\nHost: localhost\r\n\r\n")
    if len(request_line) < 1000 or answer:  # the unread rest of a large request may reset the connection
        head, _, found = answer.partition(b"\r\n\r\n")
        assert head.split(b"\r\n")[0] == b"HTTP/1.1 " + status
        assert found == body
        assert b"Content-Length" in head
    assert "a-secret" not in caplog.text
    assert "passwd" not in caplog.text


async def test_clients_that_say_nothing_hold_up_nobody(port, monkeypatch):
    silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(200)]
    for _, writer in silent[:50]:
        writer.write(b"GET /fi")
    async with asyncio.timeout(probes._REQUEST_SECONDS):  # nobody waits until the silent ones are given up
        for _ in range(3):
            assert (await ask(port, b"GET /fine HTTP/1.1\r\n\r\n")).endswith(b"ok\n")
    for _, writer in silent:
        writer.close()


async def test_a_client_that_says_nothing_is_given_up(monkeypatch):
    monkeypatch.setattr(probes, "_REQUEST_SECONDS", 0.05)
    async with serving("127.0.0.1", 0, ROUTES) as port:
        assert await ask(port, b"GET /fine HTTP/1.1\r\n") == b""


async def test_a_client_that_does_not_read_is_given_up(monkeypatch):
    """The client begins to read when the server has given it up, however long that takes."""
    monkeypatch.setattr(probes, "_REQUEST_SECONDS", 0.3)
    serving_it = asyncio.get_running_loop().create_future()

    async def asked():
        serving_it.set_result(asyncio.current_task())
        return await large()

    async with serving("127.0.0.1", 0, {"/large": asked}) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(b"GET /large HTTP/1.1\r\n\r\n")
        async with asyncio.timeout(20):
            await asyncio.wait([await serving_it])
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(20_000_000)
        writer.close()


async def test_an_answer_that_takes_too_long_is_an_error(monkeypatch):
    monkeypatch.setattr(probes, "_ANSWER_SECONDS", 0.05)

    async def endless():
        await asyncio.Event().wait()

    async with serving("127.0.0.1", 0, {"/": endless}) as port:
        assert b"500 Internal Server Error" in await ask(port, b"GET / HTTP/1.1\r\n\r\n")


async def test_the_end_of_the_block_ends_open_connections():
    async with serving("127.0.0.1", 0, ROUTES) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert (await ask(port, b"GET /fine HTTP/1.1\r\n\r\n")).endswith(b"ok\n")
    async with asyncio.timeout(10):
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
    writer.close()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", 9464)),
        ("[::1]:9464", ("::1", 9464)),
        ("localhost:0", ("localhost", 0)),
        ("0.0.0.0:65535", ("0.0.0.0", 65535)),
    ],
)
def test_addresses(text, address):
    assert as_address(text) == address


@pytest.mark.parametrize(
    "text",
    ["", "9464", ":9464", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "::1:9464", "a b:1", "x:1/", "x:-1", "x:1\n"],
)
def test_bad_addresses_are_refused_without_repeating_them(text):
    with pytest.raises(InvalidInputError) as caught:
        as_address(text)
    assert str(caught.value) == "--listen must be HOST:PORT, such as 127.0.0.1:9464 or [::1]:9464"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (b"localhost:9464", b"200"),
        (b"127.0.0.1", b"200"),
        (b"[::1]:9464", b"200"),
        (b"rebound.example:9464", b"421"),
        (b"127.0.0.1.rebound.example", b"421"),
        (b"", b"421"),
    ],
)
async def test_on_loopback_only_loopback_may_be_asked(port, host, status):
    """The owner of a site may point its name to this machine, and read what its page gets from there."""
    for name in (b"Host", b"hOST"):
        answer = await ask(port, b"GET /fine HTTP/1.1\r\n%s: %s\r\n\r\n" % (name, host))
        assert answer.split(b" ")[1] == status


async def test_on_other_interfaces_any_host_may_be_asked():
    async with serving("0.0.0.0", 0, ROUTES) as port:
        assert (await ask(port, b"GET /fine HTTP/1.1\r\nHost: pod.cluster\r\n\r\n")).split(b" ")[1] == b"200"
