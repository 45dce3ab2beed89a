"""`openid`: what a provider publishes about itself becomes a profile, or is refused."""

import asyncio
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from urllib.parse import parse_qsl, urlsplit

import pytest
from tests.support.databases import PostgresSchema, SqliteFile, both_stores
from tests.support.scripted_provider import Answer, redirect_answer, refused_url, scripted_provider

from vault_adapters import (
    Account,
    ConfigurationError,
    ConnectError,
    ConnectionState,
    InvalidInputError,
    RefreshFailedError,
    RefreshRequest,
    Rotation,
    Secret,
    TokenKind,
    TokenSet,
    open_vault,
)
from vault_adapters.connect import Connector
from vault_adapters.providers import discovery, openid
from vault_adapters.testing import memory_vault
from vault_adapters.testing.openid import openid_provider


def document_of(issuer, **members):
    given = {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/auth",
        "token_endpoint": f"{issuer}/token",
        "userinfo_endpoint": f"{issuer}/me",
        "jwks_uri": f"{issuer}/jwks",
        "scopes_supported": ["openid", "email", "profile", "offline_access"],
        **members,
    }
    return {name: value for name, value in given.items() if value is not None}


class Published:
    """A provider that publishes what a test puts into ``members``, or answers with ``answer``."""

    def __init__(self, server):
        self.server, self.issuer, self.answer = server, server.base_url, None
        self.members = document_of(self.issuer)


@pytest.fixture
def corp():
    published = []

    def respond(request):
        assert (request.method, request.path) == ("GET", "/.well-known/openid-configuration")
        return published[0].answer or Answer(json=published[0].members)

    with scripted_provider(respond) as server:
        published.append(Published(server))
        yield published[0]


async def profile_of(*arguments, **options):
    return (await openid(*arguments, **options).discovered()).profile


async def test_the_facts_are_those_that_the_provider_publishes(corp):
    corp.members.update(
        revocation_endpoint=f"{corp.issuer}/revoke",
        device_authorization_endpoint=f"{corp.issuer}/device",
        token_endpoint_auth_methods_supported=["tls_client_auth", "client_secret_post", "private_key_jwt"],
        authorization_response_iss_parameter_supported=True,
    )
    made = openid(corp.issuer, "client", "secret", api_hosts=["api.example.com"], scopes=["read"])
    made = await made.discovered()
    profile = made.profile
    assert (profile.token_url, profile.authorization_url) == (f"{corp.issuer}/token", f"{corp.issuer}/auth")
    assert (profile.userinfo_url, profile.revocation_url) == (f"{corp.issuer}/me", f"{corp.issuer}/revoke")
    assert (profile.issuer, profile.authorization.iss, profile.authorization.pkce) == (corp.issuer, True, "supported")
    assert profile.device_authorization_url == f"{corp.issuer}/device"
    assert profile.authorization.scopes == ("openid", "email", "offline_access")
    assert profile.authorization.parameters == {"prompt": "consent"}
    assert (made.auth_method, made.scopes, made.rotation) == ("client_secret_post", ("read",), Rotation.strict())
    assert (profile.checked, profile.api_hosts) == (datetime.now(UTC).date(), ("api.example.com",))


async def test_a_provider_that_publishes_little(corp):
    for member in ("userinfo_endpoint", "scopes_supported"):
        del corp.members[member]
    corp.members["code_challenge_methods_supported"] = ["plain"]
    profile = await profile_of(corp.issuer, "client", "secret")
    assert (profile.userinfo_url, profile.revocation_url, profile.label.source) == (None, None, "id_token")
    assert (profile.authorization.scopes, profile.authorization.parameters) == (("openid",), {})
    assert (profile.authorization.pkce, profile.client_auth) == ("unsupported", ("client_secret_basic",))


