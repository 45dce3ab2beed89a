"""More providers as real servers on loopback, with the answers that their documentation shows."""

import json
from base64 import b64encode
from datetime import timedelta
from urllib.parse import parse_qsl

import httpx2
import pytest
from tests.adapters.connect.stubs import Stub, connected, place_of, reached
from tests.support.scripted_provider import Answer

from vault_adapters import (
    Account,
    ConfigurationError,
    ConnectionState,
    IdentityRefusedError,
    ReauthorizationRequiredError,
    TokenKind,
    TokenSet,
)
from vault_adapters.clients.httpx2 import VaultAuth
from vault_adapters.providers import refresher
from vault_adapters.testing import memory_vault


async def kept(vault, info):
    return dict((await vault.get_token(info.account.key(TokenKind.ACCESS_TOKEN))).extra)


INTERCOM = {
    "api.intercom.io/auth/eagle/token": {"token": "access-1", "access_token": "access-1", "token_type": "Bearer"},
    "api.intercom.io/me": {
        "type": "admin",
        "id": "1295",
        "email": "ana@example.com",
        "app": {"type": "app", "id_code": "xyz789", "region": "US"},
    },
}
CLICKUP = {
    "api.clickup.com/api/v2/oauth/token": {"access_token": "access-1"},
    "api.clickup.com/api/v2/user": {"user": {"id": 123, "username": "Ana", "email": "ana@example.com"}},
}
MAILCHIMP = {
    "login.mailchimp.com/oauth2/token": {"access_token": "access-1", "expires_in": 0, "scope": None},
    "login.mailchimp.com/oauth2/metadata": {
        "dc": "us6",
        "role": "owner",
        "accountname": "Acme",
        "user_id": 15,
        "login": {"email": "ana@example.com", "login_id": 16},
        "api_endpoint": "https://us6.api.mailchimp.com",
    },
}
WEBFLOW = {
    "api.webflow.com/oauth/access_token": {"token_type": "bearer", "access_token": "access-1", "scope": "sites:read"},
    "api.webflow.com/v2/token/authorized_by": {"id": "545bbecb", "email": "ana@example.com", "firstName": "Ana"},
}
EVENTBRITE = {
    "www.eventbrite.com/oauth/token": {"access_token": "access-1", "token_type": "bearer"},
    "www.eventbriteapi.com/v3/users/me/": {
        "id": "12345",
        "name": "Ana",
        "emails": [
            {"email": "old@example.com", "primary": False},
            {"email": "ana@example.com", "primary": True, "verified": True},
        ],
    },
}
LASTING = [
    ("eventbrite", EVENTBRITE, "12345", "ana@example.com", {}),
    ("intercom", INTERCOM, "xyz789:1295", "ana@example.com", {"workspace_id": "xyz789"}),
    ("clickup", CLICKUP, "123", "ana@example.com", {}),
    ("mailchimp", MAILCHIMP, "15", "Acme", {"dc": "us6"}),
    ("webflow", WEBFLOW, "545bbecb", "ana@example.com", {}),
]


@pytest.mark.parametrize(("name", "answers", "identifier", "label", "extra"), LASTING, ids=[row[0] for row in LASTING])
async def test_a_token_that_never_expires_stays_connected(clock, name, answers, identifier, label, extra):
    """These providers have no refresh tokens. A lifetime that was assumed would ask for a needless consent."""
    stub = Stub(answers)
    known = {name: refresher(name, "client", "secret")}
    async with memory_vault(clock=clock, refreshers=known) as vault:
        info = await connected(vault, name, stub)
        assert (info.account, info.label) == (Account("t1", name, identifier), label)
        assert await kept(vault, info) == extra
        assert stub.places == list(answers)
        form = dict(parse_qsl(stub.requests[0].body.decode()))
        assert (form["client_id"], form["client_secret"], form["code"]) == ("client", "secret", "c")
        assert "code_challenge" not in stub.sent
        clock.advance(timedelta(days=300))
        assert (await vault.get_account(info.account)).state is ConnectionState.CONNECTED
        assert (await vault.ensure_access_token(info.account)).value.reveal() == "access-1"


