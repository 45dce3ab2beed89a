"""Tokens in another header than ``Authorization: Bearer``, as their provider wants it."""

import base64
import json
from contextlib import suppress

import aiohttp
import httpx
import httpx2
import pytest
import requests
from tests.adapters.clients.small_vault import ACCOUNT, LOOPBACK, AsyncListedVault
from tests.support.scripted_provider import Answer, redirect_answer, scripted_provider

from vault_adapters import ApiHeader, Secret, TokenSet, VaultError
from vault_adapters.clients.aiohttp import VaultAuth as AiohttpVaultAuth
from vault_adapters.clients.httpx import VaultAuth as HttpxVaultAuth
from vault_adapters.clients.httpx2 import VaultAuth as Httpx2VaultAuth
from vault_adapters.clients.requests import VaultAuth as RequestsVaultAuth
from vault_adapters.providers import refresher
from vault_adapters.testing import memory_vault

SHOPIFY = ApiHeader("X-Shopify-Access-Token", "")
TWILIO = ApiHeader("Authorization", "Basic", ("sid", "token"))
KEY = Secret.from_fields(sid="AC1", token="secret").reveal()
BASIC = f"Basic {base64.b64encode(b'AC1:secret').decode()}"


def ask_httpx(library, auth):
    async def ask(vault, url, headers):
        async with library.AsyncClient(auth=auth(vault, ACCOUNT, hosts=LOOPBACK), follow_redirects=True) as client:
            return (await client.post(url, content=b"body", headers=headers)).status_code

    return ask


async def ask_aiohttp(vault, url, headers):
    middleware = AiohttpVaultAuth(vault, ACCOUNT, hosts=LOOPBACK)
    async with (
        aiohttp.ClientSession(middlewares=[middleware]) as session,
        session.post(url, data=b"body", headers=headers) as response,
    ):
        return response.status


async def ask_requests(vault, url, headers):
    with requests.Session() as session:
        session.trust_env = False
        auth = RequestsVaultAuth(vault.blocking, ACCOUNT, hosts=LOOPBACK)
        return session.post(url, auth=auth, data=b"body", headers=headers).status_code


async def ask_blocking(vault, url, headers):
    auth = Httpx2VaultAuth(vault.blocking, ACCOUNT, hosts=LOOPBACK)
    with httpx2.Client(auth=auth, follow_redirects=True, trust_env=False) as client:
        return client.post(url, content=b"body", headers=headers).status_code


ASKING = {
    "httpx2-blocking": ask_blocking,
    "httpx": ask_httpx(httpx, HttpxVaultAuth),
    "httpx2": ask_httpx(httpx2, Httpx2VaultAuth),
    "requests": ask_requests,
    "aiohttp": ask_aiohttp,
}


@pytest.fixture(params=ASKING)
def ask(request):
    return ASKING[request.param]


@pytest.fixture
def shop():
    """An API that takes the token `good` in Shopify's header."""

    def respond(request):
        return Answer(status=200 if request.headers.get("x-shopify-access-token") == "good" else 401, json={})

    with scripted_provider(respond) as scripted:
        yield scripted


async def test_the_token_is_in_the_providers_header(ask, shop):
    vault = AsyncListedVault("good", header=SHOPIFY)
    assert await ask(vault, shop.resource_url, {"x-shopify-access-token": "another", "X-Other": "kept"}) == 200
    [request] = shop.requests
    assert (request.headers["x-other"], request.body) == ("kept", b"body")
    assert "authorization" not in request.headers


async def test_a_rejected_token_is_reported_and_the_next_one_sent(ask, shop):
    vault = AsyncListedVault("old", "good", header=SHOPIFY)
    assert await ask(vault, shop.resource_url, {}) == 200
    assert vault.reported == ["old"]
    assert [request.headers["x-shopify-access-token"] for request in shop.requests] == ["old", "good"]


@pytest.mark.parametrize("status", [302, 307])
async def test_a_redirect_to_another_host_carries_no_token(ask, shop, status):
    vault = AsyncListedVault("good", header=SHOPIFY)
    with scripted_provider(redirect_answer(shop.resource_url, status=status)) as first:
        assert await ask(vault, first.resource_url, {"X-Other": "kept"}) == 401
        assert first.requests[0].headers["x-shopify-access-token"] == "good"
    [request] = shop.requests
    assert "x-shopify-access-token" not in request.headers
    assert request.headers["x-other"] == "kept"
    assert vault.reported == []


async def test_a_redirect_of_a_second_try_carries_no_token(ask, shop):
    answers = iter([Answer(status=401), redirect_answer(shop.resource_url, status=307)])
    vault = AsyncListedVault("old", "new", header=SHOPIFY)
    with scripted_provider(lambda _: next(answers)) as first:
        assert await ask(vault, first.resource_url, {}) == 401
    assert [request.headers.get("x-shopify-access-token") for request in shop.requests] == [None]


async def test_two_fields_of_a_key_are_user_and_password(ask, shop):
    with suppress(VaultError):  # this API refuses it
        await ask(AsyncListedVault(KEY, header=TWILIO), shop.resource_url, {})
    assert shop.requests[0].headers["authorization"] == BASIC


@pytest.mark.parametrize("key", ["plain", json.dumps({"sid": "AC1"}), json.dumps({"sid": "a:b", "token": "t"})])
async def test_a_key_without_the_fields_is_not_sent(ask, shop, key):
    with pytest.raises(VaultError) as caught:
        await ask(AsyncListedVault(key, header=TWILIO), shop.resource_url, {})
    assert caught.value.code == "token_not_sendable"
    assert (shop.requests, key in str(caught.value)) == ([], False)


async def test_no_report_of_a_request_shows_the_token(shop):
    vault, seen = AsyncListedVault("good", header=SHOPIFY), []

    async def look(request):
        seen.append(repr(request.headers))

    auth = Httpx2VaultAuth(vault, ACCOUNT, hosts=LOOPBACK)
    async with httpx2.AsyncClient(auth=auth, event_hooks={"request": [look]}) as client:
        response = await client.get(shop.resource_url)
    assert response.status_code == 200
    assert "good" not in f"{seen} {response.request.headers!r}"


async def test_a_vault_tells_the_header_of_a_profile():
    made = {"shopify": refresher("shopify", "id", "secret", shop="acme"), "zoho": refresher("zoho", "id", "secret")}
    async with memory_vault(refreshers=made) as vault:
        for provider, header in (
            ("shopify", SHOPIFY),
            ("zoho", ApiHeader("Authorization", "Zoho-oauthtoken")),
            ("acme", ApiHeader()),
        ):
            account = type(ACCOUNT)("t1", provider)
            await vault.store_token_set(account, TokenSet("a"))
            assert await vault.api_header(await vault.ensure_access_token(account)) == header
