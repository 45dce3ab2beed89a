"""Sends requests to a provider, and reads JSON objects from its answers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

from vault_adapters.providers.answers import json_object, json_value
from vault_adapters.providers.http import Incoming, Outgoing, exchange
from vault_domain.entities.causes import UNREADABLE_ANSWER
from vault_domain.entities.errors import ConfigurationError, ConnectError, VaultError
from vault_domain.entities.secret import Secret

if TYPE_CHECKING:
    from vault_adapters.providers.http import HttpClient

Members: TypeAlias = Mapping[str, Any]

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
    client: HttpClient | None, url: str, access_token: Secret | None = None, *, most: int | None = None
) -> Members:
    """Return the JSON object at a URL, of at most ``most`` bytes; send a bearer token if one is given.

    Raises:
        ConnectError: the URL gave no JSON object, or the token cannot be sent (code ``provider_unavailable``).
        ConfigurationError: httpx2 is not installed.
    """
    headers = {} if access_token is None else {"Authorization": f"Bearer {_sendable(access_token)}"}
    answer = await send(client, Outgoing(url, b"", headers, method="GET"))
    is_small = most is None or len(answer.body or b"") <= most
    members = json_object(answer.body) if answer.status == 200 and is_small else None
    if members is None:
        raise unavailable(UNREADABLE_ANSWER)
    return members


async def ask_further(client: HttpClient | None, url: str, body: str | None, access_token: Secret) -> Any:
    """Return the JSON that answers a further request, a GET or (with a body) a POST.

    Raises:
        ConnectError, ConfigurationError: see `get_json`.
    """
    headers = {"Authorization": f"Bearer {_sendable(access_token)}"}
    if body is not None:
        headers["Content-Type"] = "application/json"
    method = "GET" if body is None else "POST"
    answer = await send(client, Outgoing(url, (body or "").encode(), headers, method=method))
    value = json_value(answer.body) if answer.status == 200 else None
    if not isinstance(value, (dict, list)):
        raise unavailable(UNREADABLE_ANSWER)
    return value


def unavailable(reason: str | None = None) -> VaultError:
    """Return the error for a provider that gives no usable answer; the reason is a cause or an OAuth error code."""
    return ConnectError("the provider gave no usable answer; start again", code="provider_unavailable", reason=reason)


def _sendable(token: Secret) -> str:
    text = token.reveal()
    if not text.isascii() or not text.isprintable() or " " in text:
        raise unavailable()
    return text
