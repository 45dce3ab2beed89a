"""Accounts that are connected at providers of the package's profiles, which answer as their documentation says."""

from datetime import timedelta
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2
import pytest
from attrs import evolve

from vault_adapters import (
    Account,
    ConfigurationError,
    ConnectionState,
    IdentityRefusedError,
    OtherAccountError,
    TokenKind,
    TokenSet,
)
from vault_adapters.connect import Connector
from vault_adapters.providers import profiles, refresher
from vault_adapters.providers.profiles import packaged_profile
from vault_adapters.testing import memory_vault
from vault_adapters.testing.openid import LoopbackOpenIdProvider

CALLBACK = "https://app.example.com/connect/callback"


class Provider:
    """Answers each request with the JSON object that stands for its path."""

    def __init__(self, **answers):
        self.answers, self.forms = answers, []

    def __call__(self, request):
        self.forms.append(dict(parse_qsl(request.content.decode())))
        found = self.answers[request.url.path.rpartition("/")[2].replace("-", "_").replace(".", "_")]
        return httpx2.Response(200, json=found(request) if callable(found) else found)


async def connected(vault, name, provider, begun=lambda parameters: None, account=None, **callback):
    """Connect an account at a provider of a profile; ``begun`` gets the parameters of the authorization request."""
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(provider)) as http:
        connector = Connector(
            vault,
            {name: refresher(name, "client", "secret", client=http, private_addresses=True)},
            redirect_uri=CALLBACK,
        )
        start = await connector.begin("t1", name, session="s", account=account)
        begun(dict(parse_qsl(urlsplit(start.url).query)))
        query = urlencode({"state": start.state, "code": "c", **callback}, doseq=True)
        return await connector.finish(query, session="s")


async def test_a_token_of_slack_without_rotation_never_expires(clock):
    """Without token rotation, Slack states no lifetime, gives no refresh token, and the access token never expires."""
    slack = Provider(oauth_v2_access={"ok": True, "access_token": "xoxb", "team": {"id": "T1", "name": "Acme"}})
    async with memory_vault(clock=clock, refreshers={"slack": refresher("slack", "client", "secret")}) as vault:
        account = (await connected(vault, "slack", slack)).account
        clock.advance(timedelta(days=300))
        assert account == Account("t1", "slack", "T1")
        assert (await vault.get_account(account)).state is ConnectionState.CONNECTED
        assert (await vault.ensure_access_token(account)).value.reveal() == "xoxb"


ORG_WIDE = {"team": None, "enterprise": {"id": "E1", "name": "Acme Org"}, "is_enterprise_install": True}


async def test_slack_installed_for_a_whole_organization_is_the_enterprises_account(vault):
    slack = Provider(oauth_v2_access={"ok": True, "access_token": "xoxb", **ORG_WIDE})
    info = await connected(vault, "slack", slack)
    assert (info.account, info.label) == (Account("t1", "slack", "E1"), "Acme Org")


def of_slack(team, token):
    return {"ok": True, "authed_user": {"id": "U1", "access_token": token, "token_type": "user"}, **team}


@pytest.mark.parametrize(
    ("team", "name"),
    [({"team": {"id": "T1", "name": "Acme"}}, "T1"), (ORG_WIDE, "E1")],
    ids=["team", "organization"],
)
async def test_a_user_of_slack_is_one_of_a_team(vault, team, name):
    """The same id may be another user in another team."""
    other = {"team": {"id": "T2", "name": "Other"}}
    infos = [
        await connected(vault, "slack-user", Provider(oauth_v2_access=of_slack(each, f"xoxp-{number}")))
        for number, each in enumerate((team, other))
    ]
    assert [info.account.identifier for info in infos] == [f"{name}:U1", "T2:U1"]
    first = await vault.get_token(infos[0].account.key(TokenKind.ACCESS_TOKEN))
    assert first.value.reveal() == "xoxp-0"


async def test_a_user_of_slack_of_an_earlier_release_keeps_its_identifier(vault):
    earlier = Account("t1", "slack-user", "U1")
    await vault.store_token_set(earlier, TokenSet("old", extra={"team_id": "T1"}))
    for team, account in (("T2", Account("t1", "slack-user", "T2:U1")), ("T1", earlier)):
        slack = Provider(oauth_v2_access=of_slack({"team": {"id": team, "name": "x"}}, f"xoxp-{team}"))
        assert (await connected(vault, "slack-user", slack)).account == account
    assert (await vault.get_token(earlier.key(TokenKind.ACCESS_TOKEN))).value.reveal() == "xoxp-T1"


@pytest.mark.parametrize("team", [{}, {"team": None}, {"team": {"id": "T:1"}}, {"team": {"id": ""}}])
async def test_a_user_of_no_team_is_refused(vault, team):
    slack = Provider(oauth_v2_access=of_slack(team, "xoxp"))
    with pytest.raises(IdentityRefusedError):
        await connected(vault, "slack-user", slack)
    assert (await vault.list_accounts("t1")).items == ()


