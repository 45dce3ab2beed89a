"""The server on 127.0.0.1 that receives one callback (RFC 8252): what is no request, and what comes too late."""

import asyncio
from datetime import timedelta
from urllib.parse import urlsplit

import pytest

from vault_adapters import StateRefusedError
from vault_adapters.connect.loopback import loopback_callback

SOON = timedelta(seconds=30)


async def sent(callback, content):
    """Send bytes, and return the first line of the answer."""
    parts = urlsplit(callback.redirect_uri)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(content)
    try:
        return (await reader.readline()).decode().strip()
    except ConnectionError:
        return ""
    finally:
        writer.close()


async def test_nobody_comes_back_in_time():
    async with loopback_callback() as callback:
        with pytest.raises(StateRefusedError) as caught:
            await callback.wait("s", timedelta(milliseconds=50))
        assert caught.value.reason == "expired"


@pytest.mark.parametrize(
    "content",
    [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"\xff\xfe /callback HTTP/1.1\r\n\r\n",
        b"GET //[callback HTTP/1.1\r\n\r\n",
        b"GET /callback?" + b"a=b&" * 200 + b"state=s HTTP/1.1\r\n\r\n",
        b"GET /callback?state=s&a=" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /callback?state=%FF HTTP/1.1\r\n\r\n",
    ],
)
async def test_what_is_no_callback_ends_neither_the_wait_nor_the_server(content):
    async with loopback_callback() as callback:
        waiting = asyncio.create_task(callback.wait("s", SOON))
        await asyncio.sleep(0)
        assert "200" not in await sent(callback, content)
        assert not waiting.done()
        assert await sent(callback, b"GET /callback?code=c&state=s HTTP/1.1\r\n\r\n") == "HTTP/1.1 200 OK"
        assert await waiting == "code=c&state=s"
