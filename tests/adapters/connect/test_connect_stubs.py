"""Providers that need more than a token endpoint and userinfo, each as a real server on loopback."""

import hashlib
import hmac
import json
from datetime import timedelta
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2
import pytest
from tests.adapters.connect.stubs import CALLBACK, Stub, connected, place_of, reached
from tests.support.scripted_provider import Answer

from vault_adapters import (
    Account,
    ConfigurationError,
    ConnectError,
    ConsentRequiredError,
    IdentityRefusedError,
    InvalidInputError,
    OtherAccountError,
    ReauthorizationRequiredError,
    TokenKind,
    TokenSet,
)
from vault_adapters.clients.httpx2 import VaultAuth
from vault_adapters.connect import Connector
from vault_adapters.connect.parameters import is_signed, read_callback
from vault_adapters.providers import refresher
from vault_adapters.providers.profiles import packaged_profile
from vault_adapters.testing import memory_vault
from vault_adapters.testing.openid import LoopbackOpenIdProvider
from vault_domain.entities.secret import Secret

TOKENS = {"access_token": "access-1", "refresh_token": "refresh-1", "expires_in": 3600, "token_type": "Bearer"}


async def kept(vault, info):
    return dict((await vault.get_token(info.account.key(TokenKind.ACCESS_TOKEN))).extra)


async def nothing_stored(vault):
    return (await vault.list_accounts("t1")).items == ()


ATLASSIAN = {
    "auth.atlassian.com/oauth/token": TOKENS,
    "api.atlassian.com/me": {"account_id": "5b10", "email": "ana@example.com"},
    "api.atlassian.com/oauth/token/accessible-resources": [
        {"id": "1324a887", "url": "https://acme.atlassian.net", "scopes": ["read:jira-work"]},
        {"id": "99f2", "url": "https://beta.atlassian.net", "scopes": []},
    ],
}


async def test_all_sites_of_atlassian_are_kept(vault):
    stub = Stub(ATLASSIAN)
    info = await connected(vault, "atlassian", stub)
    assert info.account.identifier == "5b10"
    assert await kept(vault, info) == {"cloud_ids": "1324a887,99f2"}
    assert [request.headers["authorization"] for request in stub.requests[1:]] == ["Bearer access-1"] * 2


@pytest.mark.parametrize(
    "answer", [Answer(status=500), Answer(body=b"<html>"), Answer(json="text"), Answer(drop="fin")]
)
async def test_without_an_answer_to_the_further_request_nothing_is_stored(vault, answer):
    stub = Stub({**ATLASSIAN, "api.atlassian.com/oauth/token/accessible-resources": lambda _: answer})
    with pytest.raises(ConnectError) as caught:
        await connected(vault, "atlassian", stub)
    assert caught.value.code == "provider_unavailable"
    assert await nothing_stored(vault)


LINEAR = {
    "api.linear.app/oauth/token": TOKENS,
    "api.linear.app/graphql": {
        "data": {"viewer": {"id": "u-1", "email": "ana@example.com", "organization": {"id": "o-1", "urlKey": "acme"}}}
    },
}


async def test_linears_user_is_asked_by_graphql(vault):
    stub = Stub(LINEAR)
    info = await connected(vault, "linear", stub)
    assert (info.account, info.label) == (Account("t1", "linear", "u-1"), "ana@example.com")
    assert await kept(vault, info) == {"organization_id": "o-1"}
    asked = stub.requests[-1]
    assert (asked.method, asked.headers["content-type"]) == ("POST", "application/json")
    assert "viewer" in json.loads(asked.body)["query"]


async def test_an_error_of_graphql_stores_nothing(vault):
    refused = {"errors": [{"message": "Authentication required"}]}
    with pytest.raises(IdentityRefusedError) as caught:
        await connected(vault, "linear", Stub({**LINEAR, "api.linear.app/graphql": refused}))
    assert caught.value.reason == "identifier"
    assert await nothing_stored(vault)


SHOP = "acme.myshopify.com"
SHOPIFY = {f"{SHOP}/admin/oauth/access_token": {**TOKENS, "scope": "read_orders", "refresh_token_expires_in": 7776000}}


def signed(given, secret="secret", **changed):
    """Return Shopify's callback, as its own library signs it; ``changed`` replaces parameters after the signing."""
    parameters = {**given, "shop": SHOP, "host": "YWRtaW4uc2hvcGlmeS5jb20=", "timestamp": "1337178173"}
    text = urlencode(sorted(parameters.items())).replace("+", "%20")
    digest = hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()
    return urlencode({k: v for k, v in {**parameters, "hmac": digest, **changed}.items() if v is not None})


