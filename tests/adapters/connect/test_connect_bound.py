"""Connecting accounts whose tokens are bound to a key of their own (DPoP, RFC 9449)."""

from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest
from attrs import evolve
from joserfc.jwk import ECKey
from tests.adapters.connect.browser import REDIRECT_URI
from tests.adapters.connect.test_connect_peer import callback_of, submit
from tests.adapters.connect.test_connect_pushed import REFERENCE, profile_of
from tests.support.openid_peer import openid_peer
from tests.support.proofs import checked_proof, no_nonces
from tests.support.scripted_provider import Answer, scripted_provider

from vault_adapters import ConnectError, ProviderConfigurationError, ReauthorizationRequiredError, TokenKind, TokenSet
from vault_adapters.clients.httpx2 import VaultAuth
from vault_adapters.connect import Connector, DeviceConnector
from vault_adapters.connect.handshake import Handshake, new_seed
from vault_adapters.providers import openid, refresher
from vault_adapters.providers.dpop import thumbprint, with_key
from vault_adapters.testing import memory_vault

__all__ = ["no_nonces"]

KEY = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256", "kid": "client-key"}, private=True)


@pytest.fixture(scope="module")
def peer():
    with openid_peer(REDIRECT_URI, KEY.as_dict(private=False)) as running:
        yield running


@pytest.fixture
def server():
    with scripted_provider() as running:
        yield running


async def test_a_device_is_connected_with_a_key_and_userinfo_and_api_get_proofs(peer):
    made = openid(peer.issuer, peer.bound_device_client_id, dpop=True)
    async with memory_vault(refreshers={"peer": made}) as vault:
        connector = DeviceConnector(vault, {"peer": made})
        start = await connector.begin("t1", "peer")
        async with httpx2.AsyncClient(trust_env=False, follow_redirects=True) as browser:
            page = await submit(browser, await browser.get(start.verification_uri), user_code=start.user_code)
            await submit(browser, page, confirm="yes")
        info = await connector.finish(start)
        assert (info.account.identifier, info.label) == ("ann", "ann@example.com")
        token = await vault.refresh_account(info.account)
        assert (token.token_type, token.proof_key is None) == ("DPoP", False)
        async with httpx2.AsyncClient(auth=VaultAuth(vault, info.account, hosts=["127.0.0.1"])) as api:
            assert (await api.get(f"{peer.issuer}/me")).json()["sub"] == "ann"


async def test_each_connection_has_a_key_of_its_own(peer):
    made = openid(peer.issuer, peer.bound_client_id, auth_method="none", dpop=True)
    async with memory_vault(refreshers={"peer": made}) as vault:
        connector, keys = Connector(vault, {"peer": made}, redirect_uri=REDIRECT_URI), set()
        for user in ("ann", "ben", "ann"):
            info = await connector.finish(await callback_of(connector, user), session="session")
            pair = [
                await vault.get_token(info.account.key(kind))
                for kind in (TokenKind.ACCESS_TOKEN, TokenKind.REFRESH_TOKEN)
            ]
            assert pair[0].proof_key == pair[1].proof_key
            keys.add(pair[0].proof_key.reveal())
        assert len(keys) == 3


async def test_tokens_that_are_stolen_are_of_no_use_without_the_key(peer):
    """What the binding is for: another key is refused, by the API and by the token endpoint."""
    made = openid(peer.issuer, peer.bound_client_id, auth_method="none", dpop=True)
    async with memory_vault(refreshers={"peer": made}) as vault:
        connector = Connector(vault, {"peer": made}, redirect_uri=REDIRECT_URI)
        info = await connector.finish(await callback_of(connector, "ann"), session="session")
        access, refresh = [
            await vault.get_token(info.account.key(kind)) for kind in (TokenKind.ACCESS_TOKEN, TokenKind.REFRESH_TOKEN)
        ]
        async with httpx2.AsyncClient(trust_env=False) as thief:
            answer = await thief.get(f"{peer.issuer}/me", headers={"Authorization": f"Bearer {access.value.reveal()}"})
            assert answer.status_code == 401
        stolen = TokenSet(access.value, refresh.value, expires_in=3600, token_type="DPoP")
        await vault.store_token_set(info.account, with_key(stolen, Handshake("p", new_seed()).proof_key))
        with pytest.raises((ProviderConfigurationError, ReauthorizationRequiredError)):
            await vault.refresh_account(info.account)


