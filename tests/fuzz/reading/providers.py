"""Answers of token endpoints: a status, headers and a body, read by every refresher.

An input looks like HTTP: a line with the status, lines with headers, an empty line, and the body.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import httpx2
from tests.fuzz.target import CANARY, Run, Target

from vault_adapters.providers import load_profile
from vault_adapters.providers import refresher as refresher_of
from vault_adapters.providers.greeninvoice import GreenInvoiceRefresher
from vault_adapters.providers.meta import MetaTokenExchangeRefresher
from vault_adapters.providers.oauth2 import OAuth2Refresher
from vault_domain.entities.account import Account
from vault_domain.entities.errors import (
    ProviderConfigurationError,
    ReauthorizationRequiredError,
    RefreshFailedError,
)
from vault_domain.entities.secret import Secret
from vault_domain.entities.token_set import TokenSet
from vault_domain.ports.token_refresher import RefreshRequest

REFUSALS = (ProviderConfigurationError, ReauthorizationRequiredError, RefreshFailedError)
_URL = "https://provider.invalid/token"
_ACCOUNT = Account("tenant", "acme", "ann")
_EXAMPLE = load_profile(Path(__file__).parents[3] / "docs" / "how-to" / "example-provider.toml")
_FIELDS = Secret.from_fields(id="id", secret=CANARY)


class _Body(httpx2.AsyncByteStream):
    """A body that has not been read yet and arrives in pieces."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for begin in range(0, len(self._data), 65_536):
            yield self._data[begin : begin + 65_536]


def _answer(data: bytes, request: httpx2.Request) -> httpx2.Response:
    head, _, body = data.partition(b"\n\n")
    status, *lines = head.split(b"\n")
    pairs = [(name.strip(), value.strip()) for name, colon, value in (line.partition(b":") for line in lines) if colon]
    number = int(status) if status.isdigit() and len(status) == 3 else 200
    return httpx2.Response(number, headers=pairs, stream=_Body(body))


@contextmanager
def _opened() -> Iterator[Run]:
    with asyncio.Runner() as runner:
        yield lambda data: runner.run(_read(data))


async def _read(data: bytes) -> None:
    refused = None
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(partial(_answer, data))) as client:
        for refresher in (
            OAuth2Refresher(_URL, "client", CANARY, revocation_url=_URL, client=client),
            MetaTokenExchangeRefresher("client", CANARY, token_url=_URL, client=client),
            GreenInvoiceRefresher(_URL, client=client),
            refresher_of(_EXAMPLE, "client", CANARY, client=client, subdomain="acme"),
        ):
            request = RefreshRequest(_ACCOUNT, _FIELDS, refresher.spends, (), timedelta(seconds=60))
            try:
                _check_answer(await refresher.refresh(request))
            except REFUSALS as error:
                _check_wait(error)
                refused = error
            if isinstance(refresher, OAuth2Refresher):
                assert await refresher.revoke(request) in (True, False, None)
    if refused is not None:
        raise refused


def _check_answer(answer: TokenSet) -> None:
    assert isinstance(answer, TokenSet)
    assert CANARY not in repr(answer.access_token) + repr(answer.refresh_token)
    assert answer.expires_in is None or timedelta(0) <= answer.expires_in <= timedelta(days=366 * 10_000)


def _check_wait(error: Exception) -> None:
    wait = getattr(error, "retry_after", None)
    assert wait is None or timedelta(0) <= wait <= timedelta(hours=1)


PROVIDERS = Target(
    "providers",
    _opened,
    REFUSALS,
    (
        *(b"200\n", b"400\n", b"401\n", b"429\n", b"503\n", b"302\n", b"\n\n", b"retry-after: 9999999999\n"),
        *(b"content-encoding: gzip\n", b"content-encoding: deflate\n", b"date: Thu, 01 Jan 1970 00:00:00 GMT\n"),
        *(b'"access_token":', b'"refresh_token":', b'"expires_in":', b'"expires_at":', b'"error":', b'"scope":'),
        *(b'"token":', b'"expires":', b'"invalid_grant"', b'"code":190', b'"is_transient":true', b"1e308", b"-1"),
        *(b"null", b"[", b"{", b"}", b'"\\ud800"', CANARY.encode()),
    ),
)