async def test_the_document_is_asked_for_once_a_day(corp, monkeypatch):
    made = openid(corp.issuer, "client", "secret")
    async with memory_vault() as vault:
        Connector(vault, {"corp": made}, redirect_uri="https://app.example.com/callback")
    assert corp.server.requests == []
    await asyncio.gather(*(made.discovered() for _ in range(5)))
    assert len(corp.server.requests) == 1
    now = discovery._monotonic()
    for hours, requests in ((12, 1), (23.9, 1), (24.1, 2)):  # an answer from memory does not prolong the day
        monkeypatch.setattr(discovery, "_monotonic", lambda passed=hours * 3600: now + passed)
        await made.discovered()
        assert len(corp.server.requests) == requests


def test_a_document_that_the_host_has_read_needs_no_request():
    issuer = "https://id.example.com"
    made = openid(issuer, "client", "secret", document=document_of(issuer))
    assert (made.profile.token_url, made.profile.name) == ("https://id.example.com/token", "id.example.com")
    with pytest.raises(ConfigurationError):
        openid("https://id.example.com/", "client", "secret", document=document_of(issuer))


async def refused(issuer, *canaries, **options):
    with pytest.raises(ConfigurationError) as caught:
        await openid(issuer, "client", "secret", **options).discovered()
    error = caught.value
    assert (error.code, error.__context__) == ("discovery_failed", None)
    assert not any(canary in str(error) for canary in ("evil", issuer, *canaries))
    return str(error)


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({"issuer": "https://evil.example"}, "another issuer"),
        ({"issuer": None}, "another issuer"),
        ({"token_endpoint": None}, "token_endpoint must be an absolute URL"),
        ({"authorization_endpoint": None}, "authorization_endpoint must be an absolute URL"),
        ({"authorization_endpoint": "javascript:evil()"}, "authorization_endpoint must be an absolute URL"),
        ({"token_endpoint": "http://evil.example/token"}, "token_endpoint must use https"),
        ({"token_endpoint": ["https://evil.example"]}, "token_endpoint must be an absolute URL"),
        ({"userinfo_endpoint": "https://user@evil.example"}, "userinfo_endpoint must hold neither user"),
        ({"token_endpoint": "https://evil.example/{x}"}, "token_endpoint must use https and hold no braces"),
        ({"jwks_uri": None}, "jwks_uri must be an absolute URL"),
        ({"jwks_uri": "http://evil.example/keys"}, "jwks_uri must use https"),
        ({"token_endpoint_auth_methods_supported": ["attest_jwt_client_auth"]}, "none of the supported methods"),
    ],
)
async def test_a_document_that_cannot_be_used_is_refused(corp, members, problem):
    corp.members = {name: value for name, value in {**corp.members, **members}.items() if value is not None}
    assert problem in await refused(corp.issuer)


async def test_a_document_that_is_mended_is_read_again(corp):
    corp.members["token_endpoint"] = None
    await refused(corp.issuer)
    corp.members = document_of(corp.issuer)
    assert (await profile_of(corp.issuer, "client", "secret")).token_url == f"{corp.issuer}/token"


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (Answer(status=404), "the status 404"),
        (Answer(status=500), "the status 500"),
        (redirect_answer("https://evil.example/"), "the status 302"),
        (Answer(body=b"<html>evil</html>"), "no JSON object"),
        (Answer(json=["evil"]), "no JSON object"),
        (Answer(body=b'{"issuer": "' + b"a" * 300_000 + b'"}'), "too large"),
        (Answer(drop="rst"), "it gave no answer"),
    ],
)
async def test_an_answer_that_is_no_document_is_refused(corp, answer, problem):
    corp.answer = answer
    assert problem in await refused(corp.issuer)
    corp.answer = None
    assert (await profile_of(corp.issuer, "client", "secret")).issuer == corp.issuer  # it is asked again


async def test_nobody_answers():
    with refused_url() as url:
        assert "connection_refused" in await refused(url.removesuffix("/token"))


async def test_a_provider_elsewhere_cannot_name_an_endpoint_of_this_machine():
    issuer = "https://id.example.com"
    document = document_of(issuer, token_endpoint="http://127.0.0.1:8080/token")
    assert "token_endpoint must use https" in await refused(issuer, "8080", document=document)