async def test_a_shop_of_shopify_is_its_own_account(vault):
    stub = Stub(SHOPIFY)
    info = await connected(vault, "shopify", stub, signed, extra={"shop": "acme"})
    assert (info.account, info.label) == (Account("t1", "shopify", "acme"), "acme")
    assert await kept(vault, info) == {"shop": "acme"}  # the vault refreshes the account there
    [request] = stub.requests
    assert json.loads(request.body)["expiring"] == "1"
    again = await connected(vault, "shopify", stub, signed, shop="acme")  # all accounts of the host are of one shop
    assert again.account == info.account


async def test_the_api_of_a_shop_gets_the_token_in_its_own_header():
    def orders(request):
        return Answer(status=200 if request.headers.get("x-shopify-access-token") == "access-1" else 401)

    stub, known = (
        Stub({**SHOPIFY, f"{SHOP}/admin/api/orders.json": orders}),
        refresher("shopify", "client", "s", private_addresses=True),
    )
    async with reached(stub) as http, memory_vault(refreshers={"shopify": known}) as vault:
        info = await connected(vault, "shopify", stub, signed, extra={"shop": "acme"})
        answer = await http.get(f"https://{SHOP}/admin/api/orders.json", auth=VaultAuth(vault, info.account))
        assert answer.status_code == 200
        with pytest.raises(ConfigurationError):
            await http.get("https://other.myshopify.com/admin", auth=VaultAuth(vault, info.account))


@pytest.mark.parametrize(
    "callback",
    [
        lambda given: signed(given, "another secret"),
        lambda given: signed(given, hmac=None),
        lambda given: signed(given, hmac=""),
        lambda given: signed(given, hmac="\u00e9"),
        lambda given: signed(given) + "&hmac=0",
        lambda given: signed(given, code="stolen"),
        lambda given: signed(given) + "&more=1",
    ],
    ids=["other secret", "missing", "empty", "not ascii", "twice", "other code", "more"],
)
async def test_a_callback_that_shopify_did_not_sign_is_refused_before_anything_is_sent(vault, callback):
    stub = Stub(SHOPIFY)
    with pytest.raises(IdentityRefusedError) as caught:
        await connected(vault, "shopify", stub, callback, extra={"shop": "acme"})
    assert (caught.value.reason, stub.requests) == ("hmac", [])
    assert await nothing_stored(vault)


def test_shopifys_own_example_of_a_signature():
    query = "code=0907a61c0c8d55e99db179b68161bc00&shop=some-shop.myshopify.com&timestamp=1337178173&hmac="
    digest = "4712bf92ffc2917d15a2f5a273e39f0116667419aa4b6ac0b3baaf26fa3c4d20"
    assert is_signed(read_callback(query + digest), "hmac", Secret("hush"))
    assert not is_signed(read_callback(query + digest[::-1]), "hmac", Secret("hush"))


async def test_a_public_client_cannot_check_a_signature(vault):
    with pytest.raises(ConfigurationError, match="client_secret"):
        Connector(
            vault, {"shopify": refresher("shopify", "client", auth_method="none")}, redirect_uri="https://a.example"
        )


GITHUB = {
    "github.com/login/oauth/access_token": {**TOKENS, "refresh_token_expires_in": 15897600},
    "api.github.com/user": {"id": 583231, "login": "octocat"},
}


async def test_the_installation_of_a_github_app_is_kept_and_proves_nothing(vault):
    info = await connected(vault, "github", Stub(GITHUB), {"installation_id": "42", "setup_action": "install"})
    assert info.account.identifier == "583231"
    assert await kept(vault, info) == {"installation_id": "42"}
    without = await connected(vault, "github", Stub(GITHUB))
    assert without.account == info.account


ZOHO = {
    "accounts.zoho.eu/oauth/v2/token": {**TOKENS, "api_domain": "https://www.zohoapis.eu"},
    "accounts.zoho.eu/oauth/user/info": {"ZUID": 7, "Email": "ana@example.com"},
}


