"""What each refresher sends, and how it is configured."""

import pickle
import subprocess
import sys
from datetime import timedelta

import httpx
import httpx2
import pytest
from tests.adapters.providers.asking import ACCOUNT, failure, refreshed, revocation_of
from tests.support.scripted_provider import Answer, error_answer, refused_url, token_answer

from vault_adapters.providers import (
    ClientCredentialsRefresher,
    GreenInvoiceRefresher,
    MetaTokenExchangeRefresher,
    OAuth2Refresher,
    presets,
)
from vault_domain.entities.account import TokenKind
from vault_domain.entities.errors import (
    ConfigurationError,
    InvalidInputError,
    ProviderConfigurationError,
    ReauthorizationRequiredError,
    RefreshFailedError,
)
from vault_domain.entities.rotation_policy import Rotation
from vault_domain.entities.secret import Secret

AWKWARD = "se:cr%et+ &\u00fc"
KEY = Secret.from_fields(client_id="machine", client_secret=AWKWARD)


async def test_client_secret_basic_is_form_urlencoded(provider):
    provider.answer(token_answer("access-2"))
    await refreshed(OAuth2Refresher(provider.token_url, "cli:ent", AWKWARD))
    [request] = provider.requests
    assert request.method == "POST"
    assert request.basic_auth == ("cli:ent", AWKWARD)
    assert request.form == {"grant_type": "refresh_token", "refresh_token": "refresh-1"}
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert request.headers["accept"] == "application/json"


async def test_client_secret_post(provider):
    provider.answer(token_answer("access-2"))
    await refreshed(OAuth2Refresher(provider.token_url, "client", AWKWARD, auth_method="client_secret_post"))
    [request] = provider.requests
    assert request.basic_auth is None
    assert request.form == {
        "grant_type": "refresh_token",
        "refresh_token": "refresh-1",
        "client_id": "client",
        "client_secret": AWKWARD,
    }


async def test_a_public_client(provider):
    provider.answer(token_answer("access-2"))
    await refreshed(OAuth2Refresher(provider.token_url, "client", auth_method="none"))
    [request] = provider.requests
    assert request.basic_auth is None
    assert request.form == {"grant_type": "refresh_token", "refresh_token": "refresh-1", "client_id": "client"}


async def test_extra_parameters_are_sent_and_scopes_are_not(provider):
    provider.answer(token_answer("access-2"))
    refresher = OAuth2Refresher(
        provider.token_url + "?policy=one", "client", "secret", scopes=["a", "b"], extra={"resource": "https://api"}
    )
    await refreshed(refresher, scopes=("stored",))
    [request] = provider.requests
    assert request.query == {"policy": "one"}
    assert "scope" not in request.form
    assert request.form["resource"] == "https://api"


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (("http://provider.example/token", "client", "secret"), {}),
        (("ftp://provider.example/token", "client", "secret"), {}),
        (("https://user:pass@provider.example/token", "client", "secret"), {}),
        (("https://provider.example/token#part", "client", "secret"), {}),
        (("https://provider.example:99999/token", "client", "secret"), {}),
        (("https://[broken/token", "client", "secret"), {}),
        (("/token", "client", "secret"), {}),
        (("", "client", "secret"), {}),
        ((None, "client", "secret"), {}),
        (("https://provider.example/to ken", "client", "secret"), {}),
        (("https://provider.example/token", "", "secret"), {}),
        (("https://provider.example/token", "cli\nent", "secret"), {}),
        (("https://provider.example/token", "client", ""), {}),
        (("https://provider.example/token", "client", 7), {}),
        (("https://provider.example/token", "client"), {}),
        (("https://provider.example/token", "client", "secret"), {"auth_method": "none"}),
        (("https://provider.example/token", "client", "secret"), {"auth_method": "private_key_jwt"}),
        (("https://provider.example/token", "client", "secret"), {"rotation": "strict"}),
        (("https://provider.example/token", "client", "secret"), {"scopes": "a b"}),
        (("https://provider.example/token", "client", "secret"), {"scopes": ["a b"]}),
        (("https://provider.example/token", "client", "secret"), {"extra": {"grant_type": "password"}}),
        (("https://provider.example/token", "client", "secret"), {"extra": {"resource": 7}}),
        (("https://provider.example/token", "client", "secret"), {"extra": {"resource": "\ud800"}}),
        (("https://provider.example/token", "client", "secret"), {"extra": ["resource"]}),
        (("https://provider.example/token", "client", "secret"), {"revocation_url": "http://provider.example/r"}),
    ],
)
def test_arguments_are_checked(arguments, options):
    with pytest.raises(InvalidInputError) as caught:
        OAuth2Refresher(*arguments, **options)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "[::1]"])
