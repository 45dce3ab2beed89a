"""APIs that ask the user for more: for scopes (RFC 6750), claims (Microsoft), or a new sign-in (RFC 9470)."""

import base64
import json
import time

import aiohttp
import httpx
import httpx2
import pytest
import requests
from attrs import evolve
from tests.adapters.clients.small_vault import ACCOUNT, LOOPBACK, AsyncListedVault
from tests.support.scripted_provider import Answer, redirect_answer, scripted_provider

from vault_adapters import ConsentRequiredError, ReauthorizationRequiredError, TokenKind
from vault_adapters.clients.aiohttp import VaultAuth as AiohttpVaultAuth
from vault_adapters.clients.challenges import asked_for
from vault_adapters.clients.httpx import VaultAuth as HttpxVaultAuth
from vault_adapters.clients.httpx2 import VaultAuth as Httpx2VaultAuth
from vault_adapters.clients.requests import VaultAuth as RequestsVaultAuth
from vault_adapters.connect.mcp.discovery import Challenge

CLAIMS = json.dumps({"access_token": {"nbf": {"essential": True, "value": "1604106651"}}})
ENCODED = base64.b64encode(CLAIMS.encode()).decode()
SCOPE = 'Bearer realm="api", error="insufficient_scope", error_description="evil", scope="mail.send files.read"'
ENTRA = f'Bearer realm="", authorization_uri="https://login", error="insufficient_claims", claims="{ENCODED}"'
STEP_UP = 'Bearer error="insufficient_user_authentication", acr_values="gold mfa", max_age=5'


def ask_httpx(library, auth):
    async def ask(vault, url):
        async with library.AsyncClient(auth=auth(vault, ACCOUNT, hosts=LOOPBACK), follow_redirects=True) as client:
            return (await client.get(url)).status_code

    return ask


async def ask_aiohttp(vault, url):
    middleware = AiohttpVaultAuth(vault, ACCOUNT, hosts=LOOPBACK)
    async with aiohttp.ClientSession(middlewares=[middleware]) as session, session.get(url) as response:
        return response.status


async def ask_requests(vault, url):
    with requests.Session() as session:
        session.trust_env = False
        return session.get(url, auth=RequestsVaultAuth(vault.blocking, ACCOUNT, hosts=LOOPBACK)).status_code


async def ask_blocking(vault, url):
    auth = Httpx2VaultAuth(vault.blocking, ACCOUNT, hosts=LOOPBACK)
    with httpx2.Client(auth=auth, follow_redirects=True, trust_env=False) as client:
        return client.get(url).status_code


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


def refusing(status, challenge):
    return Answer(status=status, headers={"WWW-Authenticate": challenge})


async def test_missing_scopes_are_an_error_at_once(ask):
    vault = AsyncListedVault("good", "new")
    with scripted_provider(refusing(403, SCOPE)) as api, pytest.raises(ConsentRequiredError) as caught:
        await ask(vault, api.resource_url)
    error = caught.value
    assert (error.scopes, error.parameters) == (("mail.send", "files.read"), {})
    assert (error.account, error.reason, error.code) == (ACCOUNT, "insufficient_scope", "consent_required")
    assert "evil" not in str(error)
    assert vault.reported == []  # the token works, so nobody must connect again


@pytest.mark.parametrize(
    ("challenge", "parameters"), [(ENTRA, {"claims": CLAIMS}), (STEP_UP, {"acr_values": "gold mfa", "max_age": "5"})]
)
async def test_a_claims_challenge_is_an_error_if_a_new_token_does_not_help(ask, challenge, parameters):
    vault = AsyncListedVault("old", "new")
    with scripted_provider(refusing(401, challenge)) as api, pytest.raises(ConsentRequiredError) as caught:
        await ask(vault, api.resource_url)
    assert (caught.value.parameters, caught.value.scopes) == (parameters, ())
    assert vault.reported == ["old"]
    assert len(api.requests) == 2


async def test_a_new_token_that_helps_is_enough(ask):
    answers = iter([refusing(401, ENTRA), Answer(json={})])
    with scripted_provider(lambda _: next(answers)) as api:
        assert await ask(AsyncListedVault("old", "new"), api.resource_url) == 200