@pytest.mark.parametrize(
    "server",
    [
        "https://accounts.zoho.eu.evil.example",
        "https://evil.example/accounts.zoho.eu",
        "https://accounts.zoho.eu@evil.example",
        "http://accounts.zoho.eu",
        "accounts.zoho.eu:8443",
        "127.0.0.1",
    ],
)
async def test_a_server_that_is_not_zohos_gets_no_code(vault, server):
    stub = Stub(ZOHO)
    with pytest.raises(IdentityRefusedError) as caught:
        await connected(vault, "zoho", stub, {"accounts-server": server})
    assert (caught.value.reason, stub.requests) == ("callback", [])
    assert "evil" not in str(caught.value)
    assert await nothing_stored(vault)


def salesforce(*instances):
    """Salesforce, whose answers name these instances in turn."""
    tokens = iter({**TOKENS, "instance_url": instance, "refresh_token": None} for instance in instances)
    first = {**next(tokens), "refresh_token": "refresh-1"}
    answers = iter([first, *tokens])
    api = {f"{urlsplit(instance).netloc}/services/data": {} for instance in instances}
    user = {"sub": "https://login.salesforce.com/id/00D/005", "preferred_username": "ana@example.com"}
    at = "login.salesforce.com/services/oauth2"
    return Stub({f"{at}/token": lambda _: next(answers), f"{at}/userinfo": user, **api})


async def test_a_token_of_salesforce_goes_to_the_accounts_own_instance():
    stub = salesforce("https://acme.my.salesforce.com", "https://moved.my.salesforce.com/")
    async with reached(stub) as http:
        known = {"salesforce": refresher("salesforce", "client", "secret", client=http)}
        async with memory_vault(refreshers=known) as vault:
            info = await connected(vault, "salesforce", stub)
            auth = VaultAuth(vault, info.account)
            assert (await http.get("https://acme.my.salesforce.com/services/data", auth=auth)).status_code == 200
            for other in (
                "https://evil.my.salesforce.com/services/data",
                "https://moved.my.salesforce.com/services/data",
            ):
                with pytest.raises(ConfigurationError) as caught:
                    await http.get(other, auth=auth)
                assert caught.value.code == "host_not_allowed"
            await vault.refresh_account(info.account)  # the org has moved
            assert (await http.get("https://moved.my.salesforce.com/services/data", auth=auth)).status_code == 200


@pytest.mark.parametrize(
    "url", [None, "", "*.salesforce.com", "https://", "https://a@evil.example", "https://a b", "https://\u0430.example"]
)
async def test_a_token_whose_host_is_not_known_is_not_sent(url):
    async with memory_vault(refreshers={"salesforce": refresher("salesforce", "client", "secret")}) as vault:
        account = Account("t1", "salesforce", "ana")
        tokens = TokenSet("a", extra={} if url is None else {"instance_url": url})
        if url is not None:
            with pytest.raises(InvalidInputError) as refused:
                await vault.store_token_set(account, tokens)
            assert (refused.value.code, "evil" in str(refused.value)) == ("variable_refused", False)
            return
        await vault.store_token_set(account, tokens)
        async with httpx2.AsyncClient() as http:
            with pytest.raises(ConfigurationError, match=r"salesforce: .* instance_url") as caught:
                await http.get("https://acme.my.salesforce.com/", auth=VaultAuth(vault, account))
        assert (caught.value.code, caught.value.account) == ("hosts_unknown", account)


class WithIdToken(Stub):
    """A stub that puts an id_token for the user ``sub`` into the answer of its token endpoint."""

    def __init__(self, token_place, issuer, answers):
        provider = LoopbackOpenIdProvider(issuer, client_secret="s")
        host = issuer.removeprefix("https://")

        def tokens(_):
            claims = {"iss": issuer, "aud": "client", "exp": 4102444800, "sub": "sub", "nonce": self.sent["nonce"]}
            return {**TOKENS, "id_token": provider.signed(claims)}

        keys = {f"{host}/.well-known/openid-configuration": {"issuer": issuer, "jwks_uri": f"{issuer}/jwks"}}
        super().__init__({token_place: tokens, **keys, f"{host}/jwks": provider.keys(), **answers})


async def test_all_organisations_of_xero_are_kept(vault):
    connections = [{"id": "c1", "tenantId": "70784a63"}, {"id": "c2", "tenantId": "e1eede29"}]
    answers = {"api.xero.com/connections": connections}
    stub = WithIdToken("identity.xero.com/connect/token", "https://identity.xero.com", answers)
    info = await connected(vault, "xero", stub)
    assert info.account.identifier == "sub"
    assert await kept(vault, info) == {"tenant_ids": "70784a63,e1eede29"}
    stub.answers["api.xero.com/connections"] = []  # the user has removed the app from all of them
    assert await kept(vault, await connected(vault, "xero", stub)) == {}


