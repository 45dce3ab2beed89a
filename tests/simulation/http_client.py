"""An HTTP client whose requests go to the simulated provider."""

import asyncio
from urllib.parse import parse_qsl

from tests.simulation.provider import encode, plain_headers


class ConnectError(Exception):
    """The connection was refused; the refreshers know the client's errors by their names."""


class ReadError(Exception):
    """The connection was reset."""


class _Request:
    def __init__(self, content, headers, extensions):
        self.content, self.headers, self.extensions = content, headers, extensions


class _Response:
    is_stream_consumed = True

    def __init__(self, status, headers, content):
        self.status_code, self.headers, self.content = status, headers, content

    async def aclose(self):
        pass


def _form_of(text):
    """Return the fields of a form; a form without escapes needs no real parser, which takes much longer."""
    if "%" in text or "+" in text:
        return dict(parse_qsl(text))
    return dict([pair.split("=") for pair in text.split("&")])


class SimulatedClient:
    """Has the methods of an ``httpx.AsyncClient`` that the refreshers call."""

    def __init__(self, provider, random, ambush):
        self._provider, self._random, self._ambush = provider, random, ambush

    def build_request(self, method, url, *, content, headers, extensions, **_):
        """Return a request."""
        return _Request(content, dict(headers), extensions)

    async def send(self, request, **_):
        """Send a request and return the response."""
        if self._ambush.is_set:
            await self._ambush.point()
        delay, headers = self._random.uniform(0.02, 0.3), plain_headers(request.headers)
        form = _form_of(request.content.decode())
        is_refused = self._random.random() < self._provider.weather.down / 2
        self._provider.attempted(headers, form, is_refused=is_refused)
        if is_refused:
            await asyncio.sleep(delay)
            raise ConnectError
        await request.extensions["trace"]("http11.send_request_headers.started", {})
        reply = asyncio.get_running_loop().create_future()
        self._provider.receive(headers, form, delay, reply)
        status, headers, members = await reply
        if self._ambush.is_set:
            await self._ambush.point()
        if status is None:
            raise ReadError
        return _Response(status, headers, encode(members))