async def test_if_no_refresh_succeeds_the_error_says_what_the_api_asks_for(ask):
    with scripted_provider(refusing(401, ENTRA)) as api, pytest.raises(ConsentRequiredError) as caught:
        await ask(AsyncListedVault("only"), api.resource_url)
    assert caught.value.parameters == {"claims": CLAIMS}
    assert isinstance(caught.value, ReauthorizationRequiredError)


async def test_a_host_that_did_not_get_the_token_asks_for_nothing(ask):
    with (
        scripted_provider(refusing(403, SCOPE)) as other,
        scripted_provider(redirect_answer(other.resource_url)) as api,
    ):
        assert await ask(AsyncListedVault("good"), api.resource_url) == 403


@pytest.mark.parametrize(
    "challenge",
    [
        "",
        "Bearer",
        'Bearer error="invalid_token"',
        'Bearer error="insufficient_claims", claims="%%%"',
        f'Bearer error="insufficient_claims", claims="{base64.b64encode(b"[1]").decode()}"',
        f'Bearer error="insufficient_claims", claims="{base64.b64encode(b"[" * 5000).decode()}"',
        f'Bearer error="insufficient_scope", scope="{"a " * 5000}b"',
        'Basic realm="x"',
    ],
)
async def test_a_challenge_that_asks_for_nothing_is_no_error(challenge):
    assert asked_for([challenge], ACCOUNT) is None


@pytest.mark.parametrize("scope", ["", ', scope="a\\"b"', ', scope="é"', f', scope="{"a" * 300}"'])
def test_missing_scopes_that_are_not_named_are_an_error_too(scope):
    error = asked_for([f'Bearer error="insufficient_scope"{scope}'], ACCOUNT)
    assert isinstance(error, ConsentRequiredError)
    assert (error.scopes, error.reason) == ((), "insufficient_scope")
    assert "user must grant more" in str(error)
    assert "operator" in str(error)


@pytest.mark.parametrize("challenge", [SCOPE, 'Bearer error="insufficient_scope"'])
async def test_an_api_key_that_lacks_rights_is_its_operators_business(ask, challenge):
    vault = AsyncListedVault("key")
    give = vault.blocking.ensure_access_token
    vault.blocking.ensure_access_token = lambda account: as_key(give(account))
    with scripted_provider(refusing(403, challenge)) as api, pytest.raises(ReauthorizationRequiredError) as caught:
        await ask(vault, api.resource_url)
    assert not isinstance(caught.value, ConsentRequiredError)
    assert (caught.value.code, caught.value.reason) == ("key_rejected", "insufficient_scope")
    assert "operator must give it more" in str(caught.value)
    assert vault.reported == []


def as_key(token):
    return evolve(token, info=evolve(token.info, key=ACCOUNT.key(TokenKind.API_KEY)))


@pytest.mark.parametrize(
    "unit", ["a", "a-", "a=", 'a="', "a ", "a= ", " ", '\\"', 'a="\\', 'a="b\\"', "=", '"', "a=b,", 'a="\\"a="\\"b ']
)
@pytest.mark.parametrize("read", [lambda text: asked_for([text], ACCOUNT), Challenge.of])
def test_a_hostile_challenge_is_read_in_no_time(unit, read):
    text = (unit * 8192)[:8192]
    seconds = []
    for _ in range(3):
        begun = time.perf_counter()
        read(text)
        seconds.append(time.perf_counter() - begun)
    assert min(seconds) < 0.05


def test_several_challenges_in_any_order():
    for values in ([ENTRA, "Basic"], ["Basic", ENTRA], [f'Basic realm="x", {ENTRA}']):
        assert asked_for(values, ACCOUNT).parameters == {"claims": CLAIMS}
    unpadded = ENTRA.replace(ENCODED, ENCODED.rstrip("="))
    assert asked_for([unpadded], ACCOUNT).parameters == {"claims": CLAIMS}


async def test_an_answer_without_a_challenge_reaches_the_caller(ask):
    with scripted_provider(Answer(status=403)) as api:
        assert await ask(AsyncListedVault("good"), api.resource_url) == 403
