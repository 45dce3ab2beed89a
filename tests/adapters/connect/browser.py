"""A user's browser: it follows redirects, with a real HTTP client, up to the host's own address."""

from urllib.parse import parse_qsl, urlsplit

import httpx2

REDIRECT_URI = "http://127.0.0.1:9/connect/callback"


class Browser:
    """Visits a provider; stops before it requests the redirect URI, because no server listens there."""

    async def visit(self, url, redirect_uri=REDIRECT_URI):
        """Follow redirects from ``url``; return the query with which the redirect URI is called."""
        async with httpx2.AsyncClient(trust_env=False) as http:
            for _ in range(10):
                answer = await http.get(url)
                assert answer.status_code in (302, 303), (answer.status_code, answer.text)
                url = str(answer.next_request.url)
                if url.startswith(redirect_uri):
                    return urlsplit(url).query
        raise AssertionError("too many redirects")

    async def connect(self, connector, tenant="t1", user="ana@example.com", session="session", **options):
        """Begin, agree as a user, and return the callback's query."""
        extra = {"login_hint": user}
        start = await connector.begin(tenant, "local", session=session, extra=extra, **options)
        return await self.visit(start.url)


def parameters(query):
    return dict(parse_qsl(query))
