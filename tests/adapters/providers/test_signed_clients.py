"""Clients that sign: private_key_jwt, the JWT bearer grant and GitHub App installations, each against a real server."""

import asyncio
import json
import re
import sys
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey
from tests.adapters.providers.asking import failure, refreshed
from tests.security.reporters import reports
from tests.support.answers import Answer, token_answer
from tests.support.authlib_peer import authlib_peer

from vault_adapters import InvalidInputError, Secret
from vault_adapters.providers import GitHubAppRefresher, JwtBearerRefresher, OAuth2Refresher, SigningKey, refresher
from vault_domain.entities.errors import (
    ConfigurationError,
    ProviderConfigurationError,
    ReauthorizationRequiredError,
    RefreshFailedError,
)

GUIDE = Path(__file__).parents[3] / "docs" / "how-to" / "write-a-refresher.md"
RSA = RSAKey.generate_key(2048)
EC = ECKey.generate_key("P-256", parameters={"kid": "ec-1"})
PEM = RSA.as_pem(private=True).decode()


def public(key):
    kind = RSAKey if key.key_type == "RSA" else ECKey
    return kind.import_key(key.as_dict(private=False))


def decoded(token, key=RSA):
    return jwt.decode(token, public(key), algorithms=["RS256", "PS256", "ES256"])


def by_service(content):
    """Sign as a key management service does, with RSA and SHA-256."""
    return RSA.private_key.sign(content, padding.PKCS1v15(), hashes.SHA256())


class Service:
    async def __call__(self, content):
        return by_service(content)


def by_service_later(content):
    """Return an awaitable, without being a coroutine function."""
    return Service()(content)


async def slowly(content):
    await asyncio.sleep(60)


KEYS = {
    "pem": lambda: (SigningKey.from_pem(PEM), RSA),
    "secret pem": lambda: (SigningKey.from_pem(Secret(PEM), algorithm="PS256"), RSA),
    "pem bytes": lambda: (SigningKey.from_pem(EC.as_pem(private=True)), EC),
    "jwk": lambda: (SigningKey.from_jwk(EC.as_dict(private=True)), EC),
    "jwk text": lambda: (SigningKey.from_jwk(Secret(json.dumps(RSA.as_dict(private=True)))), RSA),
    "signer": lambda: (SigningKey.from_signer(by_service, algorithm="RS256", key_id="k"), RSA),
    "signer's awaitable": lambda: (SigningKey.from_signer(by_service_later, algorithm="RS256"), RSA),
    "signer object": lambda: (SigningKey.from_signer(Service(), algorithm="RS256"), RSA),
}


@pytest.mark.parametrize("name", KEYS)
async def test_a_key_signs_whatever_its_source_is(name):
    key, private = KEYS[name]()
    token = decoded(await key.jwt({"iss": "me", "n": 1}), private)
    assert token.claims == {"iss": "me", "n": 1}
    assert token.header["alg"] == key.algorithm
    assert token.header.get("kid") == key.key_id


def test_a_jwk_gives_its_id_to_the_header():
    assert SigningKey.from_jwk(EC.as_dict(private=True)).key_id == "ec-1"


WRONG_KEYS = {
    "no key": lambda: SigningKey.from_pem("canary-no-key"),
    "public": lambda: SigningKey.from_pem(RSA.as_pem(private=False)),
    "public jwk": lambda: SigningKey.from_jwk(EC.as_dict(private=False)),
    "shared secret": lambda: SigningKey.from_jwk(OctKey.generate_key().as_dict(private=True)),
    "short": lambda: SigningKey.from_pem(RSAKey.generate_key(1024).as_pem(private=True)),
    "other curve": lambda: SigningKey.from_jwk(ECKey.generate_key("secp256k1").as_dict(private=True)),
    "algorithm of another key": lambda: SigningKey.from_pem(PEM, algorithm="ES256"),
    "algorithm of a shared secret": lambda: SigningKey.from_pem(PEM, algorithm="HS256"),
    "none": lambda: SigningKey.from_signer(lambda content: b"", algorithm="none"),
    "jwk text": lambda: SigningKey.from_jwk("canary {"),
    "key id": lambda: SigningKey.from_pem(PEM, key_id="a\nb"),
    "signer": lambda: SigningKey.from_signer(None, algorithm="RS256"),
}


