"""Connecting and refreshing at a certified OpenID provider that others wrote."""

import re
from datetime import date
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest
from attrs import evolve
from joserfc.jwk import ECKey
from tests.adapters.connect.browser import REDIRECT_URI
from tests.support.openid_peer import openid_peer

from vault_adapters import (
    AuthorizationRefusedError,
    IdentityRefusedError,
    ProviderConfigurationError,
    ReauthorizationRequiredError,
    TokenKind,
    TokenSet,
)
from vault_adapters.connect import Connector, DeviceConnector
from vault_adapters.providers import SigningKey, openid, refresher
from vault_adapters.providers.profiles import Profile
from vault_adapters.providers.profiles.facts import AuthorizationFacts, Place
from vault_adapters.testing import memory_vault

pytestmark = pytest.mark.peers

KEY = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256", "kid": "client-key"}, private=True)


@pytest.fixture(scope="module")
def peer():
    with openid_peer(REDIRECT_URI, KEY.as_dict(private=False)) as running:
        yield running


@pytest.fixture
def profile(peer):
    return Profile(
        name="peer",
        title="oidc-provider",
        docs=("https://github.com/panva/node-oidc-provider",),
        checked=date(2026, 11, 26),
        token_url=f"{peer.issuer}/token",
        authorization_url=f"{peer.issuer}/auth",
        userinfo_url=f"{peer.issuer}/me",
        issuer=peer.issuer,
        authorization=AuthorizationFacts(scopes=("openid", "email", "offline_access"), pkce="required"),
        identifier=Place("id_token", "sub"),
        label=Place("userinfo", "email"),
    )


@pytest.fixture
def client(peer, profile):
    return refresher(profile, peer.client_id, peer.client_secret)


async def callback_of(connector, user):
    """Follow all redirects, with cookies, as a browser does; return the query that reaches the redirect URI."""
    start = await connector.begin("t1", "peer", session="session", extra={"login_hint": user})
    url = start.url
    async with httpx2.AsyncClient(trust_env=False) as browser:
        for _ in range(10):
            answer = await browser.get(url)
            assert answer.status_code in (302, 303), (answer.status_code, answer.text)
            url = str(answer.next_request.url)
            if url.startswith(REDIRECT_URI):
                return answer.next_request.url.query.decode()
    raise AssertionError("too many redirects")


async def test_a_certified_provider(client):
    async with memory_vault(refreshers={"peer": client}) as vault:
        connector = Connector(vault, {"peer": client}, redirect_uri=REDIRECT_URI)
        info = await connector.finish(await callback_of(connector, "ann"), session="session")
        assert (info.account.identifier, info.label, info.state.value) == ("ann", "ann@example.com", "connected")
        before = await vault.get_token(info.account.key(TokenKind.REFRESH_TOKEN))
        await vault.refresh_account(info.account)
        after = await vault.get_token(info.account.key(TokenKind.REFRESH_TOKEN))
        assert before.value != after.value


async def test_a_certified_provider_by_its_issuer_alone(peer):
    made = openid(peer.issuer, peer.client_id, peer.client_secret)
    async with memory_vault(refreshers={"peer": made}) as vault:
        connector = Connector(vault, {"peer": made}, redirect_uri=REDIRECT_URI)
        info = await connector.finish(await callback_of(connector, "ann"), session="session")
        assert (info.account.identifier, info.label, info.state.value) == ("ann", "ann@example.com", "connected")
        before = await vault.get_token(info.account.key(TokenKind.REFRESH_TOKEN))
        await vault.refresh_account(info.account)
        assert before.value != (await vault.get_token(info.account.key(TokenKind.REFRESH_TOKEN))).value


async def test_a_client_that_signs_connects_and_refreshes_at_a_certified_provider(peer, profile):
    """RFC 7523 section 2.2: each exchange of a code and each refresh has an assertion of its own."""
    key = SigningKey.from_jwk(KEY.as_dict(private=True))
    client = refresher(profile, peer.signing_client_id, signing_key=key)
    async with memory_vault(refreshers={"peer": client}) as vault:
        connector = Connector(vault, {"peer": client}, redirect_uri=REDIRECT_URI)
        info = await connector.finish(await callback_of(connector, "ann"), session="session")
        assert (info.account.identifier, info.state.value) == ("ann", "connected")
        await vault.refresh_account(info.account)


