"""`VaultAuth` for aiohttp."""

import aiohttp
import anyio
import pytest
from tests.adapters.clients.small_vault import ACCOUNT, LOOPBACK, AsyncListedVault, ListedVault, SmallVault
from tests.support.scripted_provider import Answer, redirect_answer, scripted_provider

from vault_adapters import VaultError
from vault_adapters.clients.aiohttp import VaultAuth
from vault_domain.entities.errors import ReauthorizationRequiredError


@pytest.fixture
def session_of():
    def build(vault, **options):
        return aiohttp.ClientSession(middlewares=[VaultAuth(vault, ACCOUNT, **{"hosts": LOOPBACK, **options})])

    return build


async def test_a_refused_token_is_reported_and_the_next_one_is_tried(session_of, server, stale_pair):
    vault = SmallVault(server, stale_pair)
    old = vault.held
    async with session_of(vault) as session, session.get(server.resource_url) as response:
        assert response.status == 200
        assert stale_pair.account in await response.text()
    assert vault.reported == [old]


async def test_two_refusals_are_the_callers(session_of, api):
    vault = AsyncListedVault("old", "older")
    async with session_of(vault) as session, session.get(api.resource_url) as response:
        assert response.status == 401
    assert vault.reported == ["old"]
    assert [request.headers["authorization"] for request in api.requests] == ["Bearer old", "Bearer older"]


async def test_the_vaults_error_reaches_the_caller(session_of, api):
    async with session_of(AsyncListedVault("old")) as session:
        with pytest.raises(ReauthorizationRequiredError):
            await session.get(api.resource_url)


@pytest.mark.parametrize("body", [{"data": b"whole"}, {"data": "whole"}, {"json": {"a": 1}}, {"data": {"a": "1"}}, {}])
async def test_a_whole_body_is_sent_again(session_of, api, body):
    async with (
        session_of(AsyncListedVault("old", "good")) as session,
        session.post(api.resource_url, **body) as response,
    ):
        assert response.status == 200
    first, second = api.requests
    assert first.body == second.body


async def test_a_streamed_body_is_not_sent_again(session_of, api):
    async def stream():
        yield b"once"

    vault = AsyncListedVault("old", "good")
    async with session_of(vault) as session, session.post(api.resource_url, data=stream()) as response:
        assert (response.status, await response.text()) == (401, "who are you?")
    assert (vault.reported, len(api.requests)) == (["old"], 1)


async def test_what_counts_as_refused_is_for_the_host_to_say(session_of):
    vault = AsyncListedVault("old", "good")
    with scripted_provider(Answer(status=403)) as api:
        async with session_of(vault, rejected=lambda response: response.status == 403) as session:
            assert (await session.get(api.resource_url)).status == 403
    assert vault.reported == ["old"]


async def test_a_chain_that_left_the_origin_does_not_get_the_token_back(session_of, api):
    with scripted_provider() as first:
        first.answer(redirect_answer("/second"), path="/first")
        first.answer(redirect_answer(f"{api.base_url}/third"), path="/second")
        api.answer(redirect_answer(f"{first.base_url}/fourth"), path="/third")
        first.answer(Answer(status=200), Answer(status=200), path="/fourth")
        async with session_of(AsyncListedVault("good")) as session:
            assert (await session.get(f"{first.base_url}/first")).status == 200
            assert [request.headers.get("authorization") for request in first.requests + api.requests] == [
                "Bearer good",
                "Bearer good",
                None,
                None,
            ]
            assert (await session.get(f"{first.base_url}/fourth")).status == 200  # a new chain
        assert first.requests[-1].headers["authorization"] == "Bearer good"


FORMS = [
    *("http://{}/x", "//{}/x", "http://{}", "http://{}/", "HTTP://{}/x", "http://{}:/x", "http://{}/x#f", "//{}/x?q#f"),
    *("http://{}/a b", "http://{}/a%20b", "http://{}/%61", "http://{}/é", "http://{}/%C3%A9", "http://{}/a+b?c=d+e"),
    *("http://{}/../x", "http://{}/./x", "http://{}//x", "http://{}/x;y", "http://{}/x?a=%26", "http://{}/x?a=é&b"),
    *("http://{}?q", "http://{}/x%2Fy", "http://{}/x%zz", " http://{}/x", "http://{}/'x'", "http://{}/[x]"),
    *("http://u@{}/x", "http://u:p@{}/x", "//u:p@{}/x", "http://:p@{}/x", "http://u:@{}/x", "http://@{}/x"),
    *("http://u%40v:p%3A@{}/x", "http://é:p@{}/x", "http://u:p@{}/é?q=a b#f"),
]


@pytest.mark.parametrize("form", FORMS)
async def test_no_form_of_a_redirect_takes_the_token_to_another_origin(session_of, api, form):
    with scripted_provider(Answer(status=200)) as other:
        place = other.base_url.removeprefix("http://")
        api.answer(redirect_answer(form.format(place)), path="/away")
        async with session_of(AsyncListedVault("good")) as session:
            try:
                await session.get(f"{api.base_url}/away")
            except aiohttp.ClientError:
                assert other.requests == [], form
        assert all("good" not in request.headers.get("authorization", "") for request in other.requests)


@pytest.mark.parametrize("limit", [300, None])
async def test_a_redirect_that_is_not_followed_withholds_the_token_from_no_later_request(session_of, api, limit):
    timeout = aiohttp.ClientTimeout(total=limit)
    with scripted_provider(Answer(status=200)) as other:
        api.answer(*[redirect_answer(f"{other.base_url}/target")] * 2, path="/away")
        async with session_of(AsyncListedVault("good")) as session:
            first = await session.get(f"{api.base_url}/away", allow_redirects=False, timeout=timeout)
            await session.get(first.headers["Location"], timeout=timeout)  # a request of the caller's own
            await session.get(f"{api.base_url}/away", timeout=timeout)  # the same target, as a hop
        assert [request.headers.get("authorization") for request in other.requests] == ["Bearer good", None]


async def test_requests_at_once_do_not_disturb_each_other(session_of, api):
    away = redirect_answer(f"{api.base_url.replace('127.0.0.1', 'localhost')}/resource")
    api.answer(*[away] * 5, path="/away")
    found = []

    async def ask(session, path):
        async with session.get(f"{api.base_url}{path}") as response:
            found.append((path, response.status))

    async with session_of(AsyncListedVault(*["good"] * 2)) as session, anyio.create_task_group() as tasks:
        for path in ("/away", "/resource") * 5:
            tasks.start_soon(ask, session, path)
    assert sorted(set(found)) == [("/away", 401), ("/resource", 200)]


async def test_a_token_that_no_header_can_carry_is_refused_unseen(session_of, api):
    async with session_of(AsyncListedVault("canary-5c1f\r\nX-Admin: 1")) as session:
        with pytest.raises(VaultError) as caught:
            await session.get(api.resource_url)
    assert (caught.value.code, api.requests) == ("token_not_sendable", [])
    assert "canary" not in str(caught.value)


async def test_a_sync_vault_is_refused(session_of, api):
    async with session_of(ListedVault("good")) as session:
        with pytest.raises(RuntimeError, match="open_vault"):
            await session.get(api.resource_url)
    assert api.requests == []