@pytest.mark.filterwarnings("ignore")  # joserfc warns of the weak keys that are refused here
@pytest.mark.parametrize("name", WRONG_KEYS)
def test_an_unfit_key_is_refused_without_showing_it(name):
    with pytest.raises(InvalidInputError) as caught:
        WRONG_KEYS[name]()
    assert "canary" not in str(caught.value)
    assert "BEGIN" not in str(caught.value)
    assert caught.value.__context__ is None


def test_a_key_is_not_shown():
    key = SigningKey.from_pem(PEM, key_id="k1")
    assert repr(key) == "SigningKey(algorithm='RS256', key_id='k1')"


@pytest.fixture(scope="module")
def peer():
    with authlib_peer() as peer:
        peer.add_client("client", public(RSA))
        peer.add_client("ec-client", public(EC))
        peer.connect("client", "refresh-1")
        peer.users.add("ann@example.com")
        yield peer


def client_of(peer, key=None, **options):
    return OAuth2Refresher(
        peer.token_url, "client", auth_method="private_key_jwt", signing_key=key or SigningKey.from_pem(PEM), **options
    )


async def test_a_client_refreshes_with_its_key_instead_of_a_secret(peer):
    first, second = [await refreshed(client_of(peer)) for _ in range(2)]
    assert first.access_token.reveal() != second.access_token.reveal()


async def test_each_request_has_an_assertion_of_its_own(peer):
    before = len(peer.seen)
    for _ in range(3):
        await refreshed(client_of(peer))
    assert len(set(peer.seen[before:])) == 3


async def test_a_profile_refreshes_with_a_key(peer, tmp_path):
    path = tmp_path / "acme.toml"
    path.write_text(
        f'name = "acme"\ntitle = "Acme"\ndocs = ["https://acme.example/docs"]\nchecked = 2026-01-01\n'
        f'token_url = "{peer.token_url}"\nclient_auth = ["private_key_jwt"]\n'
    )
    assert await refreshed(refresher(path, "client", signing_key=SigningKey.from_pem(PEM)))
    with pytest.raises(ConfigurationError, match="signing_key"):
        refresher(path, "client", "secret")


@pytest.mark.parametrize("wrong", ["key", "audience"])
async def test_a_wrong_key_or_audience_is_the_clients_fault_and_no_grants(peer, wrong):
    other = RSAKey.generate_key(2048).as_pem(private=True)
    wrongly = (
        client_of(peer, SigningKey.from_pem(other)) if wrong == "key" else client_of(peer, audience="https://x.example")
    )
    error = await failure(wrongly)
    assert isinstance(error, ProviderConfigurationError)
    assert error.reason == "invalid_client"


def test_a_method_gets_what_it_needs_and_nothing_else():
    key = SigningKey.from_pem(PEM)
    for options in (
        {"auth_method": "private_key_jwt"},
        {"auth_method": "private_key_jwt", "signing_key": key, "client_secret": "s"},
        {"client_secret": "s", "signing_key": key},
        {"auth_method": "private_key_jwt", "signing_key": "key"},
        {"auth_method": "client_secret_jwt"},
        {"auth_method": "client_secret_jwt", "client_secret": "s", "signing_key": key},
    ):
        with pytest.raises(InvalidInputError):
            OAuth2Refresher("https://acme.example/token", "client", **options)


async def test_a_secret_signs_and_is_not_sent(provider):
    provider.answer(token_answer("a1"), token_answer("a2"))
    secret = "canary-" + "s" * 32
    client = OAuth2Refresher(provider.token_url, "client", secret, auth_method="client_secret_jwt", audience="acme")
    await refreshed(client)
    await refreshed(client)
    seen = set()
    for request in provider.requests:
        form = dict(parse_qsl(request.body.decode()))
        assert "canary" not in f"{form}{request.headers}"
        token = jwt.decode(form["client_assertion"], OctKey.import_key(secret), algorithms=["HS256"])
        assert (token.claims["iss"], token.claims["sub"], token.claims["aud"]) == ("client", "client", "acme")
        seen.add(token.claims["jti"])
    assert len(seen) == 2


