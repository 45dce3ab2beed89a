"""`openid`: what a provider publishes about itself becomes a profile, or is refused."""

from datetime import UTC, datetime

import pytest
from tests.support.scripted_provider import Answer, redirect_answer, refused_url, scripted_provider

from vault_adapters import ConfigurationError, InvalidInputError, Rotation
from vault_adapters.connect import Connector
from vault_adapters.providers import discovery, openid
from vault_adapters.testing import memory_vault


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


def test_the_facts_are_those_that_the_provider_publishes(corp):
    corp.members.update(
        revocation_endpoint=f"{corp.issuer}/revoke",
        device_authorization_endpoint=f"{corp.issuer}/device",
        token_endpoint_auth_methods_supported=["tls_client_auth", "client_secret_post", "private_key_jwt"],
        authorization_response_iss_parameter_supported=True,
    )
    made = openid(corp.issuer, "client", "secret", api_hosts=["api.example.com"], scopes=["read"])
    profile = made.profile
    assert (profile.token_url, profile.authorization_url) == (f"{corp.issuer}/token", f"{corp.issuer}/auth")
    assert (profile.userinfo_url, profile.revocation_url) == (f"{corp.issuer}/me", f"{corp.issuer}/revoke")
    assert (profile.issuer, profile.authorization.iss, profile.authorization.pkce) == (corp.issuer, True, "supported")
    assert profile.device_authorization_url == f"{corp.issuer}/device"
    assert profile.authorization.scopes == ("openid", "email", "offline_access")
    assert profile.authorization.parameters == {"prompt": "consent"}
    assert (made.auth_method, made.scopes, made.rotation) == ("client_secret_post", ("read",), Rotation.strict())
    assert (profile.checked, profile.api_hosts) == (datetime.now(UTC).date(), ("api.example.com",))


def test_a_provider_that_publishes_little(corp):
    for member in ("userinfo_endpoint", "scopes_supported"):
        del corp.members[member]
    corp.members["code_challenge_methods_supported"] = ["plain"]
    profile = openid(corp.issuer, "client", "secret").profile
    assert (profile.userinfo_url, profile.revocation_url, profile.label.source) == (None, None, "id_token")
    assert (profile.authorization.scopes, profile.authorization.parameters) == (("openid",), {})
    assert (profile.authorization.pkce, profile.client_auth) == ("unsupported", ("client_secret_basic",))


async def test_the_document_is_asked_for_once_an_hour(corp, monkeypatch):
    async with memory_vault() as vault:
        for _ in range(3):  # also while an event loop runs
            made = openid(corp.issuer, "client", "secret")
            Connector(vault, {"corp": made}, redirect_uri="https://app.example.com/callback")
    assert len(corp.server.requests) == 1
    now = discovery._monotonic()
    for seconds, requests in ((1800, 1), (3590, 1), (3700, 2)):  # an answer from memory does not prolong the hour
        monkeypatch.setattr(discovery, "_monotonic", lambda passed=seconds: now + passed)
        openid(corp.issuer, "client", "secret")
        assert len(corp.server.requests) == requests


def test_a_document_that_the_host_has_read_needs_no_request():
    issuer = "https://id.example.com"
    made = openid(issuer, "client", "secret", document=document_of(issuer))
    assert (made.profile.token_url, made.profile.name) == ("https://id.example.com/token", "id.example.com")
    with pytest.raises(ConfigurationError):
        openid("https://id.example.com/", "client", "secret", document=document_of(issuer))


def refused(issuer, *canaries, **options):
    with pytest.raises(ConfigurationError) as caught:
        openid(issuer, "client", "secret", **options)
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
def test_a_document_that_cannot_be_used_is_refused(corp, members, problem):
    corp.members = {name: value for name, value in {**corp.members, **members}.items() if value is not None}
    assert problem in refused(corp.issuer)


def test_a_document_that_is_mended_is_read_again(corp):
    corp.members["token_endpoint"] = None
    refused(corp.issuer)
    corp.members = document_of(corp.issuer)
    assert openid(corp.issuer, "client", "secret").profile.token_url == f"{corp.issuer}/token"


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
def test_an_answer_that_is_no_document_is_refused(corp, answer, problem):
    corp.answer = answer
    assert problem in refused(corp.issuer)
    corp.answer = None
    assert openid(corp.issuer, "client", "secret").profile.issuer == corp.issuer  # it is asked again


def test_nobody_answers():
    with refused_url() as url:
        assert "connection_refused" in refused(url.removesuffix("/token"))


def test_a_provider_elsewhere_cannot_name_an_endpoint_of_this_machine():
    issuer = "https://id.example.com"
    document = document_of(issuer, token_endpoint="http://127.0.0.1:8080/token")
    assert "token_endpoint must use https" in refused(issuer, "8080", document=document)


@pytest.mark.parametrize(
    "issuer", ["http://id.example.com", "id.example.com", "https://a@b.example", "https://a/?b", 7]
)
def test_an_issuer_that_is_no_url_is_refused(issuer):
    with pytest.raises(InvalidInputError) as caught:
        openid(issuer, "client", "secret")
    assert "example" not in str(caught.value)


def test_requests_are_pushed_where_the_provider_says(corp):
    assert openid(corp.issuer, "client", "secret").profile.pushed_authorization_url is None
    discovery._known.clear()
    corp.members.update(pushed_authorization_request_endpoint=f"{corp.issuer}/par")
    assert openid(corp.issuer, "client", "secret").profile.pushed_authorization_url == f"{corp.issuer}/par"


def test_a_provider_that_requires_pushed_requests_and_does_not_say_where_is_refused(corp):
    corp.members.update(require_pushed_authorization_requests=True)
    with pytest.raises(ConfigurationError, match="pushed_authorization_request_endpoint") as caught:
        openid(corp.issuer, "client", "secret")
    assert caught.value.code == "discovery_failed"
