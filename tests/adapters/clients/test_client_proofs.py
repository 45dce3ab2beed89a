"""Tokens that are bound to a key (DPoP, RFC 9449): each request has a proof of its own, with its server's nonce."""

import time
from datetime import timedelta
from email.utils import formatdate

import aiohttp
import anyio.to_thread
import google.auth.transport.requests
import httpx
import httpx2
import pytest
import requests
from tests.adapters.clients.small_vault import ACCOUNT, LOOPBACK
from tests.support.proofs import checked_proof, no_nonces
from tests.support.scripted_provider import Answer, redirect_answer, scripted_provider

from vault_adapters import InvalidInputError, TokenKind, TokenSet, VaultError
from vault_adapters.clients.aiohttp import VaultAuth as AiohttpVaultAuth
from vault_adapters.clients.google import VaultCredentials
from vault_adapters.clients.httpx import VaultAuth as HttpxVaultAuth
from vault_adapters.clients.httpx2 import VaultAuth as Httpx2VaultAuth
from vault_adapters.clients.requests import VaultAuth as RequestsVaultAuth
from vault_adapters.providers.dpop import new_key, thumbprint, with_key
from vault_adapters.testing import ManualClock, ScriptedRefresher, memory_sync_vault, memory_vault

__all__ = ["no_nonces"]

KEY = new_key()
BOUND = with_key(TokenSet("access-1", "refresh-1", expires_in=3600, token_type="DPoP"), KEY)
RENEWED = TokenSet("access-2", "refresh-2", expires_in=3600, token_type="DPoP")
OK = Answer(status=200)
MINUTE = timedelta(minutes=1)  # a token that is younger counts as the answer to a rejection


def asking(nonce):
    headers = {"WWW-Authenticate": 'DPoP error="use_dpop_nonce", algs="ES256"', "DPoP-Nonce": nonce}
    return Answer(status=401, headers=headers)


def async_httpx(library, auth):
    async def ask(refresher, urls, content):
        clock = ManualClock()
        async with memory_vault(refreshers={"acme": refresher}, clock=clock) as vault:
            await vault.store_token_set(ACCOUNT, BOUND)
            clock.advance(MINUTE)
            signing = auth(vault, ACCOUNT, hosts=LOOPBACK)
            async with library.AsyncClient(auth=signing, follow_redirects=True, trust_env=False) as client:
                body = {"content": _chunks() if content is STREAM else content}
                return [(await client.request("POST" if content else "GET", url, **body)).status_code for url in urls]

    return ask


async def _chunks():
    yield b"streamed"


STREAM = object()


async def ask_aiohttp(refresher, urls, content):
    clock = ManualClock()
    async with memory_vault(refreshers={"acme": refresher}, clock=clock) as vault:
        await vault.store_token_set(ACCOUNT, BOUND)
        clock.advance(MINUTE)
        middlewares, statuses = [AiohttpVaultAuth(vault, ACCOUNT, hosts=LOOPBACK)], []
        async with aiohttp.ClientSession(middlewares=middlewares) as session:
            for url in urls:
                body = _chunks() if content is STREAM else content
                async with session.request("POST" if content else "GET", url, data=body) as response:
                    statuses.append(response.status)
        return statuses


def blocking(send):
    async def ask(refresher, urls, content):
        def work():
            clock = ManualClock()
            vault = memory_sync_vault(refreshers={"acme": refresher}, clock=clock)
            try:
                vault.store_token_set(ACCOUNT, BOUND)
                clock.advance(MINUTE)
                return [send(vault, url, iter([b"streamed"]) if content is STREAM else content) for url in urls]
            finally:
                vault.close()

        return await anyio.to_thread.run_sync(work)

    return ask


def send_requests(vault, url, content):
    with requests.Session() as session:
        session.trust_env, session.auth = False, RequestsVaultAuth(vault, ACCOUNT, hosts=LOOPBACK)
        return session.request("POST" if content else "GET", url, data=content).status_code


def send_httpx2(vault, url, content):
    auth = Httpx2VaultAuth(vault, ACCOUNT, hosts=LOOPBACK)
    with httpx2.Client(auth=auth, follow_redirects=True, trust_env=False) as client:
        return client.request("POST" if content else "GET", url, content=content).status_code


