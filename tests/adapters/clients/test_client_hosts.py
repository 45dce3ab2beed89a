"""Hosts that may get a token: every client refuses the others before anything leaves."""

import asyncio

import aiohttp
import google.auth.transport.requests
import httpx
import httpx2
import pytest
import requests
from tests.adapters.clients.small_vault import ACCOUNT, LOOPBACK, AsyncListedVault, ListedVault, token_of
from tests.support.scripted_provider import redirect_answer, scripted_provider

from vault_adapters import (
    Account,
    ConfigurationError,
    InvalidInputError,
    Rotation,
    TokenKind,
    TokenSet,
    VaultError,
)
from vault_adapters.clients.aiohttp import VaultAuth as AiohttpVaultAuth
from vault_adapters.clients.google import VaultCredentials
from vault_adapters.clients.hosts import Hosts, Place, place_of
from vault_adapters.clients.httpx import VaultAuth as HttpxVaultAuth
from vault_adapters.clients.httpx2 import VaultAuth as Httpx2VaultAuth
from vault_adapters.clients.requests import VaultAuth as RequestsVaultAuth
from vault_adapters.providers import presets, refresher
from vault_adapters.providers.dpop import DpopProver
from vault_adapters.runtime.tasks import AsyncioTasks
from vault_adapters.testing import memory_vault
from vault_domain.services.tokens.hosts import ApiHosts


def ask_httpx(library, auth):
    async def ask(vault, url, hosts):
        async with library.AsyncClient(auth=auth(vault, ACCOUNT, hosts=hosts), follow_redirects=True) as client:
            return (await client.get(url)).status_code

    return ask


async def ask_aiohttp(vault, url, hosts):
    async with (
        aiohttp.ClientSession(middlewares=[AiohttpVaultAuth(vault, ACCOUNT, hosts=hosts)]) as session,
        session.get(url) as response,
    ):
        return response.status


async def ask_requests(vault, url, hosts):
    with requests.Session() as session:
        session.trust_env = False
        return session.get(url, auth=RequestsVaultAuth(vault.blocking, ACCOUNT, hosts=hosts)).status_code


async def ask_google(vault, url, hosts):
    credentials = VaultCredentials(vault.blocking, ACCOUNT, hosts=hosts)
    with google.auth.transport.requests.AuthorizedSession(credentials) as session:
        session.trust_env = False
        return session.get(url).status_code


ASKING = {
    "httpx": ask_httpx(httpx, HttpxVaultAuth),
    "httpx2": ask_httpx(httpx2, Httpx2VaultAuth),
    "requests": ask_requests,
    "google": ask_google,
    "aiohttp": ask_aiohttp,
}
CLIENTS = {
    "httpx": HttpxVaultAuth,
    "httpx2": Httpx2VaultAuth,
    "requests": RequestsVaultAuth,
    "google": VaultCredentials,
    "aiohttp": AiohttpVaultAuth,
}


@pytest.fixture(params=ASKING)
def ask(request):
    return ASKING[request.param]


