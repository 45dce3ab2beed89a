"""API keys that do not expire: the vault and its HTTP clients serve them without a refresher."""

import base64
from datetime import timedelta

import aiohttp
import httpx2
import pytest
import requests
from tests.support.scripted_provider import Answer, scripted_provider

from vault_adapters import (
    Account,
    ConfigurationError,
    InvalidInputError,
    ProviderConfigurationError,
    ReauthorizationRequiredError,
    Secret,
    TokenKind,
    TokenNotFoundError,
    TokenSet,
    VaultError,
)
from vault_adapters.clients.aiohttp import VaultAuth as AiohttpVaultAuth
from vault_adapters.clients.httpx2 import VaultAuth
from vault_adapters.clients.requests import VaultAuth as RequestsVaultAuth
from vault_adapters.providers import load_profile, refresher, static_key
from vault_adapters.testing import ManualClock, ScriptedRefresher, memory_sync_vault, memory_vault

BASIC = f"Basic {base64.b64encode(b'SK1:secret').decode()}"
minute = timedelta(minutes=1)
KEYS = {
    "stripe": ("api.stripe.com", Secret("sk_test_1"), ("authorization", "Bearer sk_test_1")),
    "sendgrid": ("api.sendgrid.com", Secret("SG.a-1.b_2"), ("authorization", "Bearer SG.a-1.b_2")),
    "openai": ("api.openai.com", Secret("sk-proj-1"), ("authorization", "Bearer sk-proj-1")),
    "anthropic": ("api.anthropic.com", Secret("sk-ant-1"), ("x-api-key", "sk-ant-1")),
    "twilio": ("api.twilio.com", Secret.from_fields(sid="SK1", secret="secret"), ("authorization", BASIC)),
    "clerk": ("api.clerk.com", Secret("sk_live_1"), ("authorization", "Bearer sk_live_1")),
}
PROFILE = """
name = "acme"
title = "Acme"
docs = ["https://acme.example/docs"]
checked = 2026-12-01
api_hosts = ["127.0.0.1"]

[api]
header = "X-Acme-Key"
scheme = ""

[request]
grant = "none"
"""


def key_of(provider):
    return Account("t1", provider).key(TokenKind.API_KEY)


@pytest.fixture
def acme(tmp_path):
    (tmp_path / "acme.toml").write_text(PROFILE)
    return {"acme": refresher(load_profile(tmp_path / "acme.toml"))}


@pytest.mark.parametrize("provider", KEYS)
async def test_a_key_goes_to_its_provider_in_the_providers_header(provider):
    host, key, (name, value) = KEYS[provider]
    sent = []

    def respond(request):
        sent.append(dict(request.headers.raw))
        return httpx2.Response(200)

    async with memory_vault() as vault, httpx2.AsyncClient(transport=httpx2.MockTransport(respond)) as http:
        await vault.store_token(key_of(provider), key)
        auth = VaultAuth(vault, Account("t1", provider))
        assert (await http.get(f"https://{host}/v1", auth=auth)).status_code == 200
        with pytest.raises(ConfigurationError) as caught:
            await http.get("https://evil.example/v1", auth=auth)
        assert caught.value.code == "host_not_allowed"
    [headers] = sent
    assert {key.lower(): text for key, text in headers.items()}[name.encode()] == value.encode()
    assert sum(key.lower() in (b"authorization", b"x-api-key") for key in headers) == 1


async def test_a_key_of_a_profile_of_ones_own_is_served(acme):
    with scripted_provider(lambda request: Answer(json={"key": request.headers.get("x-acme-key")})) as api:
        async with memory_vault(refreshers=acme) as vault, httpx2.AsyncClient() as http:
            await vault.store_token(key_of("acme"), "key-1")
            answer = await http.get(api.resource_url, auth=VaultAuth(vault, Account("t1", "acme")))
            assert answer.json() == {"key": "key-1"}


def test_a_key_is_served_to_a_program_without_an_event_loop(acme):
    with (
        scripted_provider(lambda request: Answer(json={"key": request.headers.get("x-acme-key")})) as api,
        memory_sync_vault(refreshers=acme) as vault,
        requests.Session() as session,
    ):
        session.trust_env = False
        vault.store_token(key_of("acme"), "key-1")
        answer = session.get(api.resource_url, auth=RequestsVaultAuth(vault, Account("t1", "acme")))
        assert answer.json() == {"key": "key-1"}