async def test_a_user_of_linkedin_is_read_from_an_id_token_without_nonce(vault):
    """Userinfo sometimes refuses a new access token; the id_token has no nonce, though one may be sent."""
    issuer = LoopbackOpenIdProvider("https://www.linkedin.com/oauth", client_secret="s")
    claims = {"iss": issuer.issuer, "aud": "client", "exp": 4102444800, "sub": "782bbtaQ", "email": "ana@example.com"}
    linkedin = Provider(
        openid_configuration={"issuer": issuer.issuer, "jwks_uri": f"{issuer.issuer}/openid/jwks"},
        jwks=issuer.keys(),
        accessToken={"access_token": "a", "expires_in": 5184000, "id_token": issuer.signed(claims)},
    )
    sent = {}
    info = await connected(vault, "linkedin", linkedin, sent.update)
    assert (info.account, info.label) == (Account("t1", "linkedin", "782bbtaQ"), "ana@example.com")
    assert "nonce" not in sent
    claims["aud"] = "another client"
    linkedin.answers["accessToken"] = {"access_token": "a", "id_token": issuer.signed(claims)}
    with pytest.raises(IdentityRefusedError):
        await connected(vault, "linkedin", linkedin)


def quickbooks():
    """Intuit: userinfo names the user, and the callback the company."""
    tokens = {"access_token": "a", "refresh_token": "r", "expires_in": 3600}
    return Provider(bearer=tokens, userinfo={"sub": "user", "email": "ana@example.com"})


async def test_two_companies_of_quickbooks_are_two_accounts(vault):
    intuit = quickbooks()
    one, two = [await connected(vault, "quickbooks", intuit, realmId=realm) for realm in ("11", "22")]
    assert [info.account.identifier for info in (one, two)] == ["11:user", "22:user"]
    assert dict((await vault.get_token(two.account.key(TokenKind.ACCESS_TOKEN))).extra) == {"realm_id": "22"}
    with pytest.raises(OtherAccountError):
        await connected(vault, "quickbooks", intuit, account=one.account, realmId="22")


async def test_a_user_of_two_companies_of_pipedrive_is_two_accounts(vault):
    tokens = {"access_token": "a", "refresh_token": "r", "api_domain": "https://acme.pipedrive.com"}
    for company in (5, 6):
        user = {"data": {"id": 7, "company_id": company, "email": "ana@example.com"}}
        info = await connected(vault, "pipedrive", Provider(token=tokens, me=user))
        assert info.account.identifier == f"{company}:7"


COLLIDING = ["pipedrive", "quickbooks", "slack-user"]


async def test_a_profile_whose_identifiers_collide_is_refused_until_it_distinguishes_them(vault):
    known = {name: packaged_profile(name) for name in profiles()}
    marked = {name for name, profile in known.items() if profile.identifier and profile.identifier.collides}
    assert marked == set(COLLIDING)
    for name in COLLIDING:
        Connector(vault, {name: refresher(name, "client", "secret")}, redirect_uri=CALLBACK)
        bare = evolve(known[name], identifier=evolve(known[name].identifier, within=()))
        with pytest.raises(ConfigurationError, match=r"identifier\.within"):
            Connector(vault, {name: refresher(bare, "client", "secret")}, redirect_uri=CALLBACK)


@pytest.mark.parametrize("realm", [[], [""], ["11", "22"], ["1:1"]])
async def test_a_callback_without_one_company_is_refused(vault, realm):
    intuit = quickbooks()
    with pytest.raises(IdentityRefusedError):
        await connected(vault, "quickbooks", intuit, realmId=realm)
    assert (await vault.list_accounts("t1")).items == ()


async def test_an_account_of_an_unknown_company_is_connected_again_and_then_belongs_to_it(vault):
    """Earlier releases did not keep the company."""
    intuit, earlier = quickbooks(), Account("t1", "quickbooks", "user")
    await vault.store_token_set(earlier, TokenSet("old", "old-refresh"))
    new = await connected(vault, "quickbooks", intuit, realmId="22")
    assert new.account.identifier == "22:user"
    again = await connected(vault, "quickbooks", intuit, account=earlier, realmId="11")
    assert again.account == earlier
    with pytest.raises(OtherAccountError):
        await connected(vault, "quickbooks", intuit, account=earlier, realmId="22")


@pytest.mark.parametrize(
    ("said", "asked", "identifier"),
    [
        ("https://accounts.zoho.eu", "accounts.zoho.eu", "accounts.zoho.eu:7"),
        ("https://accounts.zoho.uk/", "accounts.zoho.uk", "accounts.zoho.uk:7"),
        ("https://accounts.zoho.com", "accounts.zoho.com", "7"),
        (None, "accounts.zoho.com", "7"),
    ],
)
async def test_a_code_of_zoho_is_exchanged_where_the_callback_says(vault, said, asked, identifier):
    """Each user belongs to a data centre. The client's secret goes to Zoho's own servers only."""
    hosts = []

    def tokens(request):
        hosts.append(request.url.host)
        return {"access_token": "a", "refresh_token": "r", "expires_in": 3600, "api_domain": "https://www.zohoapis.eu"}

    zoho, sent = Provider(token=tokens, info={"ZUID": 7, "Email": "ana@example.com"}), {}
    info = await connected(vault, "zoho", zoho, sent.update, **({} if said is None else {"accounts-server": said}))
    assert (hosts, info.account.identifier) == ([asked], identifier)
    assert "AaaServer.profile.READ" in sent["scope"]
    kept = await vault.get_token(info.account.key(TokenKind.ACCESS_TOKEN))
    assert kept.extra.get("accounts", "accounts.zoho.com") == asked  # the vault refreshes the account there