def test_http_is_for_loopback(host):
    assert OAuth2Refresher(f"http://{host}:8000/token", "client", "secret").token_url.startswith("http://")


def test_the_secret_does_not_show():
    refresher = OAuth2Refresher("https://provider.example/token?key=visible", "client", AWKWARD, extra={"k": "hidden"})
    assert AWKWARD not in repr(refresher)
    assert "visible" not in repr(refresher)
    assert "hidden" not in repr(refresher)
    with pytest.raises(TypeError):
        pickle.dumps(refresher)


def test_what_refreshers_spend():
    oauth2 = OAuth2Refresher("https://provider.example/token", "client", "secret")
    assert (oauth2.spends, oauth2.rotation) == (TokenKind.REFRESH_TOKEN, Rotation.strict())
    machine = ClientCredentialsRefresher("https://provider.example/token")
    assert (machine.spends, machine.rotation) == (TokenKind.API_KEY, Rotation.non_rotating())


async def test_client_credentials(provider):
    provider.answer(token_answer("access-2"), token_answer("access-3"))
    await refreshed(ClientCredentialsRefresher(provider.token_url, scopes=["a"], extra={"audience": "api"}), KEY)
    tokens = await refreshed(ClientCredentialsRefresher(provider.token_url, auth_method="client_secret_post"), KEY)
    assert tokens.access_token.reveal() == "access-3"
    basic, post = provider.requests
    assert basic.basic_auth == ("machine", AWKWARD)
    assert basic.form == {"grant_type": "client_credentials", "scope": "a", "audience": "api"}
    assert post.form == {"grant_type": "client_credentials", "client_id": "machine", "client_secret": AWKWARD}


@pytest.mark.parametrize("code", ["invalid_client", "unauthorized_client"])
async def test_a_refused_machine_client_is_one_accounts_dead_key(provider, code):
    provider.answer(error_answer(code, status=401), error_answer("invalid_scope"))
    refresher = ClientCredentialsRefresher(provider.token_url)
    error = await failure(refresher, KEY)
    assert isinstance(error, ReauthorizationRequiredError)
    assert error.reason == code
    assert isinstance(await failure(refresher, KEY), ProviderConfigurationError)


@pytest.mark.parametrize("key", ["plain", "{}", '{"client_id": "a"}', '{"client_id": "a", "client_secret": ""}', "[1]"])
async def test_a_key_without_the_fields(provider, key):
    error = await failure(ClientCredentialsRefresher(provider.token_url), key)
    assert isinstance(error, ReauthorizationRequiredError)
    assert (error.account, error.__context__) == (ACCOUNT, None)
    assert provider.requests == []


def test_client_credentials_need_a_secret():
    with pytest.raises(InvalidInputError):
        ClientCredentialsRefresher("https://provider.example/token", auth_method="none")


async def test_meta_exchanges_the_access_token(provider):
    provider.answer(token_answer("access-2", expires_in=5_183_944), Answer(json={"access_token": "access-3"}))
    refresher = presets.whatsapp("app", "app-secret", token_url=provider.token_url)
    assert isinstance(refresher, MetaTokenExchangeRefresher)
    assert (refresher.spends, refresher.rotation) == (TokenKind.ACCESS_TOKEN, Rotation.non_rotating())
    assert (await refreshed(refresher, "access-1")).expires_in == timedelta(seconds=5_183_944)
    assert (await refreshed(refresher, "access-2")).expires_in == timedelta(days=60)
    request = provider.requests[0]
    assert (request.method, request.query) == ("POST", {})
    assert request.form == {
        "grant_type": "fb_exchange_token",
        "client_id": "app",
        "client_secret": "app-secret",
        "fb_exchange_token": "access-1",
    }


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        ({"code": 190, "error_subcode": 463, "type": "OAuthException"}, ReauthorizationRequiredError, "invalid_grant"),
        ({"code": 102}, ReauthorizationRequiredError, "invalid_grant"),
        ({"code": 4}, RefreshFailedError, "temporarily_unavailable"),
        ({"code": 999, "is_transient": True}, RefreshFailedError, "temporarily_unavailable"),
        ({"code": 101}, ProviderConfigurationError, "invalid_client"),
        ({"code": 100, "message": "access-1"}, ProviderConfigurationError, "invalid_request"),
        ({"code": "190"}, ProviderConfigurationError, "invalid_request"),
        ({}, ProviderConfigurationError, "invalid_request"),
    ],
)
async def test_the_graph_apis_errors(provider, error, kind, reason):
    provider.answer(Answer(status=400, json={"error": error}))
    raised = await failure(presets.whatsapp("app", "app-secret", token_url=provider.token_url), "access-1")
    assert isinstance(raised, kind)
    assert raised.reason == reason


