"""Sends requests to a provider, and reads JSON objects from its answers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from vault_adapters.providers.answers import json_object, json_value
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


async def get_json(
    client: HttpClient | None, url: str, headers: Mapping[str, str] = NO_HEADERS, *, most: int | None = None
) -> Members:
    """Return the JSON object at a URL, of at most ``most`` bytes.

    Raises:
        ConnectError: the URL gave no JSON object (code ``provider_unavailable``).
        ConfigurationError: httpx2 is not installed.
    """
    answer = await send(client, Outgoing(url, b"", headers, method="GET"))
    is_small = most is None or len(answer.body or b"") <= most
    members = json_object(answer.body) if answer.status == 200 and is_small else None
    if members is None:
        raise unavailable(UNREADABLE_ANSWER)
    return members


async def ask_further(client: HttpClient | None, url: str, body: str | None, headers: Mapping[str, str]) -> Any:
    """Return the JSON that answers a further request, a GET or (with a body) a POST.

    Raises:
        ConnectError, ConfigurationError: see `get_json`.
    """
    if body is not None:
        headers = {**headers, "Content-Type": "application/json"}
    method = "GET" if body is None else "POST"
    answer = await send(client, Outgoing(url, (body or "").encode(), headers, method=method))
    value = json_value(answer.body) if answer.status == 200 else None
    if not isinstance(value, (dict, list)):
        raise unavailable(UNREADABLE_ANSWER)
    return value


def unavailable(reason: str | None = None) -> VaultError:
    """Return the error for a provider that gives no usable answer; the reason is a cause or an OAuth error code."""
    return ConnectError("the provider gave no usable answer; start again", code="provider_unavailable", reason=reason)


def carrying(header: ApiHeader, access_token: Secret) -> dict[str, str]:
    """Return the header of a request with an access token.

    Raises:
        ConnectError: a header cannot carry the token (code ``provider_unavailable``).
    """
    credentials = header.credentials_of(access_token)
    text = "" if credentials is None else credentials.reveal()
    if credentials is None or not text.isascii() or not text.isprintable() or " " in text:
        raise unavailable()
    return {header.name: header.over(credentials)}
