"""Two instances of one provider are two accounts, because each gives out identifiers as it likes."""

import json
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2
import pytest
from tests.adapters.providers.profiles.files import TABLES, values

from vault_adapters import (
    Account,
    ConnectError,
    ImportedToken,
    ImportFailure,
    InvalidInputError,
    OtherAccountError,
    ProviderConfigurationError,
    TokenKind,
    TokenSet,
)
from vault_adapters.connect import Connector
from vault_adapters.connect.client import as_clients
from vault_adapters.providers import refresher
from vault_adapters.providers.profiles import packaged_profile, profiles
from vault_adapters.testing import memory_vault
from vault_adapters.testing.openid import LoopbackOpenIdProvider

CALLBACK = "https://app.example.com/connect/callback"
SUB = "42"  # each instance has a user of this name


class Instances:
    """All instances of a provider: each answers at its own host, and knows the same user."""

    def __init__(self, issuer_of):
        self.issuer_of, self.nonce, self.asked = issuer_of, "", []

    def __call__(self, request):
        self.asked.append(request.url.host)
        provider = self.issuer_of.setdefault(
            request.url.host, LoopbackOpenIdProvider(f"https://{request.url.host}/", client_secret="s")
        )
        path = request.url.path
        if path.endswith("/token"):
            claims = {"iss": provider.issuer, "aud": "client", "exp": 4102444800, "nonce": self.nonce, "sub": SUB}
            tokens = {"access_token": f"access-{request.url.host}", "refresh_token": "r", "expires_in": 3600}
            return self._json(tokens | {"id_token": provider.signed(claims)})
        if path.endswith("openid-configuration"):
            return self._json({"issuer": provider.issuer, "jwks_uri": f"{provider.issuer}jwks"})
        return self._json(provider.keys() if path.endswith("jwks") else {"sub": SUB, "nickname": "Ana"})

    def _json(self, members):
        return httpx2.Response(200, content=json.dumps(members).encode())


@pytest.fixture(params=["gitlab", "auth0"])
def instances(request):
    """The provider's name, its variable, two values of the variable, and the hosts of both instances."""
    if request.param == "gitlab":
        return "gitlab", "instance", ("git.acme.example", "git.evil.example")
    return "auth0", "tenant", ("acme.eu", "evil.eu")


@pytest.fixture
async def connecting(vault, instances):
    """Return a function that connects the user of an instance."""
    name, variable, listed = instances
    played = Instances({})
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(played)) as http:

        async def connect(value=None, account=None, **shared):
            if name == "gitlab":  # its instance decides a domain, so the host lists those that accounts may name
                shared = {variable: list(dict.fromkeys([shared.get(variable, "gitlab.com"), *listed]))}
            made = refresher(name, "client", "secret", client=http, private_addresses=True, **shared)
            connector = Connector(vault, {name: made}, redirect_uri=CALLBACK)
            own = {} if value is None else {variable: value}
            start = await connector.begin("t1", name, session="s", extra=own, account=account)
            played.nonce = dict(parse_qsl(urlsplit(start.url).query)).get("nonce", "")
            return await connector.finish(urlencode({"state": start.state, "code": "c"}), session="s")

        connect.asked = played.asked
        yield connect


async def access_token(vault, account):
    return (await vault.get_token(account.key(TokenKind.ACCESS_TOKEN))).value.reveal()


async def test_the_same_identifier_at_two_instances_is_two_accounts(vault, connecting, instances):
    _, _, (acme, evil) = instances
    one, two = await connecting(acme), await connecting(evil)
    assert [info.account.identifier for info in (one, two)] == [f"{acme}:{SUB}", f"{evil}:{SUB}"]
    assert acme in await access_token(vault, one.account)
    assert len((await vault.list_accounts("t1")).items) == 2


async def test_an_account_is_connected_again_at_its_own_instance_only(vault, connecting, instances):
    _, _, (acme, evil) = instances
    account = (await connecting(acme)).account
    with pytest.raises(OtherAccountError):
        await connecting(evil, account)
    assert (await access_token(vault, account), acme in connecting.asked[0]) == (f"access-{connecting.asked[0]}", True)
    # Without a value, it is the instance that is stored with the account.
    del connecting.asked[:]
    assert (await connecting(account=account)).account == account
    assert all(acme in host for host in connecting.asked)


async def test_an_instance_that_all_accounts_share_is_no_part_of_the_identifier(connecting, instances):
    name, variable, (acme, _) = instances
    for value in (None, acme):
        assert (await connecting(value, **{variable: acme})).account == Account("t1", name, SUB)


async def test_an_account_of_an_earlier_release_keeps_its_identifier(vault, connecting, instances):
    name, variable, (acme, evil) = instances
    earlier = Account("t1", name, SUB)
    await vault.store_token_set(earlier, TokenSet("old", "old-refresh", extra={variable: acme}))
    with pytest.raises(OtherAccountError):
        await connecting(evil, earlier)
    assert await access_token(vault, earlier) == "old"
    assert (await connecting(evil)).account == Account("t1", name, f"{evil}:{SUB}")
    assert (await connecting(acme)).account == (await connecting(acme, earlier)).account == earlier
    assert len((await vault.list_accounts("t1")).items) == 2