ASKING = {
    "httpx2": async_httpx(httpx2, Httpx2VaultAuth),
    "httpx": async_httpx(httpx, HttpxVaultAuth),
    "aiohttp": ask_aiohttp,
    "httpx2-blocking": blocking(send_httpx2),
    "requests": blocking(send_requests),
}


@pytest.fixture(params=ASKING)
def ask(request):
    return ASKING[request.param]


@pytest.fixture
def refresher():
    return ScriptedRefresher(RENEWED)


@pytest.fixture
def api():
    with scripted_provider() as running:
        yield running


def checked(request, url, access_token="access-1", **more):
    """Check a request's token and proof; return the proof's claims."""
    assert request.headers["authorization"] == f"DPoP {access_token}"
    claims, used = checked_proof(request, url, access_token=access_token, **more)
    assert used == thumbprint(KEY)
    return claims


async def test_each_request_has_a_proof_of_its_own(ask, api, refresher):
    api.answer(OK, OK)
    assert await ask(refresher, [f"{api.resource_url}?page=1", api.resource_url], None) == [200, 200]
    claims = [checked(request, api.resource_url) for request in api.requests]
    assert len({each["jti"] for each in claims}) == 2
    assert refresher.calls == []


async def test_a_nonce_is_taken_without_a_refresh_and_remembered(ask, api, refresher):
    """RFC 9449 section 9: also by another client of the same process."""
    api.answer(asking("nonce-1"), Answer(status=200, headers={"DPoP-Nonce": "nonce-2"}), OK)
    assert await ask(refresher, [api.resource_url], b"body") == [200]
    assert await ask(refresher, [api.resource_url], b"body") == [200]
    for request, nonce in zip(api.requests, [None, "nonce-1", "nonce-2"], strict=True):
        checked(request, api.resource_url, nonce=nonce)
        assert (request.method, request.body) == ("POST", b"body")
    assert refresher.calls == []


async def test_a_server_that_always_wants_another_nonce_is_asked_twice_and_no_token_spent(ask, api, refresher):
    api.answer(asking("nonce-1"), asking("nonce-2"))
    assert await ask(refresher, [api.resource_url], None) == [401]
    assert len(api.requests) == 2
    assert refresher.calls == []


async def test_a_streamed_body_is_not_sent_again_and_no_token_spent(ask, api, refresher):
    api.answer(asking("nonce-1"), OK)
    assert await ask(refresher, [api.resource_url], STREAM) == [401]
    assert await ask(refresher, [api.resource_url], STREAM) == [200]
    checked(api.requests[1], api.resource_url, nonce="nonce-1")
    assert refresher.calls == []


@pytest.mark.parametrize("nonce", ["", 'canary"', "a b", "n" * 2000])
async def test_a_nonce_that_is_none_is_not_taken(ask, api, refresher, nonce):
    api.answer(asking(nonce))
    assert await ask(refresher, [api.resource_url], None) == [401]
    assert refresher.calls == []


async def test_a_rejected_token_is_refreshed_once_and_keeps_its_key(ask, api, refresher):
    api.answer(Answer(status=401, headers={"WWW-Authenticate": 'DPoP error="invalid_token"'}), asking("nonce-1"), OK)
    assert await ask(refresher, [api.resource_url], b"body") == [200]
    checked(api.requests[0], api.resource_url)
    checked(api.requests[1], api.resource_url, "access-2")
    checked(api.requests[2], api.resource_url, "access-2", nonce="nonce-1")
    assert len(refresher.calls) == 1


async def test_a_redirect_within_the_origin_gets_a_proof_of_its_own(ask, api, refresher):
    """No request has a proof of another URL; a library that copies headers first sends none."""
    target = f"{api.base_url}/target"

    def moved(request):
        return OK if "dpop" in request.headers else Answer(status=401, headers={"WWW-Authenticate": "DPoP"})

    api.answer(redirect_answer(target), path="/resource")
    api.answer(moved, moved, path="/target")
    assert await ask(refresher, [api.resource_url], None) == [200]
    checked(api.requests[0], api.resource_url)
    checked(api.requests[-1], target)
    assert all("dpop" not in request.headers for request in api.requests[1:-1])
    assert refresher.calls == []
    api.answer_always(OK)