async def test_a_teammate_of_two_workspaces_of_intercom_is_two_accounts(vault):
    other = {**INTERCOM["api.intercom.io/me"], "app": {"type": "app", "id_code": "abc123"}}
    infos = [
        await connected(vault, "intercom", Stub(answers))
        for answers in (INTERCOM, {**INTERCOM, "api.intercom.io/me": other})
    ]
    assert [info.account.identifier for info in infos] == ["xyz789:1295", "abc123:1295"]


async def test_a_workspace_of_intercom_in_europe_has_its_own_hosts(vault):
    stub = Stub({place.replace("api.", "api.eu."): answer for place, answer in INTERCOM.items()})
    await connected(vault, "intercom", stub, api="api.eu", app="app.eu")
    assert stub.places == ["api.eu.intercom.io/auth/eagle/token", "api.eu.intercom.io/me"]


@pytest.mark.parametrize(("dc", "is_sent"), [("us6", True), ("evil.example/", False), ("", False), (None, False)])
async def test_a_token_of_mailchimp_goes_to_the_accounts_data_centre_only(dc, is_sent):
    stub = Stub({"us6.api.mailchimp.com/3.0/ping": {}})
    async with reached(stub) as http, memory_vault(refreshers={"mailchimp": refresher("mailchimp", "c", "s")}) as vault:
        account = Account("t1", "mailchimp", "15")
        await vault.store_token_set(account, TokenSet("access-1", extra={} if dc is None else {"dc": dc}))
        ask = http.get("https://us6.api.mailchimp.com/3.0/ping", auth=VaultAuth(vault, account))
        if is_sent:
            assert (await ask).status_code == 200
            assert stub.requests[0].headers["authorization"] == "Bearer access-1"
        else:
            with pytest.raises(ConfigurationError):
                await ask
            assert stub.requests == []


CALENDLY = {
    "auth.calendly.com/oauth/token": {
        "token_type": "Bearer",
        "access_token": "access-1",
        "refresh_token": "refresh-1",
        "expires_in": 7200,
        "created_at": 1548689183,
        "owner": "https://api.calendly.com/users/EBHAAFHDCAEQTSEZ",
        "organization": "https://api.calendly.com/organizations/EBHAAFHDCAEQTSEZ",
    },
    "api.calendly.com/users/me": {"resource": {"uri": "https://api.calendly.com/users/x", "email": "ana@example.com"}},
}


async def test_a_user_of_calendly_is_its_uri(vault):
    stub = Stub(CALENDLY)
    info = await connected(vault, "calendly", stub)
    assert (info.account.identifier, info.label) == (
        "https://api.calendly.com/users/EBHAAFHDCAEQTSEZ",
        "ana@example.com",
    )
    assert await kept(vault, info) == {"organization": "https://api.calendly.com/organizations/EBHAAFHDCAEQTSEZ"}
    [exchange, _] = stub.requests
    assert exchange.headers["authorization"] == f"Basic {b64encode(b'client:secret').decode()}"
    assert b"secret" not in exchange.body


MONDAY_TOKENS = {"access_token": "access-1", "refresh_token": "refresh-1", "token_type": "Bearer", "scope": "me:read"}
MONDAY = {
    "auth.monday.com/oauth_ms/oauth/token": MONDAY_TOKENS,
    "api.monday.com/v2": {
        "data": {"me": {"id": "4012689", "email": "ana@example.com", "account": {"id": "1825528", "slug": "acme"}}}
    },
}


async def test_a_user_of_monday_is_asked_by_graphql_and_refreshed_when_the_api_refuses(clock):
    """Answers state no lifetime, so a new token is fetched when the API refuses the old one."""
    numbers = iter("12")

    def tokens(_):
        number = next(numbers)
        return {**MONDAY_TOKENS, "access_token": f"access-{number}", "refresh_token": f"refresh-{number}"}

    stub = Stub({**MONDAY, "auth.monday.com/oauth_ms/oauth/token": tokens})
    async with reached(stub) as http:
        known = {"monday": refresher("monday", "client", "secret", client=http)}
        async with memory_vault(clock=clock, refreshers=known) as vault:
            info = await connected(vault, "monday", stub)
            assert (info.account, info.label) == (Account("t1", "monday", "4012689"), "ana@example.com")
            assert await kept(vault, info) == {"account_id": "1825528"}
            assert stub.sent["code_challenge_method"] == "S256"
            assert "me:read" in stub.sent["scope"]
            assert json.loads(stub.requests[0].body)["client_secret"] == "secret"

            clock.advance(timedelta(hours=1))
            old = await vault.ensure_access_token(info.account)
            assert old.value.reveal() == "access-1"
            assert (await vault.report_rejected(old)).value.reveal() == "access-2"
            sent = json.loads([each for each in stub.requests if place_of(each).endswith("token")][1].body)
            assert (sent["grant_type"], sent["refresh_token"]) == ("refresh_token", "refresh-1")


