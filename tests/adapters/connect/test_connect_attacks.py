"""Attacks on a connection; nothing is stored by any of them."""

import asyncio
import base64
import hmac
import json
import time
from urllib.parse import urlencode

import httpx2
import pytest
from attrs import evolve
from joserfc import jws, jwt
from joserfc.jwk import ECKey, OctKey
from tests.adapters.connect.browser import REDIRECT_URI, parameters
from tests.security.reporters import reports

from vault_adapters import (
    Account,
    AuthorizationRefusedError,
    ConnectError,
    IdentityRefusedError,
    InvalidInputError,
    ProviderConfigurationError,
    StateRefusedError,
)
from vault_adapters.connect import Connector
from vault_adapters.connect.connector import LIFETIME
from vault_adapters.connect.openid import Issuers
from vault_adapters.connect.parameters import read_callback, refusal_in
from vault_adapters.providers import refresher
from vault_adapters.providers.profiles.facts import Place
from vault_adapters.testing.openid import LoopbackOpenIdProvider, openid_provider


async def refused(connector, query, error=StateRefusedError, session="session"):
    """Finish, expect an error, and return its reason; the error shows nothing of the query."""
    with pytest.raises(error) as caught:
        await connector.finish(query, session=session)
    shown = repr((caught.value, caught.value.args, caught.value.__cause__, caught.value.__context__))
    secrets = [value for value in parameters(query).values() if len(value) > 12] if isinstance(query, str) else []
    assert not any(value in shown for value in secrets)
    return caught.value.reason


@pytest.fixture(autouse=True)
async def nothing_was_stored(vault):
    yield
    assert (await vault.list_accounts("t1")).items == ()


@pytest.fixture
async def stored_one(vault, nothing_was_stored):
    """Delete, after the test, the account that the right user's callback has stored."""
    yield
    await vault.delete_account(Account("t1", "local", "user-1"))


# The state


async def test_a_forged_state(connector, browser):
    query = parameters(await browser.connect(connector))
    for state in ("", "forged", "A" * 400, query["state"][:-4] + "AAAA", query["state"] + "AAAA", "é" * 40, "A" * 9000):
        assert await refused(connector, urlencode(query | {"state": state})) == "unreadable"
    del query["state"]
    assert await refused(connector, urlencode(query)) == "unreadable"


async def test_a_replayed_state(connector, browser, provider, stored_one):
    query = await browser.connect(connector)
    await connector.finish(query, session="session")
    assert await refused(connector, query) == "used"
    other = parameters(await browser.connect(connector))
    assert await refused(connector, urlencode(other | {"state": parameters(query)["state"]})) == "used"
    assert provider.exchanged == 1


async def test_a_callback_twice_at_once(connector, browser, provider, stored_one):
    query = await browser.connect(connector)
    results = await asyncio.gather(
        *[connector.finish(query, session="session") for _ in range(5)], return_exceptions=True
    )
    assert sorted(getattr(result, "reason", None) or "" for result in results) == ["", *["used"] * 4]
    assert (provider.exchanged, provider.refused) == (1, 0)


async def test_a_state_that_has_expired(connector, browser, clock):
    query = await browser.connect(connector)
    clock.advance(LIFETIME)
    assert await refused(connector, query) == "expired"


async def test_a_state_of_another_session(connector, browser, stored_one):
    """An attacker makes the victim finish what the attacker has begun, or finishes what the victim has begun."""
    query = await browser.connect(connector, session="the victim's")
    assert await refused(connector, query, session="the attacker's") == "unreadable"
    assert (await connector.finish(query, session="the victim's")).label == "Ana"


async def test_a_state_of_another_redirect_uri(vault, provider, connector, browser):
    query = await browser.connect(connector)
    other = Connector(vault, {"local": provider.refresher()}, redirect_uri=REDIRECT_URI + "/other")
    assert await refused(other, query) == "unreadable"


async def test_a_state_of_another_tenant(vault, provider, connector, browser):
    """The state names the tenant, so no caller can store tokens of a user of t2 for t1."""
    query = await browser.connect(connector, tenant="t2")
    info = await connector.finish(query, session="session")
    assert info.account.tenant_id == "t2"
    erased = await browser.connect(connector, tenant="t2")
    await vault.erase_tenant("t2")
    assert await refused(connector, erased) == "unreadable"


