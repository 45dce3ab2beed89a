"""Connecting an account at an OpenID provider on loopback that makes no mistake."""

import asyncio
import base64
import logging
from urllib.parse import parse_qsl, urlsplit

import pytest
from attrs import evolve
from joserfc import jwt
from joserfc.jwk import ECKey
from tests.adapters.connect.browser import REDIRECT_URI, parameters
from tests.adapters.providers.profiles.files import TABLES, values

from vault_adapters import (
    Account,
    AuthorizationRefusedError,
    ConfigurationError,
    ConnectError,
    InvalidInputError,
    OtherAccountError,
    ProviderConfigurationError,
    TokenKind,
)
from vault_adapters.connect import Connector
from vault_adapters.providers import SigningKey, refresher
from vault_adapters.providers.assertions import CLIENT_ASSERTION
from vault_adapters.providers.profiles import packaged_profile, profiles
from vault_adapters.providers.profiles.templates import Variable
from vault_adapters.testing.openid import LoopbackOpenIdProvider, openid_provider

ANA = Account("t1", "local", "user-1")


async def test_an_account_is_connected(connector, vault, provider, browser):
    query = await browser.connect(connector)
    info = await connector.finish(query, session="session")
    assert (info.account, info.label, info.state.value) == (ANA, "Ana", "connected")
    assert info.scopes == ("openid", "email", "profile", "offline_access")
    assert (await vault.get_token(ANA.key(TokenKind.REFRESH_TOKEN))).value.reveal().startswith("demo-refresh-")
    assert (provider.exchanged, provider.refused) == (1, 0)


async def test_the_request_is_as_the_standards_say(connector, provider):
    starts = [await connector.begin("tenant-one", "local", session="session", scopes=["calendar"]) for _ in range(2)]
    first, second = [dict(parse_qsl(urlsplit(start.url).query)) for start in starts]
    assert starts[0].url.startswith(f"{provider.issuer}/authorize?")
    assert {name: first[name] for name in ("response_type", "client_id", "redirect_uri", "code_challenge_method")} == {
        "response_type": "code",
        "client_id": provider.client_id,
        "redirect_uri": REDIRECT_URI,
        "code_challenge_method": "S256",
    }
    assert first["scope"] == "calendar openid email profile offline_access"
    assert first["state"] == starts[0].state
    assert len({first["nonce"], second["nonce"], first["code_challenge"], second["code_challenge"]}) == 4
    # Some providers refuse a state of more than 500 characters.
    assert len(first["state"]) <= 500
    assert not any(text in first["state"] for text in ("tenant", "session", "local"))


async def test_another_process_finishes_what_one_has_begun(tmp_path, provider, browser):
    """One process begins the connection, and another process gets the callback."""
    from vault_adapters import VaultConfig, open_vault

    config = VaultConfig(
        f"sqlite:///{tmp_path}/vault.db", encryption_secret="the encryption secret of two processes", scrypt_log2_n=14
    )
    async with open_vault(config) as one, open_vault(config) as other:
        connectors = [
            Connector(each, {"local": provider.refresher()}, redirect_uri=REDIRECT_URI) for each in (one, other)
        ]
        query = await browser.connect(connectors[0])
        assert (await connectors[1].finish(query, session="session")).account == ANA


async def test_two_tabs_are_two_connections(connector, browser):
    first = await browser.connect(connector, user="ana@example.com")
    second = await browser.connect(connector, user="ben@example.com")
    assert (await connector.finish(second, session="session")).account.identifier == "user-2"
    assert (await connector.finish(first, session="session")).account.identifier == "user-1"


async def test_connecting_again_replaces_the_tokens_of_the_account(connector, vault, browser):
    await connector.finish(await browser.connect(connector), session="session")
    before = await vault.get_token(ANA.key(TokenKind.ACCESS_TOKEN))
    await vault.mark_token_invalid(before, "invalid_token")
    info = await connector.finish(await browser.connect(connector, account=ANA), session="session")
    after = await vault.get_token(ANA.key(TokenKind.ACCESS_TOKEN))
    assert (info.account, info.state.value) == (ANA, "connected")
    assert (after.info.generation, after.value == before.value) == (before.info.generation + 1, False)


