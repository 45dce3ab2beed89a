"""Pushed authorization requests (RFC 9126): what is pushed, what the browser carries, and bad answers."""

from urllib.parse import parse_qsl, urlsplit

import pytest
from attrs import evolve
from joserfc.jwk import ECKey
from tests.adapters.connect.browser import REDIRECT_URI
from tests.support.scripted_provider import Answer, scripted_provider

from vault_adapters import AuthorizationRefusedError, ConnectError, ProviderConfigurationError
from vault_adapters.connect import Connector
from vault_adapters.providers import SigningKey, refresher
from vault_adapters.testing.openid import LoopbackOpenIdProvider

REFERENCE = "urn:ietf:params:oauth:request_uri:canary"


@pytest.fixture
def server():
    with scripted_provider() as running:
        yield running


def profile_of(server):
    profile = LoopbackOpenIdProvider("https://id.example.com").profile()
    return evolve(profile, pushed_authorization_url=f"{server.base_url}/par")


def connector_of(vault, server, *given, **options):
    made = refresher(profile_of(server), *(given or ("client", "secret")), **options)
    return Connector(vault, {"local": made}, redirect_uri=REDIRECT_URI)


async def test_the_whole_request_is_pushed_and_the_browser_carries_a_reference(vault, server):
    server.answer(Answer(status=201, json={"request_uri": REFERENCE, "expires_in": 60}))
    connector = connector_of(vault, server)
    start = await connector.begin("t1", "local", session="s", extra={"login_hint": "ana@example.com"})
    (request,) = server.requests
    assert request.path == "/par"
    assert request.headers["authorization"] == "Basic Y2xpZW50OnNlY3JldA=="
    pushed = dict(parse_qsl(request.body.decode()))
    assert pushed["state"] == start.state
    assert pushed["login_hint"] == "ana@example.com"
    assert pushed["redirect_uri"] == REDIRECT_URI
    assert pushed.keys() >= {"response_type", "client_id", "scope", "nonce", "code_challenge", "code_challenge_method"}
    assert parse_qsl(urlsplit(start.url).query) == [("client_id", "client"), ("request_uri", REFERENCE)]


async def test_a_client_that_signs_pushes_with_an_assertion(vault, server):
    server.answer(Answer(status=201, json={"request_uri": REFERENCE, "expires_in": 60}))
    key = SigningKey.from_jwk(ECKey.generate_key("P-256").as_dict(private=True))
    await connector_of(vault, server, "client", signing_key=key).begin("t1", "local", session="s")
    pushed = dict(parse_qsl(server.requests[0].body.decode()))
    assert pushed["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    assert pushed["client_assertion"].count(".") == 2


@pytest.mark.parametrize(
    ("answer", "error", "reason"),
    [
        (Answer(status=201, json={"expires_in": 60}), ConnectError, "unreadable_answer"),
        (Answer(status=201, json={"request_uri": "", "expires_in": 60}), ConnectError, "unreadable_answer"),
        (Answer(status=201, json={"request_uri": ["urn:canary"]}), ConnectError, "unreadable_answer"),
        (Answer(status=201, json={"request_uri": "canary" * 400}), ConnectError, "unreadable_answer"),
        (Answer(status=201, json={"request_uri": "canary\r\nSet-Cookie: a=b"}), ConnectError, "unreadable_answer"),
        (Answer(status=201, body=b"<html>canary</html>"), ConnectError, "unreadable_answer"),
        (Answer(status=200, json={"access_token": "canary"}), ConnectError, "unreadable_answer"),
        (Answer(status=302, headers={"Location": "https://canary.example"}), ProviderConfigurationError, "redirect"),
        (Answer(status=401, json={"error": "invalid_client"}), ProviderConfigurationError, "invalid_client"),
        (Answer(status=400, json={"error": "invalid_request"}), ProviderConfigurationError, "invalid_request"),
        (Answer(status=400, json={"error": "canary"}), AuthorizationRefusedError, "refused"),
        (Answer(status=503, json={}), ConnectError, "temporarily_unavailable"),
        (Answer(status=500, json={}), ConnectError, "server_error"),
    ],
)
async def test_a_bad_answer_is_one_typed_error(vault, server, answer, error, reason):
    server.answer(answer)
    with pytest.raises(error) as caught:
        await connector_of(vault, server).begin("t1", "local", session="s")
    assert caught.value.reason == reason
    assert (caught.value.account.tenant_id, caught.value.account.provider) == ("t1", "local")
    assert "canary" not in f"{caught.value}{caught.value!r}"
    assert len(server.requests) == 1
    assert (await vault.list_accounts("t1")).items == ()