async def test_a_tenant_that_is_erased_while_its_code_is_exchanged(vault, browser):
    loop = asyncio.get_running_loop()

    class Slow(LoopbackOpenIdProvider):
        def token(self, form, authorization):
            asyncio.run_coroutine_threadsafe(vault.erase_tenant("t1"), loop).result(timeout=30)
            return super().token(form, authorization)

    with openid_provider(Slow) as provider:
        connector = Connector(vault, {"local": provider.refresher()}, redirect_uri=REDIRECT_URI)
        assert await refused(connector, await browser.connect(connector)) == "unreadable"
        assert provider.exchanged == 1
    assert (await vault.keys.status(tenant_id="t1")).active == 0


async def test_a_parameter_that_comes_twice(connector, browser):
    query = await browser.connect(connector)
    assert await refused(connector, query + "&code=another", InvalidInputError) is None
    assert await refused(connector, query + "&" + "&".join("x=1" for _ in range(200)), InvalidInputError) is None


# The code


async def test_a_code_that_is_injected(connector, browser, provider):
    """The code of another request is put into this user's callback: PKCE and the nonce bind it to its request."""
    stolen = parameters(await browser.connect(connector, user="ben@example.com"))
    own = parameters(await browser.connect(connector))
    injected = urlencode(own | {"code": stolen["code"]})
    assert await refused(connector, injected, AuthorizationRefusedError) == "invalid_grant"
    assert provider.exchanged == 0


async def test_a_code_that_is_injected_at_a_provider_that_ignores_pkce(vault, browser):
    class Careless(LoopbackOpenIdProvider):
        def token(self, form, authorization):
            grant = self._codes[form["code"]]
            return 200, self._issue(grant)

    with openid_provider(Careless) as provider:
        connector = Connector(vault, {"local": provider.refresher()}, redirect_uri=REDIRECT_URI)
        stolen = parameters(await browser.connect(connector, user="ben@example.com"))
        own = parameters(await browser.connect(connector))
        injected = urlencode(own | {"code": stolen["code"]})
        assert await refused(connector, injected, IdentityRefusedError) == "nonce"


async def test_a_callback_without_code_and_error(connector, browser):
    query = parameters(await browser.connect(connector))
    del query["code"]
    assert await refused(connector, urlencode(query), AuthorizationRefusedError) == "refused"


# The issuer


async def test_a_mix_up(vault, provider, browser):
    """The user is sent to an honest provider; a dishonest one, at which the host has a client too, gets the answer."""
    with openid_provider() as dishonest:
        providers = {"local": provider.refresher(), "dishonest": dishonest.refresher("dishonest")}
        connector = Connector(vault, providers, redirect_uri=REDIRECT_URI)
        start = await connector.begin("t1", "dishonest", session="session")
        query = parameters(await browser.connect(connector))
        mixed = urlencode(query | {"state": start.state})
        assert await refused(connector, mixed, IdentityRefusedError) == "iss"
        assert (dishonest.refused, dishonest.exchanged) == (0, 0)


@pytest.mark.parametrize("iss", [None, "", "https://evil.example", "http://["])
async def test_an_issuer_that_is_missing_or_wrong(connector, browser, provider, iss):
    query = parameters(await browser.connect(connector))
    del query["iss"]
    if iss is not None:
        query["iss"] = iss
    assert await refused(connector, urlencode(query), IdentityRefusedError) == "iss"
    assert (provider.exchanged, provider.refused) == (0, 0)


@pytest.mark.parametrize("iss", ["http://[", "https://evil.example", "http://127.0.0.1:9", ""])
async def test_an_issuer_of_another_host_where_none_is_known(vault, browser, iss):
    class Plain(LoopbackOpenIdProvider):
        sends_iss = False

        def profile(self, name="local"):
            userinfo = Place("userinfo", "sub")
            return evolve(super().profile(name), issuer=None, identifier=userinfo, label=None)

        def common(self, request):
            return super().common(request) | {"iss": iss}

    with openid_provider(Plain) as provider:
        connector = Connector(vault, {"local": provider.refresher()}, redirect_uri=REDIRECT_URI)
        assert await refused(connector, await browser.connect(connector), IdentityRefusedError) == "iss"
        assert (provider.exchanged, provider.refused) == (0, 0)