async def refused(ask, vault, url, hosts, code):
    with pytest.raises(ConfigurationError) as caught:
        await ask(vault, url, hosts)
    assert (caught.value.code, caught.value.account) == (code, ACCOUNT)


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "all_proxy"])
async def test_no_proxy_of_the_environment_gets_a_token_for_loopback(ask, api, monkeypatch, variable):
    """An http request to a proxy shows it the token, and the proxy's own loopback would get it."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, "http://proxy.invalid:3128")
    vault = AsyncListedVault("good", hosts=LOOPBACK)
    if ask is ask_aiohttp:  # it reads the environment only if it is told to
        assert await ask(vault, api.resource_url, LOOPBACK) == 200
    else:
        await refused(ask, vault, api.resource_url, LOOPBACK, "loopback_proxied")
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
    assert await ask(vault, api.resource_url, LOOPBACK) == 200


@pytest.mark.parametrize("named", [LOOPBACK, None])
async def test_no_proxy_of_an_aiohttp_session_gets_a_token_for_loopback(api, monkeypatch, named):
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("HTTP_PROXY", api.base_url)
    vault = AsyncListedVault("good", hosts=LOOPBACK)
    for options in ({"trust_env": True}, {"proxy": api.base_url}):
        auth = AiohttpVaultAuth(vault, ACCOUNT, hosts=named)
        async with aiohttp.ClientSession(middlewares=[auth], **options) as session:
            with pytest.raises(ConfigurationError) as caught:
                await session.get(api.resource_url)
        assert caught.value.code == "loopback_proxied"
    assert api.requests == []


async def test_another_host_is_refused_before_the_vault_is_asked(ask, api):
    vault = AsyncListedVault("good", hosts=LOOPBACK)
    await refused(ask, vault, api.resource_url, ["api.example.com", "*.example.com"], "host_not_allowed")
    assert (api.requests, vault.asked) == ([], 0)


async def test_without_hosts_the_profiles_hosts_count(ask, api):
    assert await ask(AsyncListedVault("good", hosts=["api.example.com", "127.0.0.1"]), api.resource_url, None) == 200
    await refused(ask, AsyncListedVault("good", hosts=["api.example.com"]), api.resource_url, None, "host_not_allowed")
    assert len(api.requests) == 1


async def test_without_hosts_and_profile_nothing_is_sent(ask, api):
    await refused(ask, AsyncListedVault("good"), api.resource_url, None, "hosts_unknown")
    assert api.requests == []


async def test_a_repetition_is_checked_with_the_new_tokens_hosts(ask, api):
    vault = AsyncListedVault("old", "good", hosts=["127.0.0.1"])
    vault.after_report = ["moved.example.com"]
    await refused(ask, vault, api.resource_url, None, "host_not_allowed")
    assert len(api.requests) == 1


async def test_http_is_refused_beyond_the_loopback(ask):
    await refused(ask, AsyncListedVault("good"), "http://192.0.2.1/", ["192.0.2.1"], "host_not_allowed")


async def test_a_redirect_to_another_host_carries_no_token(ask, api):
    # google-auth also reports a token when the other host answers 401, and tries twice more.
    vault = AsyncListedVault(*["good"] * 5)
    with scripted_provider(redirect_answer(api.resource_url)) as first:
        hosts = [first.base_url.removeprefix("http://")]
        assert await ask(vault, first.resource_url, hosts) == 401
        assert first.requests[0].headers["authorization"] == "Bearer good"
    assert all("authorization" not in request.headers for request in api.requests)
    assert vault.reported == [] or ask is ask_google


@pytest.mark.parametrize("token_type", ["DPoP", "dpop", "mac"])
async def test_a_token_that_needs_a_proof_is_not_sent_as_a_bearer_token(ask, api, token_type):
    with pytest.raises(VaultError) as caught:
        await ask(AsyncListedVault("good", token_type=token_type), api.resource_url, LOOPBACK)
    assert caught.value.code == "token_needs_proof"
    assert api.requests == []
    assert await ask(AsyncListedVault("good", token_type="bot"), api.resource_url, LOOPBACK) == 200


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    "hosts",
    [
        "api.example.com",
        [],
        [""],
        ["*"],
        ["*.com"],
        ["https://api.example.com"],
        ["a.b/c"],
        ["user@a.b"],
        ["a b"],
        [1],
        ["fa\u00df.example"],
    ],
)
def test_hosts_that_are_no_names_are_refused(client, hosts):
    with pytest.raises(InvalidInputError) as caught:
        CLIENTS[client](ListedVault("good"), ACCOUNT, hosts=hosts)
    assert "api.example.com/" not in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "url", "allowed"),
    [
        ("api.example.com", "https://api.example.com/a?b", True),
        ("API.Example.com", "https://api.EXAMPLE.com:443/", True),
        ("api.example.com", "http://api.example.com/", False),
        ("api.example.com", "http://api.example.com:443/", False),
        ("api.example.com", "https://api.example.com:8443/", False),
        ("api.example.com:8443", "https://api.example.com:8443/", True),
        ("api.example.com:8443", "https://api.example.com/", False),
        ("api.example.com", "https://api.example.com.evil.org/", False),
        ("api.example.com", "https://evil.org/api.example.com", False),
        ("api.example.com", "https://api.example.com@evil.org/", False),
        ("api.example.com", "https://evil.org\\@api.example.com/", False),
        ("api.example.com", "https://evil.org#@api.example.com/", False),
        ("api.example.com", "https://api.example.com./", False),
        ("*.example.com", "https://a.b.example.com/", True),
        ("*.example.com", "https://example.com/", False),
        ("*.example.com", "https://evilexample.com/", False),
        ("b\u00fccher.example", "https://xn--bcher-kva.example/", True),
        ("localhost", "http://localhost:8080/", True),
        ("[::1]", "http://[::1]:8080/", True),
        ("127.0.0.1:80", "http://127.0.0.1:8080/", False),
        ("localhost.example.com", "http://localhost.example.com/", False),
        ("127.0.0.1", "ftp://127.0.0.1/", False),
    ],
)
def test_which_urls_an_entry_covers(entry, url, allowed):
    try:
        Hosts([entry]).check(place_of(url), ACCOUNT)
    except ConfigurationError:
        assert not allowed
    else:
        assert allowed


def test_an_address_of_this_machine_may_be_reached_over_https_too():
    Hosts(["127.0.0.1"]).check(Place("https", "127.0.0.1", 8443), ACCOUNT)


async def test_a_profile_names_the_hosts_of_an_account():
    refreshers = {
        "google": refresher("google", "id", "secret"),
        "presets": presets.google("id", "secret"),
        "gitlab": refresher("gitlab", "id", "secret", instance=["gitlab.example.com", "own.example.org"]),
        "salesforce": refresher("salesforce", "id", "secret"),
        "okta": refresher("okta", "id", "secret", account_variables=lambda account: {"org": "acme.okta.com"}),
        "zendesk": refresher("zendesk", "id", "secret"),
    }
    # A vault without refreshers refuses no member when it stores it.
    async with memory_vault(refreshers=refreshers) as vault, memory_vault() as other:

        async def hosts_of(provider, **extra):
            account = Account("t", provider)
            await other.store_token_set(account, TokenSet("a", extra=extra))
            return await vault.api_hosts((await other.get_access_token(account)).token)

        assert await hosts_of("google") == await hosts_of("presets") == ("googleapis.com", "*.googleapis.com")
        assert await hosts_of("gitlab") == ("gitlab.example.com",)
        assert await hosts_of("gitlab", instance="own.example.org") == ("own.example.org",)
        with pytest.raises(ConfigurationError) as caught:
            await hosts_of("gitlab", instance="own.example.org/@evil.org")
        assert (caught.value.code, "evil" in str(caught.value)) == ("hosts_unknown", False)
        with pytest.raises(ConfigurationError) as caught:
            await hosts_of("gitlab", instance="evil.example")
        assert (caught.value.code, "evil" in str(caught.value)) == ("hosts_unknown", False)
        own = await hosts_of("salesforce", instance_url="https://acme.my.salesforce.com")
        assert own == ("acme.my.salesforce.com", "login.salesforce.com")
        for evil in (
            "https://evil.example",
            "https://evilsalesforce.com",
            "https://acme.my.salesforce.com.evil.example",
        ):
            with pytest.raises(ConfigurationError) as caught:
                await hosts_of("salesforce", instance_url=evil)
            assert (caught.value.code, "evil" in str(caught.value)) == ("hosts_unknown", False)
        assert await hosts_of("okta") == ("acme.okta.com",)
        with pytest.raises(ConfigurationError, match=r"zendesk: .* the variable subdomain is missing") as caught:
            await hosts_of("zendesk")
        assert caught.value.code == "hosts_unknown"


class Refresher:
    """Names the hosts of an account by its extra members."""

    rotation, spends = Rotation.strict(), TokenKind.REFRESH_TOKEN

    async def refresh(self, request):
        raise NotImplementedError

    async def hosts_of(self, account, extra):
        return ["api.example.com", extra["host"]]


async def test_a_vault_tells_the_hosts_of_its_refresher(caplog):
    async with memory_vault(refreshers={"acme": Refresher()}) as vault:
        for provider, extra, hosts in (
            ("acme", {"host": "one.example.com"}, ("api.example.com", "one.example.com")),
            ("acme", {}, ()),
            ("other", {"host": "one.example.com"}, ()),
        ):
            account = Account("t", provider)
            await vault.store_token_set(account, TokenSet("a", extra=extra))
            assert await vault.api_hosts((await vault.get_access_token(account)).token) == hosts
        with pytest.raises(InvalidInputError):
            await vault.api_hosts(token_of("a").info)
    assert "could not name its hosts (KeyError)" in caplog.text


async def test_variables_that_never_come_leave_the_hosts_unknown(caplog):
    """A client asks for the API hosts before each request. A callable that never returns must not hold the request."""

    async def never(account):
        await asyncio.Event().wait()

    hanging = refresher("okta", "id", "secret", account_variables=never)
    hosts = ApiHosts({ACCOUNT.provider: hanging}, {}.get, AsyncioTasks(), DpopProver, seconds=0.01)
    async with asyncio.timeout(60):
        assert await hosts.of(token_of("a")) == ()
    assert "could not name its hosts (TimeoutError)" in caplog.text
