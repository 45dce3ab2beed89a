"""Sends requests to a provider, and reads JSON objects from its answers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import evolve, field, frozen

from vault_adapters.providers.answers import json_object, json_value
from vault_adapters.providers.dpop import proved
from vault_adapters.providers.http import Incoming, Outgoing, exchange
from vault_domain.entities.api_header import ApiHeader
from vault_domain.entities.causes import UNREADABLE_ANSWER
from vault_domain.entities.errors import ConfigurationError, ConnectError, VaultError
from vault_domain.entities.secret import Secret

if TYPE_CHECKING:
    from vault_adapters.providers.http import HttpClient

Members: TypeAlias = Mapping[str, Any]

NO_HEADERS: Mapping[str, str] = MappingProxyType({})

DEADLINE = timedelta(seconds=10)
"""Longest time for one request to a provider."""


async def send(client: HttpClient | None, outgoing: Outgoing, deadline: timedelta = DEADLINE) -> Incoming:
    """Send a request once and return the answer.

    Raises:
        ConnectError: the provider did not answer (code ``provider_unavailable``).
        ConfigurationError: httpx2 is not installed.
    """
    answer = await exchange(client, outgoing, deadline)
    if isinstance(answer, Incoming):
        return answer
    if isinstance(answer, ConfigurationError):
        raise answer
    raise unavailable(answer.reason)


@frozen
class Carried:
    """An access token that a request carries.

    Attributes:
        access_token: the token.
        header: the header that carries it, unless the token is bound to a key.
        proof_key: the private key that the token is bound to (DPoP, RFC 9449), or None.
    """

    access_token: Secret
    header: ApiHeader = field(factory=ApiHeader)
    proof_key: Secret | None = None

    async def send(self, client: HttpClient | None, outgoing: Outgoing) -> Incoming:
        """Send a request with the token; see `vault_adapters.connect.asking.send`.

        Raises:
            ConnectError: see there, or a header cannot carry the token (code ``provider_unavailable``).
        """
        header = self.header if self.proof_key is None else ApiHeader(scheme="DPoP")
        credentials = header.credentials_of(self.access_token)
        text = "" if credentials is None else credentials.reveal()
        if credentials is None or not text.isascii() or not text.isprintable() or " " in text:
            raise unavailable()
        signed = evolve(outgoing, headers={**outgoing.headers, header.name: header.over(credentials)})
        return await proved(self.proof_key, lambda prove, _: send(client, prove(signed)), self.access_token)


async def get_json(
    client: HttpClient | None,
    url: str,
    *,
    most: int | None = None,
    carried: Carried | None = None,
    public: bool = False,
) -> Members:
    """Return the JSON object at a URL, of at most ``most`` bytes; the request carries an access token if one is given.

    With ``public``, nothing is sent to a private address.

    Raises:
        ConnectError: the URL gave no JSON object (code ``provider_unavailable``).
        ConfigurationError: httpx2 is not installed.
    """
    outgoing = Outgoing(url, b"", NO_HEADERS, method="GET", public=public)
    answer = await (send(client, outgoing) if carried is None else carried.send(client, outgoing))
    is_small = most is None or len(answer.body or b"") <= most
    members = json_object(answer.body) if answer.status == 200 and is_small else None
    if members is None:
        raise unavailable(UNREADABLE_ANSWER)
    return members


async def ask_further(
    client: HttpClient | None, url: str, body: str | None, carried: Carried, *, public: bool = False
) -> Any:
    """Return the JSON that answers a further request, a GET or (with a body) a POST.

    Raises:
        ConnectError, ConfigurationError: see `get_json`.
    """
    headers = NO_HEADERS if body is None else {"Content-Type": "application/json"}
    method = "GET" if body is None else "POST"
    answer = await carried.send(client, Outgoing(url, (body or "").encode(), headers, method=method, public=public))
    value = json_value(answer.body) if answer.status == 200 else None
    if not isinstance(value, (dict, list)):
        raise unavailable(UNREADABLE_ANSWER)
    return value


def unavailable(reason: str | None = None) -> VaultError:
    """Return the error for a provider that gives no usable answer; the reason is a cause or an OAuth error code."""
    return ConnectError("the provider gave no usable answer; start again", code="provider_unavailable", reason=reason)