async def test_another_issuer_of_the_same_host_where_the_profile_names_one(vault, browser):
    """Without OpenID Connect no metadata is read, so the profile alone tells the issuer."""

    class Plain(LoopbackOpenIdProvider):
        sends_iss = False

        def profile(self, name="local"):
            return evolve(super().profile(name), identifier=Place("userinfo", "sub"), label=None)

        def common(self, request):
            return super().common(request) | {"iss": f"{self.issuer}/elsewhere"}

    with openid_provider(Plain) as provider:
        connector = Connector(vault, {"local": provider.refresher()}, redirect_uri=REDIRECT_URI)
        assert await refused(connector, await browser.connect(connector), IdentityRefusedError) == "iss"
        assert (provider.exchanged, provider.refused) == (0, 0)


async def test_a_provider_that_names_another_issuer(vault, browser):
    class Impostor(LoopbackOpenIdProvider):
        def metadata(self):
            return super().metadata() | {"issuer": "https://accounts.google.com"}

    with openid_provider(Impostor) as provider:
        connector = Connector(vault, {"local": provider.refresher()}, redirect_uri=REDIRECT_URI)
        assert await refused(connector, await browser.connect(connector), IdentityRefusedError) == "issuer"


async def test_a_provider_elsewhere_does_not_make_this_machine_call_itself(vault):
    """A provider's document gives the URL of its public keys. Only a provider on this machine may give an http URL."""
    asked = []

    def answer(request):
        asked.append(request.url.host)
        return httpx2.Response(200, json={"issuer": "https://id.example", "jwks_uri": "http://127.0.0.1:6379/keys"})

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as client:
        profile = LoopbackOpenIdProvider("https://id.example").profile()
        providers = {"local": refresher(profile, "client", "secret", client=client)}
        connector = Connector(vault, providers, redirect_uri=REDIRECT_URI)
        start = await connector.begin("t1", "local", session="session")
        query = urlencode({"state": start.state, "code": "c", "iss": "https://id.example"})
        await refused(connector, query, ConnectError)
    assert asked == ["id.example"]


# The id_token


def encoded(part):
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


def unsigned(claims):
    return f"{encoded({'alg': 'none', 'typ': 'JWT'})}.{encoded(claims)}."


OTHER_KEY = ECKey.generate_key("P-256", private=True)


def with_other_key(provider, claims):
    return jwt.encode({"alg": "ES256", "kid": provider.key.kid}, claims, OTHER_KEY)


def with_client_secret(provider, claims):
    return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(provider.client_secret))


def with_public_key_as_secret(provider, claims):
    """The classic confusion: the public key, which everybody knows, serves as the key of an HMAC."""
    signed = encoded({"alg": "HS256", "kid": provider.key.kid}) + "." + encoded(claims)
    mac = hmac.digest(provider.key.as_pem(private=False), signed.encode(), "sha256")
    return f"{signed}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


def as_another_type(provider, claims):
    """A token of the same provider with the right claims, such as an access token (RFC 9068)."""
    return jwt.encode({"alg": "ES256", "kid": provider.key.kid, "typ": "AT+JWT"}, claims, provider.key)


def with_deep_claims(provider, claims):
    """Thousands of lists in lists, which Python's JSON reader refuses with a RecursionError."""
    return jws.serialize_compact({"alg": "ES256", "kid": provider.key.kid}, b"[" * 20_000, provider.key)