def test_an_accounts_own_client_cannot_sign_with_its_secret(tmp_path):
    path = tmp_path / "acme.toml"
    path.write_text(
        'name = "acme"\ntitle = "Acme"\ndocs = ["https://acme.example/docs"]\nchecked = 2026-11-26\n'
        'token_url = "https://acme.example/token"\nclient_auth = ["client_secret_jwt"]\n'
        '[request]\ngrant = "client_credentials"\n'
    )
    with pytest.raises(InvalidInputError, match="client_secret_basic or client_secret_post"):
        refresher(path)


@pytest.mark.parametrize("sign", [slowly, lambda content: 1 / 0, lambda content: "text", lambda content: b""])
async def test_a_signer_that_fails_sends_nothing_and_spends_nothing(provider, sign):
    key = SigningKey.from_signer(sign, algorithm="RS256")
    client = OAuth2Refresher(provider.token_url, "client", auth_method="private_key_jwt", signing_key=key)
    error = await failure(client, deadline=5.0, send_deadline=0.2)
    assert isinstance(error, RefreshFailedError)
    assert not error.outcome_unknown
    assert "signed" in str(error)
    assert provider.requests == []


async def test_the_time_for_signing_counts():
    async def sign(content):
        await asyncio.sleep(0.05)
        return b"signature"

    from vault_adapters.providers.assertions import timely

    key = SigningKey.from_signer(sign, algorithm="RS256")
    signed = await timely(key, {"iss": "me"}, timedelta(seconds=10), timedelta(seconds=4))
    limits = [signed.deadline.total_seconds(), signed.send_deadline.total_seconds()]
    assert 0.05 <= 10 - limits[0] < 5
    assert 0.05 <= 4 - limits[1] < 4


# The JWT bearer grant


async def test_without_joserfc_no_report_of_the_error_shows_the_accounts_key(monkeypatch):
    monkeypatch.setitem(sys.modules, "joserfc.jwk", None)
    secret = Secret.from_fields(issuer="client", private_key=PEM)
    error = await failure(JwtBearerRefresher("https://acme.example/token"), secret)
    assert isinstance(error, ConfigurationError)
    assert PEM.splitlines()[1] not in "\n".join(reports(error).values())


async def test_an_accounts_key_that_is_too_long_is_not_even_parsed(peer):
    """A key of 8192 bits, which a tenant may bring, would hold the process for seconds."""
    bearer = JwtBearerRefresher(peer.token_url)
    assert await refreshed(bearer, Secret.from_fields(issuer="client", private_key=PEM + "\n" * 2000))
    error = await failure(bearer, Secret.from_fields(issuer="client", private_key=PEM + "\n" * 4096))
    assert isinstance(error, ReauthorizationRequiredError)


async def test_the_hosts_key_asks_for_the_accounts_user(peer):
    bearer = JwtBearerRefresher(peer.token_url, issuer="client", signing_key=SigningKey.from_pem(PEM))
    tokens = await refreshed(bearer, Secret.from_fields(subject="ann@example.com"))
    assert tokens.access_token.reveal()
    assert tokens.refresh_token is None


async def test_an_account_brings_its_own_key_as_a_service_account_does(peer):
    file = {"type": "service_account", "client_email": "client", "private_key": PEM, "private_key_id": "k1"}
    tokens = await refreshed(JwtBearerRefresher(peer.token_url), Secret(json.dumps(file)))
    assert tokens.access_token.reveal()


async def test_a_user_who_is_gone_must_connect_again(peer):
    bearer = JwtBearerRefresher(peer.token_url, issuer="client", signing_key=SigningKey.from_pem(PEM))
    error = await failure(bearer, Secret.from_fields(subject="bob@example.com"))
    assert isinstance(error, ReauthorizationRequiredError)


