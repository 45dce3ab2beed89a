"""What a host's developer and operator meet: one application opened twice, typing errors, and what the log tells."""

import logging
import sqlite3
from contextlib import asynccontextmanager, closing
from urllib.parse import parse_qsl, urlsplit

import pytest
from fastapi import FastAPI
from starlette.routing import Router
from tests.adapters.connect.applications import (
    CALLBACK,
    agree,
    client_of,
    tenant_of,
)
from tests.adapters.connect.browser import REDIRECT_URI

from vault_adapters import (
    Account,
    ConsentRequiredError,
    InvalidInputError,
    ProviderConfigurationError,
    TokenKind,
    TokenSet,
    VaultConfig,
    open_vault,
)
from vault_adapters.connect import Connector
from vault_adapters.connect.settling import settling
from vault_adapters.connect.starlette import routes
from vault_adapters.testing import memory_vault

SECRET = "the encryption secret of a host's tests"


@pytest.fixture
def connector(vault, provider):
    return Connector(vault, {"local": provider.refresher()}, redirect_uri=CALLBACK)


def stating(app, state):
    """Give requests the state of a lifespan, as a server does."""

    async def with_state(scope, receive, send):
        await app({**scope, "state": dict(state)}, receive, send)

    return with_state


async def test_an_application_that_is_opened_again_uses_its_new_vault(provider):
    """The routes exist once; each run of the lifespan opens a vault, as each test client of a host does."""

    @asynccontextmanager
    async def lifespan(_):
        providers = {"local": provider.refresher()}
        async with memory_vault(refreshers=providers) as vault:
            yield {"connector": Connector(vault, providers, redirect_uri=CALLBACK), "vault": vault}

    app = FastAPI(lifespan=lifespan)
    app.mount("/connect", Router(routes(lambda request: request.state.connector, tenant=tenant_of, done="/done")))
    for _ in range(2):
        async with lifespan(app) as state, client_of(stating(app, state)) as browser:
            finished = await browser.get(await agree(browser, "http://localhost/connect/local"))
            assert (finished.status_code, finished.headers["location"]) == (303, "/done")
            assert len((await state["vault"].list_accounts("t1")).items) == 1


async def test_routes_check_their_arguments_at_once(connector):
    with pytest.raises(InvalidInputError, match="done must be"):
        routes(lambda request: connector, tenant=tenant_of, done="//evil.example")
    with pytest.raises(InvalidInputError, match="connector must be"):
        routes(None, tenant=tenant_of)


async def test_a_lambda_may_return_what_must_be_awaited(make_app, connector, vault):
    async def later(text):
        return text

    app = make_app(connector, tenant=lambda request: later("t2"), session=lambda request: later("s"))
    async with client_of(app) as browser:
        finished = await browser.get(await agree(browser, "http://localhost/connect/local"))
    assert finished.status_code == 303
    assert len((await vault.list_accounts("t2")).items) == 1


ANA = Account("t1", "local", "user-1")


@pytest.mark.parametrize("account", [ANA, None], ids=["of the account", "without one"])
async def test_what_an_api_asks_for_is_asked_of_the_user(make_app, connector, vault, account):
    """Step-up: the host keeps the error of `VaultAuth` in its session, and its page begins as always."""
    await vault.store_token_set(ANA, TokenSet("a", "r", scopes=("openid", "calendar")))
    asked = ConsentRequiredError(scopes=("mail.send",), parameters={"acr_values": "mfa"}, account=account)
    async with client_of(make_app(connector, challenge=lambda request: asked)) as browser:
        begun = await browser.post("http://localhost/connect/local")
        sent = dict(parse_qsl(urlsplit(begun.headers["location"]).query))
        assert sent["acr_values"] == "mfa"
        assert {"mail.send", *(["calendar"] if account else [])} <= set(sent["scope"].split())
        assert begun.status_code == 303
        agreed = await browser.get(begun.headers["location"] + "&answer=ben@example.com")
        finished = await browser.get(agreed.headers["location"])
        assert finished.status_code == (400 if account else 303)  # the challenge's account is connected, no other


@pytest.mark.parametrize("account", [Account("t2", "local", "user-1"), Account("t1", "other", "user-1")])
async def test_what_another_accounts_api_asks_for_is_not_asked(make_app, connector, account):
    async def kept(request):
        return ConsentRequiredError(scopes=("mail.send",), account=account)

    async with client_of(make_app(connector, challenge=kept)) as browser:
        begun = await browser.post("http://localhost/connect/local")
        assert (begun.status_code, "mail.send" in begun.headers["location"]) == (303, False)


@pytest.mark.parametrize("wrong", ["mail.send", ConsentRequiredError(parameters={"redirect_uri": "https://evil"})])
async def test_a_challenge_of_a_host_that_is_none_begins_nothing(make_app, connector, wrong):
    async with client_of(make_app(connector, challenge=lambda request: wrong)) as browser:
        begun = await browser.post("http://localhost/connect/local")
        assert (begun.status_code, "location" in begun.headers, "evil" in begun.text) == (400, False, False)