async def test_a_client_that_signs_with_its_secret_connects_refreshes_and_revokes(peer, profile):
    """OpenID Connect Core section 9: ``client_secret_jwt``, which the provider requires of this client."""
    made = openid(peer.issuer, peer.secret_signing_client_id, peer.signing_secret, auth_method="client_secret_jwt")
    async with memory_vault(refreshers={"peer": made}) as vault:
        connector = Connector(vault, {"peer": made}, redirect_uri=REDIRECT_URI)
        info = await connector.finish(await callback_of(connector, "ann"), session="session")
        assert (info.account.identifier, info.state.value) == ("ann", "connected")
        seen = set()
        for _ in range(3):
            await vault.refresh_account(info.account)
            seen.add((await vault.get_token(info.account.key(TokenKind.REFRESH_TOKEN))).value.reveal())
        assert len(seen) == 3
        kept = await vault.get_token(info.account.key(TokenKind.REFRESH_TOKEN))
        assert (await vault.delete_account(info.account, revoke=True)).revoked
        await vault.store_token_set(info.account, TokenSet("old", refresh_token=kept.value, expires_in=0))
        with pytest.raises(ReauthorizationRequiredError):
            await vault.refresh_account(info.account)


@pytest.mark.parametrize(
    ("method", "secret"), [("client_secret_basic", None), ("client_secret_post", None), ("client_secret_jwt", "x" * 43)]
)
async def test_a_provider_that_wants_a_jwt_under_the_secret_refuses_anything_else(peer, profile, method, secret):
    made = refresher(profile, peer.secret_signing_client_id, secret or peer.signing_secret, auth_method=method)
    async with memory_vault() as vault:
        connector = Connector(vault, {"peer": made}, redirect_uri=REDIRECT_URI)
        with pytest.raises(ProviderConfigurationError) as caught:
            await connector.finish(await callback_of(connector, "ann"), session="session")
        assert caught.value.reason == "invalid_client"


async def test_what_a_certified_provider_refuses(client):
    async with memory_vault() as vault:
        connector = Connector(vault, {"peer": client}, redirect_uri=REDIRECT_URI)
        with pytest.raises(AuthorizationRefusedError) as caught:
            await connector.finish(await callback_of(connector, "deny"), session="session")
        assert caught.value.reason == "access_denied"
        query = await callback_of(connector, "ann")
        assert "iss=" in query
        with pytest.raises(IdentityRefusedError) as caught:
            await connector.finish(query.replace("iss=", "was="), session="session")
        assert caught.value.reason == "iss"


async def test_a_certified_provider_that_requires_pushed_requests(peer, profile):
    """RFC 9126: what the browser carries is only a reference, and a client that does not push is told so."""
    unpushed = refresher(profile, peer.pushing_client_id, peer.client_secret)
    pushed = evolve(profile, pushed_authorization_url=f"{peer.issuer}/request")
    client = refresher(pushed, peer.pushing_client_id, peer.client_secret)
    async with memory_vault(refreshers={"peer": client}) as vault:
        connector = Connector(vault, {"peer": unpushed}, redirect_uri=REDIRECT_URI)
        with pytest.raises(AuthorizationRefusedError) as caught:
            await connector.finish(await callback_of(connector, "ann"), session="session")
        assert caught.value.reason == "par_required"
        connector = Connector(vault, {"peer": client}, redirect_uri=REDIRECT_URI)
        start = await connector.begin("t1", "peer", session="session")
        assert dict(parse_qsl(urlsplit(start.url).query)).keys() == {"client_id", "request_uri"}
        info = await connector.finish(await callback_of(connector, "ann"), session="session")
        assert (info.account.identifier, info.state.value) == ("ann", "connected")
        await vault.refresh_account(info.account)


async def submit(browser, page, **more):
    """Send the form of a page with its hidden values, and follow the redirects."""
    action = re.search(r'action="([^"]+)"', page.text).group(1)
    hidden = dict(re.findall(r'name="([^"]+)" value="([^"]*)"', page.text))
    return await browser.post(action, data={**hidden, **more})


@pytest.mark.parametrize("agrees", [True, False])
async def test_a_certified_provider_gives_codes_for_devices(peer, agrees):
    """RFC 8628: the user enters the code in a browser that has nothing to do with this program."""
    made = openid(peer.issuer, peer.device_client_id)
    async with memory_vault(refreshers={"peer": made}) as vault:
        connector = DeviceConnector(vault, {"peer": made})
        start = await connector.begin("t1", "peer")
        assert start.verification_uri == f"{peer.issuer}/device"
        async with httpx2.AsyncClient(trust_env=False, follow_redirects=True) as browser:
            page = await submit(browser, await browser.get(start.verification_uri), user_code=start.user_code)
            page = await submit(browser, page, **({"confirm": "yes"} if agrees else {"abort": "yes"}))
            assert page.status_code == 200
        if not agrees:
            with pytest.raises(AuthorizationRefusedError) as caught:
                await connector.finish(start)
            assert caught.value.reason == "access_denied"
            return
        info = await connector.finish(start)
        assert (info.account.identifier, info.label, info.state.value) == ("ann", "ann@example.com", "connected")
        await vault.refresh_account(info.account)