OWN_KEYS = JwtBearerRefresher("https://acme.example/token")
KEY_FORGOTTEN = JwtBearerRefresher("https://acme.example/token", issuer="me")
ISSUER_FORGOTTEN = JwtBearerRefresher("https://acme.example/token", signing_key=SigningKey.from_pem(PEM))


@pytest.mark.parametrize("fields", [{"private_key": PEM}, {"issuer": "client", "private_key": "x"}, "no fields"])
async def test_an_account_whose_own_key_is_incomplete_must_be_mended(fields):
    error = await failure(OWN_KEYS, Secret(fields) if isinstance(fields, str) else Secret.from_fields(**fields))
    assert isinstance(error, ReauthorizationRequiredError)
    assert error.reason == "invalid_client"


@pytest.mark.parametrize(
    ("bearer", "fields", "lacking"),
    [
        (OWN_KEYS, {"subject": "ann"}, "signing_key"),
        (OWN_KEYS, {"issuer": "client"}, "signing_key"),
        (KEY_FORGOTTEN, {"subject": "ann"}, "signing_key"),
        (ISSUER_FORGOTTEN, {"subject": "ann"}, "issuer"),
        (ISSUER_FORGOTTEN, {"private_key": PEM}, "issuer"),
    ],
)
async def test_what_the_host_forgot_condemns_no_account(bearer, fields, lacking, caplog):
    error = await failure(bearer, Secret.from_fields(**fields))
    assert type(error) is ProviderConfigurationError
    assert not error.refused
    assert f"has no {lacking}" in str(error)
    assert f"has no {lacking}" in caplog.text


async def test_the_claims_are_those_of_the_rfc(provider):
    provider.answer(Answer(body=b'{"access_token": "a"}'))
    bearer = JwtBearerRefresher(
        provider.token_url,
        issuer="me",
        signing_key=SigningKey.from_pem(PEM),
        audience="https://login.acme.example",
        scopes=("a", "b"),
        scope_claim=True,
        lifetime=timedelta(minutes=3),
        default_lifetime=timedelta(hours=2),
    )
    before = int(time.time())
    tokens = await refreshed(bearer, Secret.from_fields(subject="ann"))
    assert tokens.expires_in == timedelta(hours=2)
    [sent] = provider.requests
    assert sent.form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    assert "scope" not in sent.form
    claims = decoded(sent.form["assertion"]).claims
    assert (claims["iss"], claims["sub"], claims["aud"]) == ("me", "ann", "https://login.acme.example")
    assert claims["scope"] == "a b"
    assert claims["exp"] - claims["iat"] == 180
    assert before <= claims["iat"] <= time.time()


async def test_scopes_are_a_parameter_unless_they_are_a_claim(provider):
    provider.answer(Answer(body=b'{"access_token": "a"}'))
    bearer = JwtBearerRefresher(provider.token_url, issuer="me", signing_key=SigningKey.from_pem(PEM), scopes=("a",))
    await refreshed(bearer, Secret.from_fields(subject="ann"))
    assert provider.requests[0].form["scope"] == "a"


@pytest.mark.parametrize("own", [True, False])
async def test_invalid_client_condemns_a_key_only_if_it_is_the_accounts_own(provider, own):
    provider.answer(Answer(status=401, body=b'{"error": "invalid_client"}'))
    bearer = JwtBearerRefresher(provider.token_url, issuer="me", signing_key=SigningKey.from_pem(PEM))
    fields = {"issuer": "me", "private_key": PEM} if own else {"subject": "ann"}
    error = await failure(bearer, Secret.from_fields(**fields))
    assert isinstance(error, ReauthorizationRequiredError if own else ProviderConfigurationError)


# GitHub


def github(provider):
    return GitHubAppRefresher("Iv1.app", SigningKey.from_pem(PEM), api_url=provider.base_url)


INSTALLATION = Secret.from_fields(installation_id="42")