async def test_a_consent_to_monday_without_its_user_stores_nothing(vault):
    refused = {"errors": [{"message": "Not authenticated", "extensions": {"code": "NOT_AUTHENTICATED"}}]}
    with pytest.raises(IdentityRefusedError):
        await connected(vault, "monday", Stub({**MONDAY, "api.monday.com/v2": refused}))
    assert (await vault.list_accounts("t1")).items == ()


REDDIT = {
    "www.reddit.com/api/v1/access_token": {
        "access_token": "access-1",
        "token_type": "bearer",
        "expires_in": 86400,
        "refresh_token": "refresh-1",
        "scope": "identity read",
    },
    "oauth.reddit.com/api/v1/me": {"id": "1w72", "name": "ana"},
}


async def test_a_user_of_reddit_gives_a_permanent_consent(vault):
    stub = Stub(REDDIT)
    info = await connected(vault, "reddit", stub)
    assert (info.account.identifier, info.label) == ("1w72", "ana")
    assert (stub.sent["duration"], stub.sent["scope"]) == ("permanent", "identity")
    assert stub.requests[0].headers["authorization"].startswith("Basic ")
    for request in stub.requests:  # an HTTP library's own name is slowed down
        assert request.headers["user-agent"] == "token-vault"
    async with httpx2.AsyncClient() as http:
        with pytest.raises(ConfigurationError):
            await http.get("https://www.reddit.com/api/v1/me", auth=VaultAuth(vault, info.account))


TYPEFORM = {
    "api.typeform.com/oauth/token": {
        "access_token": "access-1",
        "refresh_token": "refresh-1",
        "expires_in": 604800,
        "token_type": "bearer",
    },
    "api.typeform.com/me": {"user_id": "01ABC", "alias": "Ana", "email": "ana@example.com", "language": "en"},
}


async def test_a_user_of_typeform_is_asked_for_the_scope_of_refresh_tokens(vault):
    stub = Stub(TYPEFORM)
    info = await connected(vault, "typeform", stub)
    assert (info.account.identifier, info.label) == ("01ABC", "ana@example.com")
    assert set(stub.sent["scope"].split()) == {"offline", "accounts:read"}
    assert (await vault.get_token(info.account.key(TokenKind.REFRESH_TOKEN))).value.reveal() == "refresh-1"


STRIPE = {
    "api.stripe.com/v1/oauth/token": {
        "access_token": "access-1",
        "livemode": True,
        "refresh_token": "refresh-1",
        "scope": "stripe_apps",
        "stripe_publishable_key": "pk_live_1",
        "stripe_user_id": "acct_1",
        "token_type": "bearer",
    }
}


async def test_stripe_takes_the_secret_as_user_and_its_tokens_last_an_hour(clock):
    stub = Stub(STRIPE)
    async with reached(stub) as http:
        known = {"stripe-apps": refresher("stripe-apps", "client", "secret", client=http)}
        async with memory_vault(clock=clock, refreshers=known) as vault:
            info = await connected(vault, "stripe-apps", stub)
            assert (info.account, info.label) == (Account("t1", "stripe-apps", "acct_1"), "acct_1")
            assert (stub.sent["client_id"], "scope" in stub.sent) == ("client", False)
            clock.advance(timedelta(hours=2))  # the answer states no lifetime
            await vault.ensure_access_token(info.account)
            assert len(stub.requests) == 2
            for request in stub.requests:
                assert request.headers["authorization"] == f"Basic {b64encode(b'secret:').decode()}"
                assert {"client_id", "client_secret"}.isdisjoint(dict(parse_qsl(request.body.decode())))