async def test_a_withdrawn_key_is_condemned_by_a_second_report(acme):
    clock = ManualClock()
    async with memory_vault(refreshers=acme, clock=clock) as vault:
        await vault.store_token(key_of("acme"), "key-1")
        account = Account("t1", "acme")
        for _ in range(2):
            clock.advance(minute)
            token = await vault.ensure_access_token(account)
            try:
                await vault.report_rejected(token)
            except ReauthorizationRequiredError:
                break
        with pytest.raises(ReauthorizationRequiredError) as caught:
            await vault.ensure_access_token(account)
        assert (caught.value.reason, caught.value.account) == ("invalid_token", account)
        await vault.store_token(key_of("acme"), "key-2")
        assert (await vault.ensure_access_token(account)).value.reveal() == "key-2"


async def test_an_expired_key_is_not_handed_out(acme):
    clock = ManualClock()
    async with memory_vault(refreshers=acme, clock=clock) as vault:
        await vault.store_token(key_of("acme"), "key-1", expires_at=clock.now() + minute)
        clock.advance(2 * minute)
        with pytest.raises(ReauthorizationRequiredError) as caught:
            await vault.ensure_access_token(Account("t1", "acme"))
        assert caught.value.reason == "token_expired"


async def test_nothing_stored_is_not_found_and_an_access_token_is_served_too():
    async with memory_vault() as vault:
        account = Account("t1", "stripe")
        with pytest.raises(TokenNotFoundError):
            await vault.ensure_access_token(account)
        await vault.store_token_set(account, TokenSet("of a connected account"))
        assert (await vault.ensure_access_token(account)).value.reveal() == "of a connected account"


@pytest.mark.parametrize("value", ["plain", Secret.from_fields(sid="SK1").reveal()])
async def test_a_key_that_lacks_a_field_is_not_sent(value):
    async with memory_vault() as vault, httpx2.AsyncClient() as http:
        await vault.store_token(key_of("twilio"), value)
        with pytest.raises(VaultError) as caught:
            await http.get("https://api.twilio.com/", auth=VaultAuth(vault, Account("t1", "twilio")))
        assert caught.value.code == "token_not_sendable"


async def test_a_refresher_of_the_host_comes_before_the_packages_profile():
    """An API key for which the host has a refresher is never sent to the API itself."""
    mine = ScriptedRefresher(TokenSet("access-1"), spends=TokenKind.API_KEY)
    async with memory_vault(refreshers={"stripe": mine}) as vault:
        await vault.store_token(key_of("stripe"), "key")
        assert (await vault.ensure_access_token(Account("t1", "stripe"))).value.reveal() == "access-1"
        await vault.store_token(key_of("unknown"), "key")
        with pytest.raises(ProviderConfigurationError):
            await vault.ensure_access_token(Account("t1", "unknown"))


async def test_nothing_is_refreshed(acme):
    async with memory_vault(refreshers=acme) as vault:
        await vault.store_token(key_of("acme"), "key-1")
        report = await vault.refresh_due()
        assert (report.claimed, report.refreshed) == (0, 0)
        with pytest.raises(ProviderConfigurationError):
            await vault.refresh_account(Account("t1", "acme"))


def test_a_client_is_refused():
    with pytest.raises(InvalidInputError):
        refresher("stripe", "client", "secret")


async def test_a_key_without_a_profile_needs_one_line():
    """Its hosts are enough; a rejected key names the operator, and its label finds it."""
    sent, clock = [], ManualClock()

    def respond(request):
        sent.append(request.headers["x-key"])
        return httpx2.Response(401)

    keys = {"acme": static_key(hosts=["api.acme.example"], header="X-Key", scheme="")}
    async with (
        memory_vault(refreshers=keys, clock=clock) as vault,
        httpx2.AsyncClient(transport=httpx2.MockTransport(respond)) as http,
    ):
        await vault.store_token(key_of("acme"), "key-1", label="Ann's key")
        [found] = (await vault.find("ann")).items
        assert (found.account, found.label) == (Account("t1", "acme"), "Ann's key")
        auth = VaultAuth(vault, Account("t1", "acme"))
        with pytest.raises(ConfigurationError):
            await http.get("https://evil.example/v1", auth=auth)
        clock.advance(minute)
        assert (await http.get("https://api.acme.example/v1", auth=auth)).status_code == 401
        clock.advance(minute)
        with pytest.raises(ReauthorizationRequiredError, match="operator") as caught:
            await http.get("https://api.acme.example/v1", auth=auth)
        assert (caught.value.code, caught.value.reason) == ("key_rejected", "invalid_token")
        with pytest.raises(ReauthorizationRequiredError, match="operator") as caught:
            await vault.ensure_access_token(Account("t1", "acme"))
        assert caught.value.code == "key_rejected"
    assert sent == ["key-1"] * 3