async def test_a_mistyped_provider(make_app, connector, caplog):
    caplog.set_level(logging.INFO, "vault_adapters.connect")
    async with client_of(make_app(connector)) as browser:
        answer = await browser.post("http://localhost/connect/lokal")
    assert (answer.status_code, answer.text) == (404, "There is no such provider here.\n")
    assert [(record.levelname, record.message) for record in of_the_vault(caplog)] == [
        ("WARNING", "a request to connect an account is not valid: provider must be one of local")
    ]


async def test_the_log_names_what_the_service_must_mend(make_app, connector, provider, caplog):
    caplog.set_level(logging.INFO, "vault_adapters.connect")
    async with client_of(make_app(connector)) as browser:
        callback = await agree(browser, "http://localhost/connect/local")
        provider.client_secret = "another secret"
        assert (await browser.get(callback)).status_code == 500
    [record] = of_the_vault(caplog)
    expected = "an account at local was not connected (provider_configuration, invalid_client)"
    assert (record.levelname, record.message) == ("WARNING", expected)


async def test_a_data_key_that_cannot_be_used_is_for_the_service_to_mend(make_app, provider, caplog, tmp_path):
    config = VaultConfig(f"sqlite:///{tmp_path}/vault.db", encryption_secret=SECRET, scrypt_log2_n=14)
    async with open_vault(config) as vault:
        await vault.store_token(Account("t1", "local").key(TokenKind.API_KEY), "a key")
    with closing(sqlite3.connect(tmp_path / "vault.db")) as database, database:
        database.execute("UPDATE token_vault_data_key_wrap SET wrapped = zeroblob(60) WHERE tenant_id = 't1'")
    caplog.set_level(logging.INFO, "vault_adapters.connect")
    async with open_vault(config) as vault:
        connector = Connector(vault, {"local": provider.refresher()}, redirect_uri=CALLBACK)
        async with client_of(make_app(connector)) as browser:
            answer = await browser.post("http://localhost/connect/local")
    assert (answer.status_code, answer.text) == (500, told_later("decryption_failed"))
    [record] = of_the_vault(caplog)
    expected = "an account at a provider was not connected (decryption_failed)"
    assert (record.levelname, record.message) == ("WARNING", expected)


async def test_what_nobody_expected_is_for_the_service_to_mend(make_app, vault, provider, caplog):
    caplog.set_level(logging.INFO, "vault_adapters.connect")
    connector = Connector(vault, {"local": provider.refresher()}, redirect_uri=CALLBACK)

    @settling
    async def broken(request):
        raise KeyError("a text of the provider")

    async with client_of(make_app(connector, session=broken)) as browser:
        answer = await browser.get("http://localhost/connect/callback?code=a&state=b")
    assert (answer.status_code, answer.text) == (500, told_later("connect_broken"))
    [record] = of_the_vault(caplog)
    expected = "an account at a provider was not connected (connect_broken, connecting broke off (KeyError))"
    assert (record.levelname, record.message) == ("WARNING", expected)


def told_later(code):
    return f"The account could not be connected ({code}). Try again later.\n"


async def test_what_a_user_does_is_no_warning(make_app, connector, caplog):
    caplog.set_level(logging.INFO, "vault_adapters.connect")
    async with client_of(make_app(connector)) as browser:
        await browser.get(await agree(browser, "http://localhost/connect/local", "deny"))
        await browser.get("http://localhost/connect/callback?code=a&state=b")
    assert [(record.levelname, record.message) for record in of_the_vault(caplog)] == [
        ("INFO", "an account at local was not connected (authorization_refused, access_denied)"),
        ("INFO", "an account at a provider was not connected (state_refused, unreadable)"),
    ]


async def test_an_error_of_a_callback_names_the_provider(vault, provider, browser):
    connector = Connector(vault, {"local": provider.refresher()}, redirect_uri=REDIRECT_URI)
    start = await connector.begin("t1", "local", session="s")
    query = await browser.visit(f"{start.url}&login_hint=ana%40example.com")
    provider.client_secret = "another secret"
    with pytest.raises(ProviderConfigurationError) as caught:
        await connector.finish(query, session="s")
    assert (caught.value.account.tenant_id, caught.value.account.provider) == ("t1", "local")


def of_the_vault(caplog):
    return [record for record in caplog.records if record.name.startswith("vault_adapters.connect")]


@pytest.mark.parametrize(
    ("redirect_uri", "warnings"),
    [
        ("http://localhost/callback", 1),
        ("http://localhost/connect/callback", 0),
        ("https://app.example/behind/a/proxy/connect/callback", 0),
    ],
)
async def test_a_redirect_uri_that_leads_to_another_page(make_app, vault, provider, caplog, redirect_uri, warnings):
    connector = Connector(vault, {"local": provider.refresher()}, redirect_uri=redirect_uri)
    async with client_of(make_app(connector)) as browser:
        for _ in range(2):  # it is said once
            assert (await browser.post("http://localhost/connect/local")).status_code == 303
    said = [record.message for record in of_the_vault(caplog)]
    expected = "the path of the redirect URI does not end with '/connect/callback', the path of the callback's page"
    assert said == [expected] * warnings