async def test_another_account_is_refused_when_one_is_connected_again(connector, vault, browser):
    await connector.finish(await browser.connect(connector), session="session")
    query = await browser.connect(connector, user="ben@example.com", account=ANA)
    with pytest.raises(OtherAccountError) as caught:
        await connector.finish(query, session="session")
    assert (caught.value.code, caught.value.account) == ("other_account", ANA)
    page = await vault.list_accounts("t1")
    assert [(info.account, info.label) for info in page.items] == [(ANA, "Ana")]
    assert (await vault.get_token(ANA.key(TokenKind.ACCESS_TOKEN))).info.generation == 1


async def test_the_provider_refuses(connector, vault, browser):
    query = await browser.connect(connector, user="deny")
    assert parameters(query)["error"] == "access_denied"
    with pytest.raises(AuthorizationRefusedError) as caught:
        await connector.finish(query, session="session")
    assert caught.value.reason == "access_denied"
    assert (await vault.list_accounts("t1")).items == ()


async def test_an_error_of_no_standard_is_shown_to_developers_only(connector, browser, caplog):
    query = await browser.connect(connector, user="deny")
    invented = parameters(query) | {"error": "<script>alert(1)</script>", "error_description": "not in this plan"}
    logger = logging.getLogger("vault_adapters.providers.descriptions")
    logger.setLevel(logging.DEBUG)
    try:
        with pytest.raises(AuthorizationRefusedError) as caught:
            await connector.finish(invented, session="session")
    finally:
        logger.setLevel(logging.NOTSET)
    assert (caught.value.reason, "script" in str(caught.value)) == ("refused", False)
    assert "not in this plan" in caplog.text  # the developer has asked for it


async def test_the_provider_rejects_the_client(vault, provider, browser):
    wrong = refresher(provider.profile(), provider.client_id, "another secret")
    connector = Connector(vault, {"local": wrong}, redirect_uri=REDIRECT_URI)
    query = await browser.connect(connector)
    with pytest.raises(ProviderConfigurationError) as caught:
        await connector.finish(query, session="session")
    assert caught.value.reason == "invalid_client"


async def test_a_connected_account_is_refreshed_by_its_vault(provider, browser):
    from vault_adapters.testing import memory_vault

    async with memory_vault(refreshers={"local": provider.refresher()}) as vault:
        connector = Connector(vault, {"local": provider.refresher()}, redirect_uri=REDIRECT_URI)
        await connector.finish(await browser.connect(connector), session="session")
        await vault.refresh_account(ANA)
    assert provider.refreshed == 1


async def test_a_sync_vault_is_called_on_threads(tmp_path, provider, browser):
    from vault_adapters import VaultConfig, open_sync_vault

    config = VaultConfig(
        f"sqlite:///{tmp_path}/vault.db", encryption_secret="the encryption secret of a sync vault", scrypt_log2_n=14
    )
    vault = await asyncio.to_thread(open_sync_vault(config).open)
    try:
        connector = Connector(vault, {"local": provider.refresher()}, redirect_uri=REDIRECT_URI)
        query = await browser.connect(connector)
        info = await connector.finish(query, session="session")
        kept = await asyncio.to_thread(vault.get_account, info.account)
    finally:
        await asyncio.to_thread(vault.close)
    assert (kept.account, kept.label) == (ANA, "Ana")


@pytest.mark.parametrize(
    "options",
    [
        {"extra": {"state": "mine"}},
        {"extra": {"redirect_uri": "https://evil.example"}},
        {"extra": {"scope": "all"}},
        {"extra": ["login_hint"]},
        {"extra": {"login_hint": 1}},
        {"session": ""},
        {"account": Account("t2", "local", "user-1")},
        {"account": Account("t1", "other", "user-1")},
        {"account": Account("t1", "local")},
        {"provider": "unknown"},
        {"scopes": "calendar"},
    ],
    ids=str,
)
async def test_a_wrong_argument_is_refused(connector, options):
    arguments = {"provider": "local", "session": "session"} | options
    with pytest.raises(InvalidInputError):
        await connector.begin("t1", **arguments)


async def test_what_cannot_be_connected_is_refused(vault, provider):
    profile = provider.profile()
    with pytest.raises(ConfigurationError, match="client"):
        Connector(vault, {"local": profile}, redirect_uri=REDIRECT_URI)
    with pytest.raises(ConfigurationError):
        Connector(vault, {}, redirect_uri=REDIRECT_URI)
    with pytest.raises(InvalidInputError, match="redirect_uri"):
        Connector(vault, {"local": provider.refresher()}, redirect_uri="http://example.com/callback")
    with pytest.raises(InvalidInputError, match="vault"):
        Connector(object(), {"local": provider.refresher()}, redirect_uri=REDIRECT_URI)