def test_each_profile_with_variables_tells_its_instances_apart():
    seen = set()
    for name in profiles():
        profile = packaged_profile(name)
        if not profile.variables or profile.identifier is None:
            continue
        [client] = as_clients({name: refresher(name, "client", "secret")}).values()
        given = values(TABLES[name])
        itself = profile.identifier.member if profile.identifier.source == "variable" else None
        for variable in set(profile.variables) - {itself}:
            others = (
                {
                    f"{given[variable]}",
                    "other",
                    "x1",
                    "account-d",
                    "a.b.example",
                    "accounts.zoho.in",
                    "b.okta.com",
                }
                | {"api.eu", "api.au", "app.eu", "app.au", "sandbox-accounts"}
                | {"eu.account.amazon.com", "api.amazon.co.uk"}
            )
            fitting = {text for text in others if profile.variables[variable].accepts(text)}
            made = {client.instance({**given, variable: text}) for text in fitting}
            assert len(made) == len(fitting) >= 2, (name, variable)
        seen.add(name)
    assert seen >= {"gitlab", "auth0", "okta", "zendesk", "salesforce", "microsoft", "zoho"}


@pytest.mark.parametrize("fixed", [{}, {"instance": "gitlab.corp.example"}])
@pytest.mark.parametrize("evil", ["evil.example", "169.254.169.254", "127.0.0.1"])
async def test_a_user_names_no_instance_that_the_host_has_not_listed(vault, fixed, evil):
    made = refresher("gitlab", "client", "secret", **fixed)
    connector = Connector(vault, {"gitlab": made}, redirect_uri=CALLBACK)
    with pytest.raises(InvalidInputError) as caught:
        await connector.begin("t1", "gitlab", session="s", extra={"instance": evil})
    assert (caught.value.code, evil in str(caught.value)) == ("variable_refused", False)
    # An account that an earlier release connected there is not asked again at that place either.
    account = Account("t1", "gitlab", "7")
    await vault.store_token_set(account, TokenSet("a", "r", expires_in=3600, extra={"instance": evil}))
    with pytest.raises(InvalidInputError, match="not one that the host service allows"):
        await connector.begin("t1", "gitlab", session="s", account=account)


@pytest.mark.parametrize(
    ("name", "options", "extra", "is_stored"),
    [
        ("gitlab", {}, {"instance": "evil.example"}, False),
        ("gitlab", {"instance": "own.example"}, {"instance": "own.example"}, True),
        (
            "gitlab",
            {"account_variables": lambda account: {"instance": "own.example"}},
            {"instance": "own.example"},
            True,
        ),
        (
            "gitlab",
            {"account_variables": lambda account: {"instance": "own.example"}},
            {"instance": "evil.example"},
            False,
        ),
        ("zendesk", {}, {"subdomain": "evil.example"}, False),
        ("zendesk", {}, {"subdomain": "acme", "other": "evil.example"}, True),
        ("salesforce", {}, {"instance_url": "https://evil.example"}, False),
        ("salesforce", {}, {"instance_url": "https://acme.my.salesforce.com"}, True),
    ],
)
async def test_members_that_the_profile_refuses_are_not_stored(name, options, extra, is_stored):
    account = Account("t1", name, "7")
    async with memory_vault(refreshers={name: refresher(name, "client", "secret", **options)}) as vault:
        row = ImportedToken(Account("t1", name, "8").key(TokenKind.ACCESS_TOKEN), "a", extra=extra, line=3)
        if is_stored:
            await vault.store_token_set(account, TokenSet("a", "r", extra=extra))
            assert (await vault.import_tokens([row])).imported == 1
            return
        with pytest.raises(InvalidInputError) as caught:
            await vault.store_token_set(account, TokenSet("a", "r", extra=extra))
        assert (caught.value.code, "evil" in str(caught.value)) == ("variable_refused", False)
        assert (await vault.import_tokens([row])).failures == (ImportFailure(3, "variable_refused"),)
        assert not (await vault.list_accounts("t1")).items


@pytest.mark.parametrize("allowed", [False, True])
async def test_no_code_goes_to_a_private_address_that_a_user_chose(vault, allowed):
    played = Instances({})
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(played)) as http:
        made = refresher(
            "gitlab", "client", "secret", instance=lambda value: True, private_addresses=allowed, client=http
        )
        connector = Connector(vault, {"gitlab": made}, redirect_uri=CALLBACK)
        start = await connector.begin("t1", "gitlab", session="s", extra={"instance": "127.0.0.1"})
        callback = urlencode({"state": start.state, "code": "c"})
        if allowed:
            await connector.finish(callback, session="s")
        else:
            with pytest.raises(ConnectError) as caught:
                await connector.finish(callback, session="s")
            assert (caught.value.reason, played.asked) == ("private_address", [])


@pytest.mark.parametrize("name", ["mcp_client", "msal-part", "key_value"])
async def test_a_name_that_the_package_uses_itself_is_taken_by_no_host(name):
    made = refresher("gitlab", "client", "secret")
    with pytest.raises(InvalidInputError, match="the vault uses them"):
        as_clients({name: made})
    with pytest.raises(InvalidInputError, match="the vault uses them"):
        async with memory_vault(refreshers={name: made}):
            pass


async def test_a_refused_value_is_named_as_the_cause_and_not_the_client():
    listed = ["evil.example", "gitlab.corp.example"]
    account = Account("t1", "gitlab", "7")
    known = {"gitlab": refresher("gitlab", "client", "secret", instance=lambda host: host in listed)}
    async with memory_vault(refreshers=known) as vault:
        await vault.store_token_set(account, TokenSet("a", "r", expires_in=0, extra={"instance": "evil.example"}))
        del listed[0]  # the host has changed its mind
        for _ in range(2):  # the second call is held back by the first one's failure
            with pytest.raises(ProviderConfigurationError, match="nothing was sent, because a value") as caught:
                await vault.ensure_access_token(account)
            assert (caught.value.reason, caught.value.refused) == ("variable_refused", False)