SIGNATURES = {
    "none": lambda provider, claims: unsigned(claims),
    "other key": with_other_key,
    "client secret": with_client_secret,
    "public key as secret": with_public_key_as_secret,
    "no token": lambda provider, claims: "not.a.token",
    "too deep": with_deep_claims,
}
CLAIMS = {
    "iss": {"iss": "https://evil.example"},
    "aud": {"aud": "another-client"},
    "aud list": {"aud": ["another-client"]},
    "azp": {"aud": ["loopback-client", "another-client"]},
    "azp other": {"azp": "another-client"},
    "exp": {"exp": int(time.time()) - 120},
    "exp text": {"exp": "2999"},
    "exp true": {"exp": True},
    "exp huge": {"exp": 10**400},
    "exp nbf": {"nbf": int(time.time()) + 3600},
    "nonce": {"nonce": "another"},
    "nonce none": {"nonce": None},
    "at_hash": {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
    "sub": {"sub": ""},
    "sub none": {"sub": None},
}


@pytest.fixture(scope="module")
def liar():
    """A provider whose id_tokens a test spoils."""

    class Liar(LoopbackOpenIdProvider):
        spoiled, signature = {}, None

        def claims(self, grant):
            return super().claims(grant) | self.spoiled

        def signed(self, claims):
            if self.signature is not None:
                return self.signature(self, claims)
            header, content = {"alg": "ES256", "kid": self.key.kid}, json.dumps(claims).encode()
            return jws.serialize_compact(header, content, self.key)

    with openid_provider(Liar) as running:
        yield running


@pytest.fixture
def lied_to(vault, liar):
    liar.spoiled, liar.signature = {}, None
    return Connector(vault, {"local": liar.refresher()}, redirect_uri=REDIRECT_URI)


@pytest.mark.parametrize("name", SIGNATURES)
async def test_an_id_token_with_a_wrong_signature(liar, lied_to, browser, name):
    liar.signature = SIGNATURES[name]
    assert await refused(lied_to, await browser.connect(lied_to), IdentityRefusedError) == "signature"


@pytest.mark.parametrize("name", CLAIMS)
async def test_an_id_token_with_a_wrong_claim(liar, lied_to, browser, name):
    liar.spoiled = CLAIMS[name]
    assert await refused(lied_to, await browser.connect(lied_to), IdentityRefusedError) == name.partition(" ")[0]


async def test_a_token_of_another_type_is_no_id_token(liar, lied_to, browser):
    liar.signature = as_another_type
    assert await refused(lied_to, await browser.connect(lied_to), IdentityRefusedError) == "typ"


async def test_an_id_token_that_is_missing(liar, lied_to, browser):
    liar.signature = lambda provider, claims: None
    assert await refused(lied_to, await browser.connect(lied_to), IdentityRefusedError) == "id_token"


async def test_keys_that_the_provider_has_rotated_are_read_again(liar, lied_to, browser, stored_one):
    lied_to._issuers._known.clear()
    await lied_to.finish(await browser.connect(lied_to), session="session")
    liar.key = ECKey.generate_key("P-256", {"use": "sig", "kid": "new"}, private=True)
    [(name, known)] = lied_to._issuers._known.items()
    lied_to._issuers._known[name] = evolve(known, read_at=known.read_at - 31)
    assert (await lied_to.finish(await browser.connect(lied_to), session="session")).label == "Ana"


async def test_keys_that_another_call_has_read_meanwhile_are_not_read_again():
    name, asked = "https://id.example", []

    def answer(request):
        asked.append(request.url.path)
        return httpx2.Response(200, json={"issuer": name, "jwks_uri": name + "/keys"})

    issuers = Issuers()
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as client:
        found = await issuers.find(name, client)
        issuers._known[name] = newer = evolve(found, read_at=found.read_at - 31)
        asked.clear()
        assert await issuers.find(name, client, newer_than=newer.read_at - 1) is newer
        assert asked == []
        assert (await issuers.find(name, client, newer_than=newer.read_at)).read_at > newer.read_at
        assert len(asked) == 2
        issuers._known[name] = stale = evolve(found, read_at=found.read_at - 3601)
        assert (await issuers.find(name, client, newer_than=stale.read_at - 1)).read_at > stale.read_at


async def test_issuers_take_a_bounded_part_of_the_memory_and_of_the_loop():
    """With an issuer for each instance, an instance's operator chooses its document and its keys."""
    key = {"kty": "RSA", "kid": "1", "n": "AQAB" * 20, "e": "AQAB", "x5c": ["MII" * 100]}

    def answer(request):
        name = f"https://{request.url.host}"
        if request.url.host == "huge.example" and request.url.path == "/keys":
            return httpx2.Response(200, json={"keys": [key] * 3000})
        keys = [key] * 200 + ["no key"]
        return httpx2.Response(200, json={"issuer": name, "jwks_uri": name + "/keys", "keys": keys})

    issuers = Issuers()
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as client:
        found = await issuers.find("https://id0.example", client)
        assert found.keys == {"keys": [{name: key[name] for name in ("kty", "kid", "n", "e")}] * 32}
        for number in range(1, 80):
            await issuers.find(f"https://id{number}.example", client)
        assert list(issuers._known) == [f"https://id{number}.example" for number in range(16, 80)]
        with pytest.raises(ConnectError) as caught:
            await issuers.find("https://huge.example", client)
        assert caught.value.code == "provider_unavailable"


@pytest.mark.parametrize(
    "strange",
    [
        {"kty": "OKP", "kid": "new", "crv": "of tomorrow", "x": "AAAA"},
        {"kty": "RSA", "kid": "new", "n": 1, "e": "AQAB"},
        {"kty": "of tomorrow", "kid": "new"},
        "no key",
    ],
    ids=["curve", "member", "kind", "text"],
)
async def test_a_key_that_cannot_be_read_does_not_spoil_the_others(vault, browser, stored_one, strange):
    """RFC 7517 section 5: keys of kinds that are not understood are ignored."""

    class Tomorrow(LoopbackOpenIdProvider):
        def keys(self):
            return {"keys": [strange, *super().keys()["keys"]]}

    with openid_provider(Tomorrow) as provider:
        connector = Connector(vault, {"local": provider.refresher()}, redirect_uri=REDIRECT_URI)
        assert (await connector.finish(await browser.connect(connector), session="session")).label == "Ana"


async def test_an_issuer_with_directories(vault, browser, stored_one):
    """Microsoft's document for several directories names an issuer with `{tenantid}` in place of a directory's id."""
    directory = "11111111-2222-3333-4444-555555555555"

    class Directories(LoopbackOpenIdProvider):
        named = "/" + directory

        def profile(self, name="local"):
            return evolve(super().profile(name), issuer=f"{self.issuer}//")

        def metadata(self):
            return super().metadata() | {"issuer": f"{self.issuer}/{{tenantid}}"}

        def claims(self, grant):
            return super().claims(grant) | {"iss": f"{self.issuer}/{directory}", "tid": directory}

        def common(self, request):
            return super().common(request) | {"iss": self.issuer + self.named}

    with openid_provider(Directories) as provider:
        connector = Connector(vault, {"local": provider.refresher()}, redirect_uri=REDIRECT_URI)
        assert (await connector.finish(await browser.connect(connector), session="session")).label == "Ana"

        provider.key = ECKey.generate_key("P-256", {"use": "sig", "kid": "new"}, private=True)
        [(name, known)] = connector._issuers._known.items()
        connector._issuers._known[name] = evolve(known, read_at=known.read_at - 31)
        assert (await connector.finish(await browser.connect(connector), session="session")).label == "Ana"

        for provider.named in ("/{tenantid}", "/", "/evil", f"/{directory}/more"):
            assert await refused(connector, await browser.connect(connector), IdentityRefusedError) == "iss"


# Identifier and label


@pytest.mark.parametrize("sub", ["a\0b", "a\nb", " a", "x" * 256, "e\u0301", "\ud800", "a\u202eb", 7, ["a"]], ids=ascii)
async def test_a_hostile_identifier(liar, lied_to, browser, sub):
    liar.spoiled = {"sub": sub}
    reason = "identifier" if isinstance(sub, str) else "sub"
    assert await refused(lied_to, await browser.connect(lied_to), IdentityRefusedError) == reason


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        ("a\0b\r\nc", "abc"),
        ("\u202eevil\u200b", "evil"),
        ("x" * 300, "x" * 255),
        ("\ud800", None),
        (7, None),
        ("  ", None),
    ],
    ids=ascii,
)
async def test_a_hostile_label(liar, lied_to, browser, stored_one, label, shown):
    liar.spoiled = {"name": label}
    assert (await lied_to.finish(await browser.connect(lied_to), session="session")).label == shown


