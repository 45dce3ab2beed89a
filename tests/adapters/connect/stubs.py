"""Providers on loopback that answer as their documentation shows, and a client that reaches them by their own names."""

from contextlib import asynccontextmanager
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2
from tests.support.scripted_provider import Answer, scripted_provider

from vault_adapters.connect import Connector
from vault_adapters.providers import refresher

CALLBACK = "https://app.example.com/connect/callback"


class ToLoopback(httpx2.AsyncBaseTransport):
    """Sends each request over HTTP to a server on loopback, with the host that it was for in a header."""

    def __init__(self, port):
        self._port, self._inner = port, httpx2.AsyncHTTPTransport(verify=False)

    async def handle_async_request(self, request):
        request.headers["x-for"] = request.url.netloc.decode()
        request.url = request.url.copy_with(scheme="http", host="127.0.0.1", port=self._port)
        return await self._inner.handle_async_request(request)

    async def aclose(self):
        await self._inner.aclose()


def place_of(request):
    """Return host and path of a request that a stub received."""
    return request.headers["x-for"] + request.path


class Stub:
    """A provider: ``answers`` maps host and path to a JSON value, or to a function of the request."""

    def __init__(self, answers):
        self.answers, self.requests, self.sent = answers, [], {}

    def __call__(self, request):
        self.requests.append(request)
        found = self.answers.get(place_of(request))
        if found is None:
            return Answer(status=404, json={"error": "not_found"})
        found = found(request) if callable(found) else found
        return found if isinstance(found, Answer) else Answer(json=found)

    @property
    def places(self):
        """The places that were asked, in their order."""
        return [place_of(request) for request in self.requests]


@asynccontextmanager
async def reached(stub):
    """Serve a stub on loopback; yield the HTTP client that reaches it."""
    with scripted_provider(stub) as server:
        port = urlsplit(server.base_url).port
        async with httpx2.AsyncClient(transport=ToLoopback(port)) as http:
            yield http


async def connected(vault, profile, stub, callback=None, *, name=None, account=None, extra=None, **options):
    """Connect an account; ``callback`` makes the callback's query of the parameters, which hold code and state."""
    async with reached(stub) as http:
        made = refresher(profile, "client", "secret", client=http, private_addresses=True, **options)
        name = name or made.profile.name
        connector = Connector(vault, {name: made}, redirect_uri=CALLBACK)
        start = await connector.begin("t1", name, session="s", account=account, extra=extra)
        stub.sent.update(parse_qsl(urlsplit(start.url).query))
        given = {"code": "c", "state": start.state}
        query = callback(given) if callable(callback) else urlencode({**given, **(callback or {})})
        return await connector.finish(query, session="s")