async def test_a_redirect_to_another_origin_carries_neither_token_nor_proof(ask, api, refresher):
    api.answer(asking("nonce-other"))
    with scripted_provider(redirect_answer(api.resource_url)) as first:
        assert await ask(refresher, [first.resource_url], None) == [401]
        checked(first.requests[0], first.resource_url)
    (request,) = api.requests
    assert not {"authorization", "dpop"} & request.headers.keys()
    assert refresher.calls == []


@pytest.mark.parametrize("behind", [600, -600])
async def test_a_clock_that_differs_is_corrected_once_the_server_refuses_the_time(ask, api, refresher, behind):
    headers = {
        "WWW-Authenticate": 'DPoP error="invalid_dpop_proof"',
        "Date": formatdate(time.time() - behind, usegmt=True),
    }
    api.answer(Answer(status=401, headers=headers), OK)
    assert await ask(refresher, [api.resource_url], None) == [200]
    checked(api.requests[1], api.resource_url, ahead=behind)
    assert refresher.calls == []


@pytest.mark.parametrize(
    "headers",
    [
        {"WWW-Authenticate": 'DPoP error="use_dpop_nonce" ' * 200, "DPoP-Nonce": "n"},
        {"WWW-Authenticate": 'DPoP error="use_dpop_nonce"', "DPoP-Nonce": "evil nonce"},
        {"WWW-Authenticate": 'DPoP error="invalid_dpop_proof"', "Date": "Fri, 31 Dec 9999 23:59:59 GMT"},
        {"WWW-Authenticate": 'DPoP error="invalid_dpop_proof"', "Date": "yesterday"},
        {"WWW-Authenticate": 'Bearer realm="x", DPoP error="invalid_dpop_proof"'},
    ],
    ids=["long", "no nonce", "far", "no date", "two schemes"],
)
async def test_an_api_that_answers_nonsense_costs_no_token(ask, api, refresher, headers):
    api.answer_always(Answer(status=401, headers=headers))
    assert await ask(refresher, [api.resource_url], b"body") == [401]
    assert (len(api.requests) <= 2, refresher.calls) == (True, [])


def test_googles_library_cannot_prove_so_nothing_is_sent(api):
    vault = memory_sync_vault()
    vault.store_token_set(ACCOUNT, BOUND)
    credentials = VaultCredentials(vault, ACCOUNT, hosts=LOOPBACK)
    with pytest.raises(VaultError) as caught:
        google.auth.transport.requests.AuthorizedSession(credentials).get(api.resource_url)
    assert caught.value.code == "token_needs_proof"
    assert "access-1" not in repr(caught.value)
    vault.close()


async def test_the_vault_makes_proofs_for_other_clients():
    async with memory_vault() as vault:
        await vault.store_token_set(ACCOUNT, BOUND)
        token = await vault.ensure_access_token(ACCOUNT)
        assert (await vault.api_header(token)).scheme == "DPoP"
        proof = await vault.api_proof(token, "GET", "https://api.example.com/a?b", nonce="n")
        checked_proof(_Sent({"dpop": proof}), "https://api.example.com/a", access_token="access-1", nonce="n")
        for wrong in (("G T", "https://a.b"), ("GET", "ftp://a.b"), ("GET", "https://a.b\n"), (None, "https://a.b")):
            with pytest.raises(InvalidInputError):
                await vault.api_proof(token, *wrong)
        with pytest.raises(InvalidInputError):
            await vault.api_proof(token, "GET", "https://a.b", nonce="a\nb")
        refresh_token = await vault.get_token(ACCOUNT.key(TokenKind.REFRESH_TOKEN))
        assert await vault.api_proof(refresh_token, "GET", "https://a.b") is None
        await vault.store_token_set(ACCOUNT, TokenSet("bearer"))
        bearer = await vault.ensure_access_token(ACCOUNT)
        assert await vault.api_proof(bearer, "GET", "https://a.b") is None


class _Sent:
    method = "GET"

    def __init__(self, headers):
        self.headers = headers