async def test_a_company_of_pipedrive_is_kept(vault):
    stub = Stub(
        {
            "oauth.pipedrive.com/oauth/token": {**TOKENS, "api_domain": "https://acme.pipedrive.com"},
            "api.pipedrive.com/v1/users/me": {"data": {"id": 7, "company_id": 5, "email": "ana@example.com"}},
        }
    )
    info = await connected(vault, "pipedrive", stub)
    assert await kept(vault, info) == {"api_domain": "https://acme.pipedrive.com", "company_id": "5"}
    assert [place_of(request) for request in stub.requests] == list(stub.answers)


BOT = {"access_token": "xoxb-1", "token_type": "bot", "scope": "chat:write", "refresh_token": "xoxe-bot"}
USER = {
    "id": "U1",
    "access_token": "xoxp-1",
    "token_type": "user",
    "scope": "search:read",
    "refresh_token": "xoxe-user",
}
TEAM = {"ok": True, "bot_user_id": "B1", "team": {"id": "T1", "name": "Acme"}}
CONSENT = {"extra": {"user_scope": "search:read"}}


async def of_slack(vault, answer, *names, begun=None, ids=(), **options):
    """Connect at Slack; ``names`` are the profiles that the connector has, the first one's account is asked for."""
    stub = Stub({"slack.com/api/oauth.v2.access": answer})
    async with reached(stub) as http:
        known = {name: refresher(name, dict(ids).get(name, "client"), "secret", client=http) for name in names}
        connector = Connector(vault, known, redirect_uri=f"{CALLBACK}/{{provider}}")
        start = await connector.begin("t1", names[0], session="s", **options)
        query = urlencode({"code": "c", "state": start.state})
        return await connector.finish_all(query, session="s", provider=names[0])


async def values(vault):
    accounts = [info.account for info in (await vault.list_accounts("t1")).items]
    kinds = (TokenKind.ACCESS_TOKEN, TokenKind.REFRESH_TOKEN)
    tokens = {account: [await vault.get_token(account.key(kind)) for kind in kinds] for account in accounts}
    return {
        (account.provider, account.identifier): [token.value.reveal() for token in found]
        for account, found in tokens.items()
    }


BOTH = {("slack", "T1"): ["xoxb-1", "xoxe-bot"], ("slack-user", "T1:U1"): ["xoxp-1", "xoxe-user"]}


async def test_slacks_bot_and_user_are_two_accounts_of_one_consent(vault, caplog):
    infos = await of_slack(vault, {**TEAM, **BOT, "authed_user": USER}, "slack", "slack-user", **CONSENT)
    assert [info.account.provider for info in infos] == ["slack", "slack-user"]
    assert [info.scopes for info in infos] == [("chat:write",), ("search:read",)]
    assert await values(vault) == BOTH
    assert caplog.text == ""
    again = await of_slack(
        vault, {**TEAM, **BOT, "authed_user": USER}, "slack", "slack-user", account=infos[0].account, **CONSENT
    )
    assert [info.account for info in again] == [info.account for info in infos]


async def test_a_consent_to_one_of_both_is_one_account(vault, caplog):
    infos = await of_slack(vault, {**TEAM, **BOT, "authed_user": {"id": "U1"}}, "slack", "slack-user")
    assert [info.account.identifier for info in infos] == ["T1"]
    infos = await of_slack(vault, {**TEAM, "authed_user": USER}, "slack-user", "slack")
    assert [info.account.identifier for info in infos] == ["T1:U1"]
    assert await values(vault) == BOTH
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("names", "ids"), [(("slack",), {}), (("slack", "slack-user"), {"slack-user": "another client"})]
)
async def test_a_token_that_is_not_stored_is_said(vault, caplog, names, ids):
    [info] = await of_slack(vault, {**TEAM, **BOT, "authed_user": USER}, *names, ids=ids, **CONSENT)
    assert info.account.identifier == "T1"
    [record] = caplog.records
    assert (record.levelname, "slack-user" in record.getMessage()) == ("WARNING", True)
    assert "xox" not in caplog.text


async def test_a_bots_token_is_not_taken_for_a_users(vault):
    with pytest.raises(ConnectError) as caught:
        await of_slack(vault, {**TEAM, **BOT, "authed_user": {"id": "U1"}}, "slack-user")
    assert caught.value.code == "provider_unavailable"
    assert await nothing_stored(vault)


