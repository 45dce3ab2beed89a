"""Sends requests to key services that speak JSON over HTTP; a request that hangs holds no thread."""

from __future__ import annotations

import asyncio
import json
import ssl
from functools import cache
from typing import Any

from vault_domain.entities.errors import ConfigurationError, KeyUnavailableError

_SECONDS = 4.0
"""Longest wait for a connection, and for each part of an answer."""

_WHOLE = 6.0
"""Longest time of a request, so that a server that sends byte after byte does not hold it."""

_MOST_ANSWER = 65_536


class HttpAnswer:
    """An answer of a key service; its repr hides the members, because one may be a data key.

    Attributes:
        status: the HTTP status.
        members: the members of the JSON object; empty if the answer is none.
    """

    __slots__ = ("members", "status")

    def __init__(self, status: int, content: bytes) -> None:
        self.status = status
        self.members = _parsed(content)

    def text(self, *path: str) -> str | None:
        """Return the text at a path of members, or None if there is no text."""
        found: Any = self.members
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        return found if isinstance(found, str) else None


async def post(
    url: str, body: dict[str, str], headers: dict[str, str], *, service: str, extra: str
) -> HttpAnswer | Exception:
    """Send a request, and return the answer or the error.

    The error is returned, because one of the HTTP library would keep frames that hold the request or the answer.

    Args:
        url: the address.
        body: what is sent as JSON.
        headers: the headers, with the credentials.
        service: the name of the service in reasons.
        extra: the extra that installs the HTTP library.
    """
    try:
        import httpx2
    except ImportError:
        return ConfigurationError(
            f"this key service needs httpx2: install `token-vault[{extra}]`", code="missing_extra"
        )
    unavailable = KeyUnavailableError(reason=f"{service}_unavailable")
    try:
        async with (
            asyncio.timeout(_WHOLE),
            httpx2.AsyncClient(timeout=_SECONDS, follow_redirects=False, verify=_trusted()) as client,
            client.stream("POST", url, json=body, headers=headers) as response,
        ):
            content = b""
            async for part in response.aiter_bytes():
                content += part
                if len(content) > _MOST_ANSWER:
                    return unavailable
            return HttpAnswer(response.status_code, content)
    except (TimeoutError, httpx2.HTTPError, httpx2.InvalidURL, UnicodeError):
        return unavailable


@cache
def _trusted() -> ssl.SSLContext:
    """Return one context for all requests, because making one takes many milliseconds."""
    return ssl.create_default_context()


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