def test_meta_needs_its_secret():
    with pytest.raises(InvalidInputError):
        MetaTokenExchangeRefresher("app", None)


async def test_greeninvoice(provider):
    provider.answer(Answer(json={"token": "jwt", "expires": 4_102_444_800}))
    refresher = presets.greeninvoice(token_url=provider.token_url)
    assert isinstance(refresher, GreenInvoiceRefresher)
    assert (refresher.spends, refresher.rotation) == (TokenKind.API_KEY, Rotation.non_rotating())
    tokens = await refreshed(refresher, Secret.from_fields(id="key", secret="s"))
    assert tokens.access_token.reveal() == "jwt"
    assert tokens.expires_at.year == 2100
    [request] = provider.requests
    assert request.headers["content-type"] == "application/json"
    assert request.body == b'{"id": "key", "secret": "s"}'


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(status=401, json={"errorCode": 401, "errorMessage": "s"}), ReauthorizationRequiredError),
        (Answer(status=401), ReauthorizationRequiredError),
        (Answer(status=400, json={"errorCode": 1003}), ProviderConfigurationError),
        (Answer(status=429), RefreshFailedError),
        (Answer(json={"unexpected": "s"}), RefreshFailedError),
    ],
)
async def test_greeninvoices_errors(provider, answer, kind):
    provider.answer(answer)
    refresher = presets.greeninvoice(token_url=provider.token_url)
    assert isinstance(await failure(refresher, Secret.from_fields(id="key", secret="s")), kind)


async def test_a_greeninvoice_key_without_the_fields(provider):
    refresher = presets.greeninvoice(token_url=provider.token_url)
    assert isinstance(await failure(refresher, KEY), ReauthorizationRequiredError)


async def test_google(provider):
    provider.answer(token_answer("access-2", expires_in=3599), Answer())
    refresher = presets.google("client", "secret", token_url=provider.token_url, revocation_url=provider.revocation_url)
    assert refresher.rotation == Rotation.non_rotating()
    await refreshed(refresher)
    assert await refresher.revoke(revocation_of("refresh-1")) is True
    refresh, revoke = provider.requests
    assert refresh.form["client_secret"] == "secret"
    assert (revoke.path, revoke.form["token"]) == ("/revoke", "refresh-1")


def test_googles_addresses():
    refresher = presets.google("client", Secret("secret"))
    assert refresher.token_url == "https://oauth2.googleapis.com/token"
    assert refresher.revocation_url == "https://oauth2.googleapis.com/revoke"


@pytest.mark.parametrize(
    ("answer", "confirmed"),
    [
        (Answer(), True),
        (Answer(body=b"<html>"), True),
        (error_answer("unsupported_token_type"), False),
        (Answer(status=503), False),
        (Answer(status=302), False),
        (Answer(drop="rst"), False),
        (Answer(delay=30), False),
    ],
)
async def test_revocation(provider, answer, confirmed):
    provider.answer(answer)
    refresher = OAuth2Refresher(provider.token_url, "client", "secret", revocation_url=provider.revocation_url)
    assert await refresher.revoke(revocation_of("refresh-1", deadline=0.5)) is confirmed
    [request] = provider.requests
    assert request.basic_auth == ("client", "secret")
    assert request.form == {"token": "refresh-1", "token_type_hint": "refresh_token"}


async def test_revocation_without_an_endpoint_or_a_server(provider):
    refresher = OAuth2Refresher(provider.token_url, "client", "secret")
    assert await refresher.revoke(revocation_of("refresh-1")) is None
    with refused_url() as url:
        refresher = OAuth2Refresher(provider.token_url, "client", "secret", revocation_url=url)
        assert await refresher.revoke(revocation_of("refresh-1")) is False