@pytest.mark.parametrize(
    "issuer", ["http://id.example.com", "id.example.com", "https://a@b.example", "https://a/?b", 7]
)
async def test_an_issuer_that_is_no_url_is_refused(issuer):
    with pytest.raises(InvalidInputError) as caught:
        openid(issuer, "client", "secret")
    assert "example" not in str(caught.value)


async def test_requests_are_pushed_where_the_provider_says(corp):
    assert (await profile_of(corp.issuer, "client", "secret")).pushed_authorization_url is None
    corp.members.update(pushed_authorization_request_endpoint=f"{corp.issuer}/par")
    assert (await profile_of(corp.issuer, "client", "secret")).pushed_authorization_url == f"{corp.issuer}/par"


async def test_a_provider_that_requires_pushed_requests_and_does_not_say_where_is_refused(corp):
    corp.members.update(require_pushed_authorization_requests=True)
    with pytest.raises(ConfigurationError, match="pushed_authorization_request_endpoint") as caught:
        await profile_of(corp.issuer, "client", "secret")
    assert caught.value.code == "discovery_failed"


ANN, LOCAL = Account("t1", "corp", "ann"), Account("t1", "local", "ann")
PAST = datetime.now(UTC) - timedelta(hours=1)


@pytest.fixture
def database(request, store_kind, tmp_path):
    if store_kind == "sqlite":
        yield SqliteFile(tmp_path / "vault.db")
        return
    schema = PostgresSchema(request.getfixturevalue("postgres").url)
    yield schema
    schema.drop()


async def new_token(database, *refreshers):
    """Open a vault as a new process would, and refresh an account with a grant of this provider."""
    async with open_vault(
        database.config(), refreshers=dict(zip(("corp", "local"), refreshers, strict=False))
    ) as vault:
        await vault.store_token_set(ANN, TokenSet("old", "refresh", expires_at=PAST))
        return (await vault.ensure_access_token(ANN, timeout=5)).value.reveal()


@pytest.fixture
def issuing(corp):
    """A provider that also refreshes; `corp.answer` answers the requests for its document."""

    def respond(request):
        if request.path == "/token":
            return Answer(json={"access_token": "new", "token_type": "Bearer", "expires_in": 3600})
        return corp.answer or Answer(json=corp.members)

    corp.server.answer_always(respond)
    return corp


def made_by(issuing, issuer=None):
    return openid(issuer or issuing.issuer, "client", "secret", api_hosts=["api.example.com"])


async def test_a_provider_that_is_down_costs_only_itself(database):
    with openid_provider() as local, refused_url() as url:
        down = openid(url.removesuffix("/token"), "client", "secret", api_hosts=["api.example.com"])
        up = openid(local.issuer, local.client_id, local.client_secret)
        async with open_vault(database.config(), refreshers={"corp": down, "local": up}) as vault:
            connector = Connector(vault, {"corp": down, "local": up}, redirect_uri="https://app.example.com/{provider}")
            start = await connector.begin("t1", "local", session="s")
            query = local.consent(local.users[0], dict(parse_qsl(urlsplit(start.url).query)))
            info = await connector.finish(query, session="s", provider="local")
            await vault.refresh_account(info.account)
            with pytest.raises(ConnectError) as refused:
                await connector.begin("t1", "corp", session="s")
            assert refused.value.code == "provider_unavailable"
            await vault.store_token_set(ANN, TokenSet("old", "refresh", expires_at=PAST))
            with pytest.raises(RefreshFailedError) as failed:
                await vault.ensure_access_token(ANN, timeout=5)
            assert (failed.value.reason, failed.value.retryable) == ("connection_refused", True)
            assert (await vault.get_account(ANN)).state is not ConnectionState.REAUTHORIZATION_REQUIRED
            assert await vault.api_hosts(await vault.get_token(ANN.key(TokenKind.ACCESS_TOKEN))) == ("api.example.com",)