STRAVA = {
    "www.strava.com/oauth/token": {
        "token_type": "Bearer",
        "expires_at": 1893477600,
        "expires_in": 21600,
        "refresh_token": "refresh-1",
        "access_token": "access-1",
        "athlete": {"id": 227615, "username": "ana", "firstname": "Ana"},
    }
}
PINTEREST = {
    "api.pinterest.com/v5/oauth/token": {
        "access_token": "access-1",
        "refresh_token": "refresh-1",
        "response_type": "authorization_code",
        "token_type": "bearer",
        "expires_in": 2592000,
        "refresh_token_expires_in": 5184000,
        "scope": "boards:read user_accounts:read",
    },
    "api.pinterest.com/v5/user_account": {"account_type": "BUSINESS", "id": "2783136121146311751", "username": "ana"},
}
AMAZON = {
    "api.amazon.com/auth/o2/token": {
        "access_token": "access-1",
        "token_type": "bearer",
        "expires_in": 3600,
        "refresh_token": "refresh-1",
    },
    "api.amazon.com/user/profile": {"user_id": "amzn1.account.K2LI23", "email": "ana@example.com", "name": "Ana"},
}
TWITCH = {
    "id.twitch.tv/oauth2/token": {
        "access_token": "access-1",
        "expires_in": 14124,
        "refresh_token": "refresh-1",
        "scope": ["openid", "user:read:email"],
        "token_type": "bearer",
    },
    "id.twitch.tv/oauth2/userinfo": {
        "sub": "713936733",
        "preferred_username": "ana",
        "iss": "https://id.twitch.tv/oauth2",
    },
}
BASIC = f"Basic {b64encode(b'client:secret').decode()}"
DEAD_AT_STRAVA = {
    "message": "Bad Request",
    "errors": [{"resource": "RefreshToken", "field": "refresh_token", "code": "invalid"}],
}
DEAD_AT_TWITCH = {"error": "Bad Request", "status": 400, "message": "Invalid refresh token"}
ASKED_MOST = [
    ("strava", STRAVA, "227615", "ana", None, {"scope": "read,activity:read_all"}, DEAD_AT_STRAVA),
    ("pinterest", PINTEREST, "2783136121146311751", "ana", BASIC, {}, {"error": "invalid_grant"}),
    ("amazon", AMAZON, "amzn1.account.K2LI23", "ana@example.com", None, {}, {"error": "invalid_grant"}),
    ("twitch", TWITCH, "713936733", "ana", None, {}, DEAD_AT_TWITCH),
]


@pytest.mark.parametrize(
    ("name", "answers", "identifier", "label", "header", "callback", "refusal"),
    ASKED_MOST,
    ids=[row[0] for row in ASKED_MOST],
)
async def test_what_is_asked_for_most_is_connected_refreshed_and_ended(
    clock, name, answers, identifier, label, header, callback, refusal
):
    [place, *_], served = answers, dict(answers)
    stub = Stub(served)
    async with reached(stub) as http:
        known = {name: refresher(name, "client", "secret", client=http)}
        async with memory_vault(clock=clock, refreshers=known) as vault:
            info = await connected(vault, name, stub, callback)
            assert (info.account, info.label) == (Account("t1", name, identifier), label)
            assert await kept(vault, info) == ({"granted_scopes": callback["scope"]} if callback else {})
            assert stub.places == list(answers)

            served[place] = {**answers[place], "access_token": "access-2", "refresh_token": "refresh-2"}
            clock.advance(timedelta(days=31))
            assert (await vault.ensure_access_token(info.account)).value.reveal() == "access-2"
            served[place] = lambda _: Answer(status=400, json=refusal)
            with pytest.raises(ReauthorizationRequiredError):
                await vault.refresh_account(info.account)
            for request in (stub.requests[0], *stub.requests[-2:]):
                assert request.headers.get("authorization") == header
                assert ("client_secret" in request.form) == (header is None)
            assert [request.form["refresh_token"] for request in stub.requests[-2:]] == ["refresh-1", "refresh-2"]


async def test_a_user_of_amazon_in_europe_has_its_own_hosts(vault):
    stub = Stub({place.replace("amazon.com", "amazon.co.uk"): answer for place, answer in AMAZON.items()})
    await connected(vault, "amazon", stub, login="eu.account.amazon.com", api="api.amazon.co.uk")
    assert stub.places == ["api.amazon.co.uk/auth/o2/token", "api.amazon.co.uk/user/profile"]