@pytest.mark.parametrize("library", [httpx2, httpx])
async def test_a_hosts_client_is_used_and_left_open(provider, library):
    provider.answer(token_answer("access-2"), Answer(status=302, headers={"Location": provider.base_url}))
    async with library.AsyncClient(
        auth=("host", "password"), headers={"Authorization": "Bearer host"}, follow_redirects=True
    ) as client:
        refresher = OAuth2Refresher(provider.token_url, "client", auth_method="none").with_client(client)
        await refreshed(refresher)
        assert isinstance(await failure(refresher), ProviderConfigurationError)
        assert not client.is_closed
    assert len(provider.requests) == 2
    assert "authorization" not in provider.requests[0].headers


async def test_with_client_leaves_the_original_alone(provider):
    async with httpx2.AsyncClient() as client:
        refresher = ClientCredentialsRefresher(provider.token_url)
        assert refresher.with_client(client).client is client
        assert refresher.client is None
        for other in (presets.whatsapp("app", "secret"), presets.greeninvoice(), presets.google("client", "secret")):
            assert other.with_client(client).client is client


async def test_a_closed_client_is_a_failure_of_its_own(provider):
    client = httpx2.AsyncClient()
    await client.aclose()
    error = await failure(OAuth2Refresher(provider.token_url, "client", "secret").with_client(client))
    assert isinstance(error, RefreshFailedError)
    assert (error.__cause__, error.__context__) == (None, None)


async def test_a_host_hook_that_reads_the_answer_loses_nothing(provider):
    async def read(response):
        await response.aread()

    provider.answer(token_answer("access-2", "refresh-2"))
    async with httpx2.AsyncClient(event_hooks={"response": [read]}) as client:
        tokens = await refreshed(OAuth2Refresher(provider.token_url, "client", "secret").with_client(client))
    assert tokens.refresh_token.reveal() == "refresh-2"


async def test_an_answer_that_a_host_hook_has_read_is_bounded_too(provider):
    async def read(response):
        await response.aread()

    provider.answer(Answer(json={"access_token": "access-2", "padding": "x" * 4 * 1024 * 1024}))
    async with httpx2.AsyncClient(event_hooks={"response": [read]}) as client:
        error = await failure(OAuth2Refresher(provider.token_url, "client", "secret").with_client(client))
    assert isinstance(error, RefreshFailedError)
    assert error.outcome_unknown


async def test_waiting_for_a_connection_spends_nothing(provider):
    provider.answer(Answer(body=b"slow", body_delay=30))
    client = httpx2.AsyncClient(limits=httpx2.Limits(max_connections=1))
    async with client, client.stream("GET", provider.resource_url):
        refresher = OAuth2Refresher(provider.token_url, "client", "secret").with_client(client)
        error = await failure(refresher, deadline=0.5)
    assert isinstance(error, RefreshFailedError)
    assert not error.outcome_unknown


async def test_another_transport_that_does_not_answer_leaves_the_outcome_unknown():
    async def hang(request):
        raise httpx2.ReadTimeout("refresh-1")

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(hang)) as client:
        error = await failure(OAuth2Refresher("https://p.example/token", "client", "secret").with_client(client))
    assert isinstance(error, RefreshFailedError)
    assert error.outcome_unknown


async def test_the_environments_proxies_are_ignored(provider, monkeypatch):
    with refused_url() as nowhere:
        monkeypatch.setenv("HTTP_PROXY", nowhere)
        monkeypatch.setenv("ALL_PROXY", nowhere)
        provider.answer(token_answer("access-2"))
        assert (await refreshed(OAuth2Refresher(provider.token_url, "client", "secret"))).expires_in


async def test_without_httpx2_the_extra_is_named(provider, monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx2", None)
    refresher = OAuth2Refresher(provider.token_url, "client", "secret")
    error = await failure(refresher)
    assert isinstance(error, ConfigurationError)
    assert "token-vault[http]" in str(error)
    assert error.__context__ is None


def test_providers_can_be_imported_without_any_http_library():
    blocked = "import sys; sys.modules.update(dict.fromkeys(['httpx', 'httpx2', 'requests', 'google', 'google.auth']))"
    code = f"{blocked}; from vault_adapters.providers import presets; presets.google('client', 'secret')"
    subprocess.run([sys.executable, "-c", code], check=True)