# A provider that breaks


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((500, {}), "server_error"),
        ((200, {}), "unreadable_answer"),
        ((200, {"access_token": -7}), "unreadable_answer"),
        ((200, ["a"]), "unreadable_answer"),
    ],
    ids=str,
)
async def test_a_provider_that_answers_nonsense(vault, browser, answer, reason):
    class Broken(LoopbackOpenIdProvider):
        def token(self, form, authorization):
            return answer

    with openid_provider(Broken) as provider:
        connector = Connector(vault, {"local": provider.refresher()}, redirect_uri=REDIRECT_URI)
        with pytest.raises(ConnectError) as caught:
            await connector.finish(await browser.connect(connector), session="session")
        assert (caught.value.code, caught.value.reason) == ("provider_unavailable", reason)
        assert str(caught.value).endswith(f"(local, {reason})")


async def test_a_provider_that_wants_a_proof(vault, browser):
    class Bound(LoopbackOpenIdProvider):
        def token(self, form, authorization):
            return 400, {"error": "use_dpop_nonce"}

    with openid_provider(Bound) as provider:
        connector = Connector(vault, {"local": provider.refresher()}, redirect_uri=REDIRECT_URI)
        with pytest.raises(ProviderConfigurationError) as caught:
            await connector.finish(await browser.connect(connector), session="session")
        assert caught.value.reason == "dpop_required"


