"""Mix-ups at providers that send no ``iss``: only the address of a callback shows who sent it (RFC 9700, 4.4)."""

from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import pytest
from attrs import evolve
from tests.adapters.connect.applications import CALLBACK, agree, client_of
from tests.adapters.connect.browser import Browser, parameters

from vault_adapters import Account, IdentityRefusedError, InvalidInputError, StateRefusedError
from vault_adapters.connect import Connector
from vault_adapters.providers.profiles.facts import Place
from vault_adapters.testing.openid import LoopbackOpenIdProvider, openid_provider

USER = "&answer=ana@example.com"


class Silent(LoopbackOpenIdProvider):
    """Sends neither ``iss`` nor an id_token that counts, and accepts one redirect URI; counts what it is asked."""

    sends_iss = False
    registered = f"{CALLBACK}/honest"
    asked = 0

    def profile(self, name="local"):
        return evolve(super().profile(name), issuer=None, identifier=Place("userinfo", "sub"), label=None)

    def check(self, request):
        return None if request.get("redirect_uri") == self.registered else "invalid_request"

    def token(self, form, authorization):
        self.asked += 1
        return super().token(form, authorization)


class Dishonest(Silent):
    """Sends its users on to the honest provider, as the host's client there, and waits for the code."""

    registered = f"{CALLBACK}/dishonest"


@pytest.fixture
def honest():
    with openid_provider(Silent) as running:
        yield running


@pytest.fixture
def dishonest():
    with openid_provider(Dishonest) as running:
        yield running


@pytest.fixture
def connector(vault, honest, dishonest):
    providers = {"honest": honest.refresher("honest"), "dishonest": dishonest.refresher("dishonest")}
    return Connector(vault, providers, redirect_uri=CALLBACK)


def sent_on(url, honest):
    """The dishonest provider's redirect: its own request, at the honest provider's page and address."""
    request = dict(parse_qsl(urlsplit(url).query)) | {"client_id": honest.client_id, "redirect_uri": honest.registered}
    return f"{honest.issuer}/authorize?{urlencode(request)}"


async def test_a_code_of_the_honest_provider_does_not_reach_the_dishonest_one(
    make_app, connector, vault, honest, dishonest
):
    async with client_of(make_app(connector)) as browser:
        begun = await browser.post("http://localhost/connect/dishonest")
        agreed = await browser.get(sent_on(begun.headers["location"], honest) + USER)
        back = agreed.headers["location"]
        assert "code=" in back
        # At the honest provider's address, and at the common one; the browser sends its cookies in both cases.
        common = urlunsplit(urlsplit(back)._replace(path="/connect/callback"))
        cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        for address in (common, back):
            refused = await browser.get(address, headers={"cookie": cookies})
            assert (refused.status_code, "not connected" in refused.text) == (400, True)
    assert (honest.asked, dishonest.asked) == (0, 0)
    assert (await vault.list_accounts("t1")).items == ()


async def test_the_connector_itself_compares_the_address(connector, vault, honest, dishonest):
    for provider, error in (("honest", StateRefusedError), (None, IdentityRefusedError)):
        start = await connector.begin("t1", "dishonest", session="s")
        query = await Browser().visit(sent_on(start.url, honest) + USER, honest.registered)
        with pytest.raises(error):
            await connector.finish(query, session="s", provider=provider)
    assert (honest.asked, dishonest.asked) == (0, 0)
    assert (await vault.list_accounts("t1")).items == ()


async def test_an_address_of_no_provider_is_refused_before_the_state_is_used(connector, honest):
    start = await connector.begin("t1", "honest", session="s")
    query = await Browser().visit(start.url + USER, honest.registered)
    with pytest.raises(InvalidInputError):
        await connector.finish(query, session="s", provider="another")
    info = await connector.finish(query, session="s", provider="honest")
    assert info.account == Account("t1", "honest", "user-1")


async def test_each_provider_is_connected_at_its_own_address(make_app, connector, vault):
    async with client_of(make_app(connector)) as browser:
        for provider in ("honest", "dishonest"):
            back = await agree(browser, f"http://localhost/connect/{provider}")
            assert urlsplit(back).path == f"/connect/callback/{provider}"
            assert (await browser.get(back)).status_code == 303
        assert not browser.cookies
    assert [info.account.provider for info in (await vault.list_accounts("t1")).items] == ["dishonest", "honest"]


async def test_another_provider_of_the_connector_does_not_change_a_template(vault, honest, dishonest):
    one, both = {"honest": honest.refresher("honest")}, {"honest": honest.refresher(), "x": dishonest.refresher()}
    sent = {}
    for providers in (one, both):
        for given in (CALLBACK, f"{CALLBACK}/", f"{CALLBACK}/{{provider}}", "https://app.example/{provider}/back?a=1"):
            connector = Connector(vault, providers, redirect_uri=given)
            start = await connector.begin("t1", "honest", session="s")
            assert connector.redirect_uris["honest"] == parameters(urlsplit(start.url).query)["redirect_uri"]
            sent.setdefault(given, []).append(connector.redirect_uris["honest"])
    own = f"{CALLBACK}/honest"
    assert sent == {
        CALLBACK: [CALLBACK, own],
        f"{CALLBACK}/": [f"{CALLBACK}/", own],
        f"{CALLBACK}/{{provider}}": [own, own],
        "https://app.example/{provider}/back?a=1": ["https://app.example/honest/back?a=1"] * 2,
    }