async def test_a_provider_that_does_not_bind_the_token_connects_nothing(vault, provider, browser):
    connector = Connector(vault, {"local": evolve(provider.refresher(), dpop=True)}, redirect_uri=REDIRECT_URI)
    with pytest.raises(ConnectError) as caught:
        await connector.finish(await browser.connect(connector), session="session")
    assert (caught.value.code, caught.value.reason) == ("provider_unavailable", "token_not_bound")
    assert (await vault.list_accounts("t1")).items == ()


async def test_the_request_names_the_key_that_the_exchange_proves(vault, server):
    """RFC 9449 section 10: a code that is stolen is of no use with another key."""
    server.answer(
        Answer(status=400, json={"error": "use_dpop_nonce"}, headers={"DPoP-Nonce": "n1"}),
        Answer(status=201, json={"request_uri": REFERENCE, "expires_in": 60}),
    )
    made = refresher(profile_of(server), "client", "secret", dpop=True)
    start = await Connector(vault, {"local": made}, redirect_uri=REDIRECT_URI).begin("t1", "local", session="s")
    first, second = server.requests
    _, used = checked_proof(first, f"{server.base_url}/par")
    assert checked_proof(second, f"{server.base_url}/par", nonce="n1")[1] == used
    pushed = dict(parse_qsl(second.body.decode()))
    assert (pushed["dpop_jkt"], pushed["state"]) == (used, start.state)
    plain = refresher(evolve(profile_of(server), pushed_authorization_url=None), "client", "secret", dpop=True)
    start = await Connector(vault, {"local": plain}, redirect_uri=REDIRECT_URI).begin("t1", "local", session="s")
    assert len(dict(parse_qsl(urlsplit(start.url).query))["dpop_jkt"]) == 43
    bearer = refresher(evolve(profile_of(server), pushed_authorization_url=None), "client", "secret")
    start = await Connector(vault, {"local": bearer}, redirect_uri=REDIRECT_URI).begin("t1", "local", session="s")
    assert "dpop_jkt" not in start.url


async def test_a_server_that_never_accepts_a_nonce_ends_the_connection(vault, server):
    server.answer_always(Answer(status=400, json={"error": "use_dpop_nonce"}, headers={"DPoP-Nonce": "n1"}))
    made = refresher(profile_of(server), "client", "secret", dpop=True)
    with pytest.raises(ProviderConfigurationError) as caught:
        await Connector(vault, {"local": made}, redirect_uri=REDIRECT_URI).begin("t1", "local", session="s")
    assert caught.value.reason == "dpop_required"
    assert len(server.requests) <= 2


def test_the_key_of_a_request_is_derived_and_shows_nothing_of_the_verifier():
    handshake = Handshake("local", new_seed())
    assert handshake.proof_key == Handshake("local", handshake.seed).proof_key
    assert handshake.proof_key != Handshake("local", new_seed()).proof_key
    assert handshake.proof_key.reveal() not in (handshake.verifier, handshake.nonce)
    assert handshake.proof_key.reveal() not in repr(handshake)
    assert len(thumbprint(handshake.proof_key)) == 43


async def test_pushing_may_be_left_out_unless_the_provider_demands_it(peer):
    document = httpx2.get(f"{peer.issuer}/.well-known/openid-configuration").json()

    def pushes(**changes):
        made = openid(peer.issuer, "client", "secret", document={**document, **changes}, pushed=False)
        return made.profile.pushed_authorization_url is not None

    made = await openid(peer.issuer, "client", "secret").discovered()
    assert made.profile.pushed_authorization_url == f"{peer.issuer}/request"
    assert pushes() is False
    assert pushes(require_pushed_authorization_requests=True) is True