@pytest.mark.parametrize(
    ("error", "text", "reason"),
    [
        ("invalid_request", "Pushed Authorization Request is required: pushed authorization", "par_required"),
        ("invalid_request", "Pushed Authorization Request must be used", "par_required"),
        ("unauthorized_client", "the client must use PAR", "par_required"),
        ("invalid_request", "redirect_uri is missing", "invalid_request"),
        ("access_denied", "PAR", "access_denied"),
    ],
)
async def test_a_provider_that_wants_pushed_requests(error, text, reason):
    assert refusal_in(read_callback({"error": error, "error_description": text})).reason == reason


async def test_a_provider_that_does_not_answer(connector, browser, vault):
    with openid_provider() as provider:
        gone = Connector(vault, {"local": provider.refresher()}, redirect_uri=REDIRECT_URI)
        query = await browser.connect(gone)
    with pytest.raises(ConnectError) as caught:
        await gone.finish(query, session="session")
    assert (caught.value.code, caught.value.reason) == ("provider_unavailable", "connection_refused")


@pytest.mark.parametrize("claims", [{"sub": "user-2"}, {}, {"sub": None}, {"sub": ["user-1"]}])
async def test_userinfo_of_another_user_or_of_nobody(vault, browser, claims):
    """OpenID Connect Core 5.3.2: userinfo names its user, and counts only for the user of the id_token."""

    class Mistaken(LoopbackOpenIdProvider):
        def profile(self, name="local"):
            return evolve(super().profile(name), label=Place("userinfo", "email"))

        def userinfo(self, authorization):
            return {"email": "ben@example.com", **claims}

    with openid_provider(Mistaken) as provider:
        connector = Connector(vault, {"local": provider.refresher()}, redirect_uri=REDIRECT_URI)
        assert await refused(connector, await browser.connect(connector), IdentityRefusedError) == "sub"


# What errors show


async def test_no_report_of_an_error_shows_code_state_or_token(vault, liar, lied_to, browser):
    """With the locals of all frames, as error trackers send them."""

    def shown(error):
        return "\n".join(reports(error).values())

    codes = set()
    for spoil, change in [
        ({}, lambda query: query | {"state": query["state"][:-4] + "AAAA"}),
        ({}, lambda query: query | {"iss": "https://evil.example"}),
        ({}, lambda query: query | {"code": query["code"] + "x"}),
        ({"aud": "another"}, dict),
        ({"sub": "a\0b"}, dict),
    ]:
        liar.spoiled = spoil
        session = "the session of this user"
        query = parameters(await browser.connect(lied_to, session=session))
        with pytest.raises(ConnectError) as caught:
            await lied_to.finish(urlencode(change(query)), session=session)
        codes.add(caught.value.code)
        secrets = [query["state"][:40], query["code"], "demo-access-", "demo-refresh-", "the session of", "eyJ"]
        assert [secret for secret in secrets if secret in shown(caught.value)] == []
    assert codes == {"state_refused", "identity_refused", "authorization_refused"}