@pytest.mark.parametrize(
    "user", [{**USER, "id": ""}, {**USER, "id": None}, {**USER, "id": "\u202e"}], ids=["empty", "none", "unprintable"]
)
async def test_if_one_of_several_accounts_is_not_identified_none_is_stored(vault, user):
    with pytest.raises(IdentityRefusedError):
        await of_slack(vault, {**TEAM, **BOT, "authed_user": user}, "slack", "slack-user", **CONSENT)
    assert await nothing_stored(vault)


async def test_if_another_team_is_chosen_no_account_is_stored(vault):
    with pytest.raises(OtherAccountError):
        await of_slack(
            vault,
            {**TEAM, **BOT, "authed_user": USER},
            *("slack", "slack-user"),
            account=Account("t1", "slack", "T2"),
            **CONSENT,
        )
    assert await nothing_stored(vault)


CHALLENGE = ConsentRequiredError(
    scopes=("Mail.Send",), parameters={"claims": '{"id_token": {}}'}, account=Account("t1", "microsoft", "ana")
)


async def asked(vault, challenge, **options):
    """Begin at Microsoft; return the parameters of the request for authorization."""
    known = {"microsoft": refresher("microsoft", "client", "secret", scopes=["User.Read"])}
    connector = Connector(vault, known, redirect_uri=CALLBACK)
    start = await connector.begin("t1", "microsoft", session="s", challenge=challenge, **options)
    return dict(parse_qsl(urlsplit(start.url).query))


async def test_a_challenge_asks_for_what_was_granted_and_what_is_missing(vault):
    await vault.store_token_set(CHALLENGE.account, TokenSet("a", "r", scopes=("Calendars.Read", "User.Read")))
    sent = await asked(vault, CHALLENGE)
    own = packaged_profile("microsoft").authorization.scopes
    assert sent["scope"].split() == list(dict.fromkeys(["User.Read", "Calendars.Read", "Mail.Send", *own]))
    assert sent["claims"] == '{"id_token": {}}'
    assert (await asked(vault, None))["scope"].split() == ["User.Read", *own]
    new = ConsentRequiredError(scopes=("Mail.Send",))  # as a host makes it that has kept the scopes only
    assert "Mail.Send" in (await asked(vault, new, scopes=["Files.Read"]))["scope"].split()
    assert (await asked(vault, CHALLENGE, extra={"claims": "{}"}))["claims"] == "{}"


@pytest.mark.parametrize(
    "challenge",
    [
        "Mail.Send",
        ReauthorizationRequiredError(),
        ConsentRequiredError(parameters={"redirect_uri": "https://evil.example"}),
        ConsentRequiredError(parameters={"claims": "a" * 3000}),
        ConsentRequiredError(parameters={"claims": 7}),
        ConsentRequiredError(scopes=("two scopes",)),
        ConsentRequiredError(scopes=("evil\n",)),
        ConsentRequiredError(account=Account("t2", "microsoft", "ana")),
        ConsentRequiredError(account=Account("t1", "google", "ana")),
        ConsentRequiredError(account="evil"),
    ],
)
async def test_a_challenge_that_cannot_be_asked_is_refused(vault, challenge):
    with pytest.raises(InvalidInputError) as caught:
        await asked(vault, challenge)
    assert "evil" not in str(caught.value)


async def test_what_microsoft_asks_for_at_a_refresh_reaches_the_host(clock):
    claims = '{"access_token":{"polids":{"essential":true,"values":["9ab03e19"]}}}'
    refused = Answer(status=400, json={"error": "interaction_required", "claims": claims})
    place = "login.microsoftonline.com/common/oauth2/v2.0/token"
    async with reached(Stub({place: lambda _: refused})) as http:
        known = {"microsoft": refresher("microsoft", "client", "secret", client=http)}
        async with memory_vault(clock=clock, refreshers=known) as vault:
            account = Account("t1", "microsoft", "ana")
            await vault.store_token_set(account, TokenSet("a", "r", expires_in=60))
            clock.advance(timedelta(hours=1))
            with pytest.raises(ConsentRequiredError) as caught:
                await vault.ensure_access_token(account)
            assert (caught.value.parameters, caught.value.account) == ({"claims": claims}, account)
            assert caught.value.reason == "interaction_required"
            with pytest.raises(ReauthorizationRequiredError):
                await vault.ensure_access_token(account)
