"""The dashboard connects an account again, with the real connector and an OpenID provider on loopback."""

from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from tests.adapters.connect.browser import Browser
from tests.adapters.web.conftest import browsing
from tests.adapters.web.reading import Reader
from tests.adapters.web.test_actions import asked

from vault_adapters import Account, TokenKind, TokenSet
from vault_adapters.connect import Connector
from vault_adapters.testing import memory_vault
from vault_adapters.testing.openid import openid_provider
from vault_adapters.web import dashboard

BASE = "http://127.0.0.1:8321"
REDIRECT_URI = f"{BASE}/vault/connected"
ANA = Account("t1", "local", "user-1")


@pytest.fixture
def provider():
    with openid_provider() as running:
        yield running


@pytest.fixture
async def vault(provider):
    async with memory_vault(refreshers={"local": provider.refresher()}) as opened:
        await opened.store_token_set(ANA, TokenSet(access_token="old-access", refresh_token="old-refresh"))
        yield opened


@asynccontextmanager
async def operating(vault, provider, redirect_uri=REDIRECT_URI, **options):
    """A dashboard that a host mounts under a prefix, and one browser in front of it."""
    connector = Connector(vault, {"local": provider.refresher()}, redirect_uri=redirect_uri)
    settings = {"connector": connector, "actions": True, "actor": lambda request: "ops@example.com", **options}
    app = Starlette(routes=[Mount("/vault", dashboard(vault, **settings))])
    async with browsing(app, BASE) as client:
        client.base_url = f"{BASE}/vault"
        yield client


async def begun(client):
    """Ask for a connection as an operator does; return the link to the provider."""
    answer = await client.post("/act/reconnect", data=await asked(client, "reconnect", ANA))
    assert answer.status_code == 200
    return next(link for link in Reader(answer.text).links if urlsplit(link).path == "/authorize")


async def callback(url, answer):
    """Answer at the provider; return the path to which it sends the browser back."""
    return "/connected?" + await Browser().visit(f"{url}&answer={answer}", REDIRECT_URI)


async def stored(vault):
    return (await vault.get_token(ANA.key(TokenKind.ACCESS_TOKEN))).value.reveal()


async def test_consent_is_given_and_the_tokens_are_stored_once(vault, provider):
    async with operating(vault, provider) as client:
        query = await callback(await begun(client), "ana@example.com")
        page = Reader((await client.get(query)).text)
        assert "local · user-1 is connected" in page.text
        new = await stored(vault)
        assert new.startswith("demo-access-")
        assert new not in repr(page.tags)
        latest = await vault.latest_audit_events(limit=1)
        assert latest.items[0].actor == "ops@example.com", "the actor that the page named before"

        again = await client.get(query)
        assert again.status_code == 409
        assert "used" in Reader(again.text).text
        assert query.partition("code=")[2][:12] not in again.text
        assert (await stored(vault), provider.exchanged) == (new, 1)


async def test_consent_is_refused_and_nothing_changes(vault, provider):
    async with operating(vault, provider) as client:
        answer = await client.get(await callback(await begun(client), "deny"))
        assert answer.status_code == 409
        assert "access_denied" in Reader(answer.text).text
        assert (await stored(vault), provider.exchanged) == ("old-access", 0)
        query = await callback(await begun(client), "ana@example.com")
        assert (await client.get(query)).status_code == 200, "the operator may try again"


async def test_another_account_is_refused(vault, provider):
    async with operating(vault, provider) as client:
        answer = await client.get(await callback(await begun(client), "ben@example.com"))
        assert answer.status_code == 409
        assert "other_account" in Reader(answer.text).text
        assert await stored(vault) == "old-access"
        assert [info.account async for info in vault.iter_accounts()] == [ANA]


async def test_two_tabs_of_one_browser_and_another_browser(vault, provider):
    async with operating(vault, provider) as client, operating(vault, provider) as stranger:
        first, second = await begun(client), await begun(client)
        await begun(stranger)
        query = await callback(first, "ana@example.com")
        refused = await stranger.get(query)
        assert (refused.status_code, provider.exchanged) == (409, 0)
        assert (await client.get(query)).status_code == 200
        assert (await client.get(await callback(second, "ana@example.com"))).status_code == 200


async def test_the_address_of_a_callback_shows_its_provider(vault, provider):
    async with operating(vault, provider, f"{REDIRECT_URI}/{{provider}}") as client:
        for name, status in (("other", 400), ("local", 200)):
            query = await callback(await begun(client), "ana@example.com")
            assert (await client.get(query.replace("?", f"/{name}?", 1))).status_code == status


async def test_a_preview_of_the_callback_uses_nothing_up(vault, provider):
    async with operating(vault, provider) as client:
        query = await callback(await begun(client), "ana@example.com")
        assert (await client.head(query)).status_code == 405
        assert provider.exchanged == 0
        assert (await client.get(query)).status_code == 200


@pytest.mark.parametrize("session", [None, ""])
async def test_a_browser_without_a_session_of_the_host_connects_nothing(vault, provider, session):
    async with operating(vault, provider, session=lambda request: session) as client:
        answer = await client.post("/act/reconnect", data=await asked(client, "reconnect", ANA))
        assert answer.status_code == 400
        assert not any("/authorize" in link for link in Reader(answer.text).links)


async def test_a_host_that_names_no_actor(vault, provider):
    async with operating(vault, provider, actor=lambda request: None) as client:
        await client.get(await callback(await begun(client), "ana@example.com"))
        assert (await vault.latest_audit_events(limit=1)).items[0].actor == "dashboard"