NOT_YET = {"linear", "shopify"}
"""These providers give the identifier of an account by GraphQL only."""


async def test_each_profile_of_the_package_can_be_connected(vault):
    """The request fits the profile, and the state fits into its limit; the provider's server is not asked."""
    connected = set()
    for name in profiles():
        profile = packaged_profile(name)
        if profile.authorization_url is None or name in NOT_YET:
            continue
        variables = values(TABLES[name])
        listed = {each: variables[each] for each, facts in profile.variables.items() if facts.free_host}
        connector = Connector(vault, {name: refresher(name, "client", "secret", **listed)}, redirect_uri=REDIRECT_URI)
        start = await connector.begin("t1", name, session="session", scopes=["read"], extra=variables)
        sent = dict(parse_qsl(urlsplit(start.url).query))
        assert start.url.startswith(profile.url("authorization_url", variables)), name
        assert ("code_challenge" in sent) == (profile.authorization.pkce != "unsupported"), name
        asked = sent[profile.authorization.scopes_parameter].split(profile.authorization.scope_separator)
        assert asked == list(dict.fromkeys(["read", *profile.authorization.scopes])), name
        assert len(sent["state"]) <= 700, (name, len(sent["state"]))
        connected.add(name)
    assert len(connected) >= 25


async def test_the_values_of_variables_stay_with_the_tokens(vault, provider, browser):
    """A refresher finds them there, and so does code that calls the provider's API."""
    workspace = Variable(pattern="[a-z]+", about="the workspace")
    profile = evolve(provider.profile(), api_hosts=("{workspace}.example.com",), variables={"workspace": workspace})
    client = refresher(profile, provider.client_id, provider.client_secret)
    connector = Connector(vault, {"local": client}, redirect_uri=REDIRECT_URI)
    start = await connector.begin(
        "t1", "local", session="session", extra={"login_hint": "ana@example.com", "workspace": "acme"}
    )
    assert "acme" not in start.url
    info = await connector.finish(await browser.visit(start.url), session="session")
    assert info.account.identifier == "acme:user-1"
    assert (await vault.get_token(info.account.key(TokenKind.ACCESS_TOKEN))).extra == {"workspace": "acme"}


class KeyedProvider(LoopbackOpenIdProvider):
    """Knows its client by a public key, and checks its assertions (RFC 7523 section 3)."""

    audience, client_key, seen = None, ECKey.generate_key("P-256", private=True), ()

    def token(self, form, authorization):
        if authorization or form.get("client_assertion_type") != CLIENT_ASSERTION:
            return self._refuse("invalid_client")
        claims = jwt.decode(form["client_assertion"], self.client_key, algorithms=["ES256"]).claims
        self.seen = (*self.seen, claims["jti"])
        named = (claims["iss"], claims["sub"], claims["aud"])
        if named != (self.client_id, self.client_id, self.audience or f"{self.issuer}/token"):
            return self._refuse("invalid_client")
        pair = base64.b64encode(f"{self.client_id}:{self.client_secret}".encode()).decode()
        return super().token(form, f"Basic {pair}")


@pytest.mark.parametrize("audience", [None, "https://issuer.example"])
async def test_a_client_with_a_key_sends_an_assertion_with_the_code(vault, browser, audience):
    with openid_provider(KeyedProvider) as keyed:
        keyed.audience = audience
        key = SigningKey.from_jwk(keyed.client_key.as_dict(private=True))
        client = refresher(keyed.profile(), keyed.client_id, signing_key=key, audience=audience)
        connector = Connector(vault, {"local": client}, redirect_uri=REDIRECT_URI)
        for _ in range(2):
            info = await connector.finish(await browser.connect(connector), session="session")
            assert info.account == ANA
        assert len(set(keyed.seen)) == keyed.exchanged == 2


async def test_a_key_that_cannot_sign_sends_no_code(vault, provider, browser, caplog):
    key = SigningKey.from_signer(lambda content: 1 / 0, algorithm="RS256")
    client = refresher(provider.profile(), provider.client_id, signing_key=key)
    connector = Connector(vault, {"local": client}, redirect_uri=REDIRECT_URI)
    with pytest.raises(ConnectError) as caught:
        await connector.finish(await browser.connect(connector), session="session")
    assert caught.value.code == "provider_unavailable"
    assert "signed (ZeroDivisionError)" in caplog.text
    assert (provider.exchanged, provider.refused) == (0, 0)