async def test_an_installation_gets_its_token(provider):
    expires_at = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    body = {
        "token": "ghs_1",
        "expires_at": expires_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "permissions": {"contents": "read"},
    }
    provider.answer(Answer(status=201, body=json.dumps(body).encode()))
    tokens = await refreshed(
        github(provider),
        Secret.from_fields(installation_id="42", repositories="one two", permissions="contents:read issues:write"),
    )
    assert tokens.access_token.reveal() == "ghs_1"
    assert tokens.expires_at == expires_at
    [sent] = provider.requests
    assert sent.path == "/app/installations/42/access_tokens"
    claims = decoded(sent.headers["authorization"].removeprefix("Bearer ")).claims
    assert claims["iss"] == "Iv1.app"
    assert claims["exp"] - time.time() <= 600
    assert claims["iat"] < time.time() - 30
    assert json.loads(sent.body) == {
        "repositories": ["one", "two"],
        "permissions": {"contents": "read", "issues": "write"},
    }


REFUSALS = {
    "suspended": (403, "This installation has been suspended", ProviderConfigurationError, "suspended"),
    "another key": (401, "A JSON web token could not be decoded", ProviderConfigurationError, "invalid_client"),
    "permissions": (422, "not granted", ProviderConfigurationError, "invalid_scope"),
    "rate limit": (403, "API rate limit exceeded", RefreshFailedError, "temporarily_unavailable"),
    "forbidden": (403, "Forbidden", ProviderConfigurationError, "unauthorized_client"),
    "busy": (429, "", RefreshFailedError, "temporarily_unavailable"),
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_githubs_refusals_mean(provider, name):
    status, message, kind, reason = REFUSALS[name]
    provider.answer(Answer(status=status, body=json.dumps({"message": message}).encode()))
    error = await failure(github(provider), INSTALLATION)
    assert type(error) is kind
    assert error.reason == reason


async def test_a_suspended_installation_is_no_refusal_of_the_account(provider):
    """The owner may resume the installation at any time, so it is asked for again, and never exhausted."""
    provider.answer(Answer(status=403, json={"message": "This installation has been suspended"}))
    assert not (await failure(github(provider), INSTALLATION)).refused


@pytest.mark.parametrize(("status", "left"), [(403, "0"), (429, "0"), (403, None)])
async def test_github_says_when_its_rate_limit_ends(provider, status, left):
    date = datetime.now(UTC).replace(microsecond=0)
    headers = {"Date": format_datetime(date, usegmt=True), "X-RateLimit-Reset": str(int(date.timestamp()) + 900)}
    headers |= {} if left is None else {"X-RateLimit-Remaining": left}
    provider.answer(Answer(status=status, json={"message": "API rate limit exceeded"}, headers=headers))
    error = await failure(github(provider), INSTALLATION)
    assert (type(error), error.reason) == (RefreshFailedError, "temporarily_unavailable")
    assert error.retry_after == (None if left is None else timedelta(minutes=15))


KEY = SigningKey.from_pem(PEM)
SIGNING = {
    "an account's own key": (JwtBearerRefresher, {}, Secret.from_fields(issuer="me", private_key=PEM)),
    "the refresher's key": (JwtBearerRefresher, {"issuer": "me", "signing_key": KEY}, "key"),
    "a client's key": (
        OAuth2Refresher,
        {"client_id": "me", "signing_key": KEY, "auth_method": "private_key_jwt"},
        "refresh-1",
    ),
}


@pytest.mark.parametrize("ahead", [-125, -45, 0, 20, 600])
@pytest.mark.parametrize("code", ["invalid_grant", "invalid_client"])
@pytest.mark.parametrize("name", SIGNING)
async def test_a_refusal_while_the_clocks_differ_is_the_clocks_fault(provider, caplog, name, code, ahead):
    make, options, credential = SIGNING[name]
    date = format_datetime(datetime.now(UTC) - timedelta(seconds=ahead), usegmt=True)
    provider.answer(Answer(status=400, json={"error": code}, headers={"Date": date}))
    error = await failure(make(provider.token_url, **options), credential)
    if abs(ahead) < 30:
        assert error.reason == code
    else:
        assert (type(error), error.reason, error.refused) == (ProviderConfigurationError, "clock_skew", False)
        assert re.search(rf"differs from that of acme by {str(ahead)[:-1]}\d seconds", caplog.text)


async def test_githubs_refusal_of_a_jwt_while_the_clocks_differ(provider):
    date = format_datetime(datetime.now(UTC) + timedelta(minutes=3), usegmt=True)
    provider.answer(Answer(status=401, json={"message": "'Expiration time' is too far"}, headers={"Date": date}))
    assert (await failure(github(provider), INSTALLATION)).reason == "clock_skew"


async def test_a_clients_secret_is_not_excused_by_a_clock(provider):
    date = format_datetime(datetime.now(UTC) + timedelta(minutes=3), usegmt=True)
    provider.answer(Answer(status=400, json={"error": "invalid_grant"}, headers={"Date": date}))
    error = await failure(OAuth2Refresher(provider.token_url, "client", "secret"))
    assert type(error) is ReauthorizationRequiredError


APP = Answer(json={"id": 7, "slug": "acme"})
NOT_FOUND = Answer(status=404, json={"message": "Not Found"})
APPS = {
    "the App is found": (APP, ReauthorizationRequiredError, "invalid_grant"),
    "nothing is found": (NOT_FOUND, ProviderConfigurationError, "http_404"),
    "a page of another server": (Answer(body=b"<html>welcome</html>"), ProviderConfigurationError, "http_404"),
    "an object of another server": (Answer(json={"name": "api"}), ProviderConfigurationError, "http_404"),
    "the App is refused": (Answer(status=401, json={}), ProviderConfigurationError, "invalid_client"),
    "forbidden": (Answer(status=403, json={"message": "suspended"}), RefreshFailedError, "temporarily_unavailable"),
    "busy": (Answer(status=429), RefreshFailedError, "temporarily_unavailable"),
    "broken": (Answer(status=500), RefreshFailedError, "temporarily_unavailable"),
    "no answer": (Answer(drop="rst"), RefreshFailedError, "connection_lost"),
}


@pytest.mark.parametrize(("status", "name"), [*((404, name) for name in APPS), (410, "nothing is found")])
async def test_an_installation_is_gone_only_if_the_url_leads_to_the_app(provider, status, name):
    """A wrong ``api_url`` answers 404 for every installation, which must not condemn them all."""
    answer, kind, reason = APPS[name]
    provider.answer(Answer(status=status, json={"message": "Not Found"}), path="/app/installations/42/access_tokens")
    provider.answer(answer, path="/app")
    error = await failure(github(provider), INSTALLATION)
    assert type(error) is kind
    assert error.reason == reason
    if kind is RefreshFailedError:
        assert not error.outcome_unknown
    if reason == "http_404":
        assert not error.refused
    installation, app = provider.requests
    assert (app.method, app.headers["authorization"]) == ("GET", installation.headers["authorization"])


async def test_an_app_that_does_not_answer_in_time_condemns_nothing(provider):
    provider.answer(Answer(status=404, json={}), Answer(json={"id": 7}, delay=30))
    error = await failure(github(provider), INSTALLATION, deadline=0.5)
    assert type(error) is RefreshFailedError
    assert not error.outcome_unknown


@pytest.mark.parametrize("fields", [{"installation_id": "../user"}, {"installation_id": ""}, {"id": "1"}])
async def test_an_installation_is_a_number(provider, fields):
    error = await failure(github(provider), Secret.from_fields(**fields))
    assert isinstance(error, ReauthorizationRequiredError)
    assert provider.requests == []


def test_github_takes_rs256_only():
    with pytest.raises(InvalidInputError):
        GitHubAppRefresher("app", SigningKey.from_jwk(EC.as_dict(private=True)))


def test_the_guides_examples_make_refreshers():
    names = {}
    for block in re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL):
        if "SigningKey" in block or "JwtBearer" in block:
            exec(block, names)
    assert names["bank"].signing_key.key_id == "2026-01"
    assert names["salesforce"].default_lifetime == timedelta(hours=2)
    assert names["google"].scope_claim
    assert names["github"].signing_key.algorithm == "RS256"
