"""`VaultAuth` for httpx2 and httpx; a parameter of a fixture selects the library."""

import anyio
import httpx
import httpx2
import pytest
from tests.adapters.clients.small_vault import (
    ACCOUNT,
    LOOPBACK,
    AsyncListedVault,
    ListedVault,
    SmallSyncVault,
    SmallVault,
)
from tests.support.scripted_provider import Answer, redirect_answer, scripted_provider

from vault_adapters.clients.httpx import VaultAuth as HttpxVaultAuth
from vault_adapters.clients.httpx2 import VaultAuth as Httpx2VaultAuth
from vault_domain.entities.errors import ReauthorizationRequiredError


@pytest.fixture(params=["httpx2", "httpx"])
def flavour(request):
    return (httpx2, Httpx2VaultAuth) if request.param == "httpx2" else (httpx, HttpxVaultAuth)


@pytest.fixture
def library(flavour):
    return flavour[0]


@pytest.fixture
def auth(flavour):
    def build(vault, **options):
        return flavour[1](vault, ACCOUNT, hosts=LOOPBACK, **options)

    return build


async def test_a_good_token_is_sent(library, auth, server, pair):
    vault = SmallVault(server, pair)
    async with library.AsyncClient(auth=auth(vault)) as client:
        response = await client.get(server.resource_url)
    assert response.status_code == 200
    assert pair.account in response.text
    assert vault.reported == []


async def test_a_refused_token_is_reported_and_the_next_one_is_tried(library, auth, server, stale_pair):
    vault = SmallVault(server, stale_pair)
    old = vault.held
    async with library.AsyncClient(auth=auth(vault)) as client:
        response = await client.get(server.resource_url)
    assert response.status_code == 200
    assert stale_pair.account in response.text
    assert vault.reported == [old]
    assert vault.held.value != old.value


def test_a_sync_client_with_a_sync_vault(library, auth, server, stale_pair):
    vault = SmallSyncVault(server, stale_pair)
    with library.Client(auth=auth(vault)) as client:
        response = client.get(server.resource_url)
    assert response.status_code == 200
    assert len(vault.reported) == 1


async def test_two_refusals_are_the_callers(library, auth, api):
    vault = AsyncListedVault("old", "older")
    async with library.AsyncClient(auth=auth(vault)) as client:
        response = await client.get(api.resource_url)
    assert response.status_code == 401
    assert vault.reported == ["old"]
    assert [request.headers["authorization"] for request in api.requests] == ["Bearer old", "Bearer older"]


async def test_the_vaults_error_reaches_the_caller(library, auth, api):
    async with library.AsyncClient(auth=auth(AsyncListedVault("old"))) as client:
        with pytest.raises(ReauthorizationRequiredError):
            await client.get(api.resource_url)


@pytest.mark.parametrize(
    "body", [{"content": b"whole"}, {"content": "whole"}, {"json": {"a": 1}}, {"data": {"a": "1"}}, {}]
)
async def test_a_whole_body_is_sent_again(library, auth, api, body):
    async with library.AsyncClient(auth=auth(AsyncListedVault("old", "good"))) as client:
        response = await client.post(api.resource_url, **body)
    assert response.status_code == 200
    first, second = api.requests
    assert first.body == second.body


async def test_a_streamed_body_is_not_sent_again(library, auth, api):
    async def stream():
        yield b"once"

    vault = AsyncListedVault("old", "good")
    async with library.AsyncClient(auth=auth(vault)) as client:
        response = await client.post(api.resource_url, content=stream())
        assert (response.status_code, response.text) == (401, "who are you?")
        assert vault.reported == ["old"]
        assert (await client.get(api.resource_url)).status_code == 200
    assert len(api.requests) == 2


def test_a_streamed_body_of_a_sync_client_is_not_sent_again(library, auth, api):
    vault = ListedVault("old", "good")
    with library.Client(auth=auth(vault)) as client:
        response = client.post(api.resource_url, content=iter([b"once"]))
        assert (response.status_code, vault.reported) == (401, ["old"])


async def test_what_counts_as_refused_is_for_the_host_to_say(library, auth):
    def respond(request):
        good = request.headers["authorization"] == "Bearer good"
        return Answer(status=200 if good else 403, headers={"X-Reason": "expired"})

    vault = AsyncListedVault("old", "good")
    refused = auth(vault, rejected=lambda response: response.headers.get("X-Reason") == "expired")
    with scripted_provider(respond) as api:
        async with library.AsyncClient(auth=refused) as client:
            response = await client.get(api.resource_url)
            assert response.status_code == 200
    assert vault.reported == ["old"]


async def test_other_answers_are_left_alone(library, auth):
    vault = AsyncListedVault("old", "good")
    with scripted_provider(Answer(status=403)) as api:
        async with library.AsyncClient(auth=auth(vault)) as client:
            assert (await client.get(api.resource_url)).status_code == 403
    assert vault.reported == []


async def test_another_origin_never_sees_the_token_and_cannot_have_it_reported(library, auth, api):
    vault = AsyncListedVault("good", "next")
    with scripted_provider(redirect_answer(api.resource_url)) as first:
        async with library.AsyncClient(auth=auth(vault), follow_redirects=True) as client:
            response = await client.get(first.resource_url)
        assert first.requests[0].headers["authorization"] == "Bearer good"
    assert response.status_code == 401
    assert "authorization" not in api.requests[0].headers
    assert vault.reported == []


async def test_a_redirect_within_the_origin_keeps_the_token(library, auth, api):
    api.answer(redirect_answer("/resource"), path="/old")
    async with library.AsyncClient(auth=auth(AsyncListedVault("good")), follow_redirects=True) as client:
        assert (await client.get(f"{api.base_url}/old")).status_code == 200


def test_a_sync_client_with_an_async_vault_is_told_so(library, auth, api):
    with (
        library.Client(auth=auth(AsyncListedVault("good"))) as client,
        pytest.raises(RuntimeError, match="open_sync_vault"),
    ):
        client.get(api.resource_url)
    assert api.requests == []


async def test_an_async_client_with_a_sync_vault_is_told_so(library, auth, api):
    async with library.AsyncClient(auth=auth(ListedVault("good"))) as client:
        with pytest.raises(RuntimeError, match="open_vault"):
            await client.get(api.resource_url)
    assert api.requests == []


async def test_many_requests_at_once(library, auth, server, stale_pair):
    vault = SmallVault(server, stale_pair)
    answers = []

    async def call(client):
        answers.append((await client.get(server.resource_url)).status_code)

    async with library.AsyncClient(auth=auth(vault)) as client:
        await client.get(server.resource_url)
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(call, client)
    assert answers == [200] * 10
    assert len(vault.reported) == 1