@both_stores
async def test_the_last_good_document_serves_while_the_issuer_is_down(database, issuing, monkeypatch):
    assert await new_token(database, made_by(issuing)) == "new"
    asked = [request for request in issuing.server.requests if request.method == "GET"]
    assert await new_token(database, made_by(issuing)) == "new"  # it is fresh, so nobody is asked
    assert [request for request in issuing.server.requests if request.method == "GET"] == asked
    now = discovery._wall()
    monkeypatch.setattr(discovery, "_wall", lambda: now + 2 * 86_400)
    other = Answer(json={**issuing.members, "issuer": "https://evil.example"})
    for answer in (Answer(drop="rst"), Answer(status=503), Answer(body=b"{"), other):
        issuing.answer = answer
        before = len(issuing.server.requests)
        assert await new_token(database, made_by(issuing)) == "new"
        assert len(issuing.server.requests) == before + 2
    [(name, blob)] = database.execute("SELECT name, blob FROM {document}")
    assert issuing.issuer.encode() not in bytes(blob) + bytes(name)


async def tampered(database, issuing, change):
    """Keep a document, change the database, and refresh while the issuer is down."""
    assert await new_token(database, made_by(issuing)) == "new"
    change()
    issuing.answer = Answer(status=503)
    with pytest.raises(RefreshFailedError):
        await new_token(database, made_by(issuing))


@both_stores
async def test_a_kept_document_that_was_changed_serves_nobody(database, issuing):
    def change():
        [(blob,)] = database.execute("SELECT blob FROM {document}")
        database.execute("UPDATE {document} SET blob = ?", (bytes(blob)[:-1] + bytes([bytes(blob)[-1] ^ 1]),))

    await tampered(database, issuing, change)


async def test_the_document_of_another_issuer_serves_nobody(database, issuing, caplog):
    with openid_provider() as other:
        hers = openid(other.issuer, other.client_id, other.client_secret)
        async with open_vault(database.config(), refreshers={"local": hers}):
            request = RefreshRequest(LOCAL, Secret("x"), TokenKind.REFRESH_TOKEN, (), timedelta(seconds=5))
            assert await hers.revoke(request) is None

    def swap():
        [own] = database.execute("SELECT blob FROM {document} WHERE name = ?", (digest(issuing.issuer),))
        [another] = database.execute("SELECT blob FROM {document} WHERE name = ?", (digest(other.issuer),))
        assert own != another
        database.execute("UPDATE {document} SET blob = ? WHERE name = ?", (*another, digest(issuing.issuer)))

    await tampered(database, issuing, swap)
    assert "document cannot be read from the database (commitment)" in caplog.text


def digest(issuer):
    return sha256(issuer.encode()).digest()


@both_stores
async def test_nothing_shows_the_kept_document(database, issuing):
    await new_token(database, made_by(issuing))
    async with open_vault(database.config()) as vault:
        assert [info.account for info in (await vault.list_accounts()).items] == [ANN]
        await vault.keys.rotate_data_keys()
        await vault.keys.reencrypt()
        await vault.erase_tenant("t1")
        assert (await vault.list_accounts()).items == ()
    issuing.answer = Answer(status=503)
    assert await new_token(database, made_by(issuing)) == "new"  # it outlives rotation and erasure


async def test_the_kept_document_says_all_that_is_used(database, issuing):
    issuing.members = document_of(
        issuing.issuer,
        revocation_endpoint=f"{issuing.issuer}/revoke",
        device_authorization_endpoint=f"{issuing.issuer}/device",
        pushed_authorization_request_endpoint=f"{issuing.issuer}/par",
        code_challenge_methods_supported=["plain"],
        token_endpoint_auth_methods_supported=["client_secret_post"],
        authorization_response_iss_parameter_supported=True,
    )
    made = made_by(issuing)
    await new_token(database, made)
    issuing.answer, again = Answer(status=503), made_by(issuing)
    await new_token(database, again)
    assert (await again.discovered()).profile == (await made.discovered()).profile
