"""Sends requests to an MCP server and its authorization server, whose URLs a user has chosen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import evolve, field, frozen

from vault_adapters.connect.asking import DEADLINE, send
from vault_adapters.providers.answers import json_object
from vault_adapters.providers.endpoint import as_chosen_endpoint
from vault_adapters.providers.http import Incoming, Outgoing, exchange
from vault_domain.entities.errors import InvalidInputError

if TYPE_CHECKING:
    from vault_adapters.providers.http import HttpClient

_MOST_BYTES = 256 * 1024
"""Largest size of a document of a server, in bytes."""

_NOT_HERE = range(300, 500)


@frozen
class Reach:
    """Sends requests, and says where they may go.

    Attributes:
        client: the HTTP client; None: a new one for each request.
        private: whether requests may go to private addresses, and to loopback by http.
    """

    client: HttpClient | None = field(repr=False)
    private: bool = False

    def endpoint(self, url: object, name: str) -> str:
        """Check a URL and return it.

        Raises:
            InvalidInputError: it is no https URL; http is for loopback, if private addresses are allowed.
        """
        return as_chosen_endpoint(url, name, private=self.private)

    def places(self, url: str) -> bool:
        """Return whether a URL that a server has named may be used."""
        try:
            self.endpoint(url, "url")
        except InvalidInputError:
            return False
        return True

    async def get(self, url: str) -> Mapping[str, Any] | None:
        """Return the JSON object at a URL; None if the server has none there.

        Raises:
            ConnectError: the server did not answer, or has a fault now.
        """
        answer = await self.send(Outgoing(url, b"", {}, method="GET"))
        return None if answer.status in _NOT_HERE else small_object(answer)

    async def post(self, url: str, members: Mapping[str, Any]) -> Incoming:
        """Post a JSON object.

        Raises:
            ConnectError: the server did not answer.
        """
        return await self.send(Outgoing(url, json.dumps(members).encode(), {"Content-Type": "application/json"}))

    async def send(self, outgoing: Outgoing) -> Incoming:
        """Send a request.

        Raises:
            ConnectError: the server did not answer, or has a private address.
        """
        return await send(self.client, evolve(outgoing, public=not self.private))

    async def status_and_challenge(self, outgoing: Outgoing) -> str:
        """Return the ``WWW-Authenticate`` of an answer; an empty text if there is none, or no answer."""
        answer = await exchange(self.client, evolve(outgoing, public=not self.private), DEADLINE)
        return answer.headers.get("www-authenticate") or "" if isinstance(answer, Incoming) else ""


def small_object(answer: Incoming) -> Mapping[str, Any] | None:
    """Return the JSON object of an answer with a status of success; None if it is something else or too large."""
    is_small = answer.body is not None and len(answer.body) <= _MOST_BYTES
    return json_object(answer.body) if 200 <= answer.status < 300 and is_small else None