@pytest.mark.parametrize("hosts", [[], "api.acme.example", ["*.com"], ["{host}"], [7], None])
def test_a_key_goes_to_hosts_that_are_named(hosts):
    with pytest.raises(InvalidInputError):
        static_key(hosts=hosts)


async def test_a_label_stays_until_it_is_replaced():
    async with memory_vault() as vault:
        await vault.store_token(key_of("acme"), "key-1", label="first")
        await vault.store_token(key_of("acme"), "key-2")
        assert (await vault.get_account(Account("t1", "acme"))).label == "first"
        await vault.store_token(key_of("acme"), "key-3", label="second", expected_generation=2)
        assert (await vault.get_account(Account("t1", "acme"))).label == "second"


def test_the_sync_vault_takes_a_label_too():
    with memory_sync_vault() as vault:
        vault.store_token(key_of("acme"), "key-1", label="third")
        assert vault.get_account(Account("t1", "acme")).label == "third"


DEAD = {"ok": False, "error": {"code": 190}}
TELLS = PROFILE.replace('scheme = ""', 'scheme = ""\nerror = "error.code"\nrejected = ["190", "gone"]')
ANSWERS = [
    (Answer(json=DEAD), True),
    (Answer(status=400, json=DEAD), True),
    (Answer(json={"error": {"code": "gone"}}), True),
    (Answer(json={"error": {"code": 4}}), False),
    (Answer(json={"error": "190"}), False),
    (Answer(json=[190]), False),
    (Answer(json={"error": {"code": 190}, "more": "x" * 70_000}), False),
    (Answer(body=b'{"error": {"code": 190}}', headers={"Content-Type": "text/plain"}), False),
]


@pytest.fixture
def telling(tmp_path):
    (tmp_path / "acme.toml").write_text(TELLS)
    return {"acme": refresher(load_profile(tmp_path / "acme.toml"))}


async def reports_of(vault):
    return [event.action for event in (await vault.audit_events(tenant_id="t1")).items].count("token_suspected")


async def fetch_by_httpx2(vault, url, **options):
    async with httpx2.AsyncClient(trust_env=False) as http:
        return (await http.get(url, auth=VaultAuth(vault, Account("t1", "acme"), **options))).content


async def fetch_by_aiohttp(vault, url, **options):
    auth = AiohttpVaultAuth(vault, Account("t1", "acme"), **options)
    async with aiohttp.ClientSession(middlewares=[auth]) as http, http.get(url) as response:
        return await response.read()


@pytest.mark.parametrize(("answer", "is_dead"), ANSWERS)
@pytest.mark.parametrize("fetch", [fetch_by_httpx2, fetch_by_aiohttp])
async def test_a_dead_token_in_an_answer_is_reported(telling, answer, is_dead, fetch):
    """Some APIs say by a code in the body, and not by the status 401, that a token is dead; the profile knows it."""
    clock = ManualClock()
    with scripted_provider(lambda request: answer) as api:
        async with memory_vault(refreshers=telling, clock=clock) as vault:
            await vault.store_token(key_of("acme"), "key-1")
            clock.advance(minute)
            body = await fetch(vault, api.resource_url)
            assert (await reports_of(vault)) == is_dead
            assert body.startswith((b"{", b"["))
            await fetch(vault, api.resource_url, rejected=lambda response: False)
            assert (await reports_of(vault)) == is_dead


@pytest.mark.parametrize(("answer", "is_dead"), ANSWERS)
def test_a_dead_token_in_an_answer_is_reported_without_an_event_loop(telling, answer, is_dead):
    clock = ManualClock()
    with (
        scripted_provider(lambda request: answer) as api,
        memory_sync_vault(refreshers=telling, clock=clock) as vault,
        requests.Session() as session,
        httpx2.Client(trust_env=False) as http,
    ):
        session.trust_env = False
        vault.store_token(key_of("acme"), "key-1")
        clock.advance(minute)
        session.get(api.resource_url, auth=RequestsVaultAuth(vault, Account("t1", "acme")))
        assert [event.action for event in vault.audit_events().items].count("token_suspected") == is_dead
        vault.store_token(key_of("acme"), "key-2")
        clock.advance(minute)
        http.get(api.resource_url, auth=VaultAuth(vault, Account("t1", "acme")))
        assert [event.action for event in vault.audit_events().items].count("token_suspected") == 2 * is_dead
