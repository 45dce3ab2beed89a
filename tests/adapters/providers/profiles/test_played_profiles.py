"""Each of the package's profiles is played: what it sends, what it reads, what each of its errors means.

The expected values are read from the file as plain TOML, so that the tests find mistakes of the loader.
"""

import base64
import json
from datetime import timedelta
from urllib.parse import parse_qsl

import httpx2
import pytest
from tests.adapters.providers.asking import ACCOUNT, failure, refreshed, request_for, revocation_of
from tests.adapters.providers.profiles.files import TABLES, filled, grant, placed, sample, values

from vault_adapters.providers import profiles, refresher
from vault_adapters.providers.profiles.loading import packaged_profile, static_profiles
from vault_domain.entities.account import TokenKind
from vault_domain.entities.errors import (
    InvalidInputError,
    ProviderConfigurationError,
    ReauthorizationRequiredError,
    RefreshFailedError,
)
from vault_domain.entities.rotation_policy import Rotation
from vault_domain.entities.secret import Secret

CLIENT = ("client:id", "se:cr%et+ &")
REFRESHED = [name for name, table in TABLES.items() if grant(table) != "none"]
OWN_KEYS = [name for name in REFRESHED if grant(TABLES[name]) in ("client_credentials", "api_key")]
RULES = [
    pytest.param(name, number, id=f"{name}-{rule.get('code') or rule.get('status') or rule['message']}")
    for name, table in TABLES.items()
    for number, rule in enumerate(table.get("errors", {}).get("rules", []))
]
UNITS = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86_400, "milliseconds": 0.001}


def time_of(text):
    if text is None:
        return None
    number, unit = text.split()
    return timedelta(**{unit.rstrip("s") + "s": int(number)})


class Played:
    """A provider in memory that answers with what a test gives it, and keeps the requests."""

    def __init__(self, name, status=200, answer=None, headers=None, **options):
        self.table, self.values = TABLES[name], values(TABLES[name])
        self.requests = []
        self._answer = lambda: httpx2.Response(status, json=answer, headers=headers)
        client = httpx2.AsyncClient(transport=httpx2.MockTransport(self._respond))
        given = () if name in OWN_KEYS else CLIENT
        self.refresher = refresher(name, *given, client=client, **self.values, **options)

    @property
    def credential(self):
        kind = grant(self.table)
        if kind == "client_credentials":
            return Secret.from_fields(client_id=CLIENT[0], client_secret=CLIENT[1])
        if kind == "api_key":
            return Secret.from_fields(**{field: f"key-{field}" for field in self.table["request"]["fields"]})
        return Secret("refresh-1")

    def _respond(self, request):
        self.requests.append(request)
        return self._answer()


def success(table, *, within=True, lifetime=True):
    """Return an answer as the file says it, with every part that the file names."""
    shape, whole, tokens = table.get("answer", {}), {}, {}
    placed(shape.get("access_token", "access_token"), "access-2", tokens)
    placed(shape.get("refresh_token", "refresh_token"), "refresh-2", tokens)
    placed(shape.get("scope", "scope"), shape.get("scope_separator", " ").join(["one", "two"]), tokens)
    if lifetime:
        placed(shape.get("lifetime", "expires_in"), 7200 / UNITS[shape.get("lifetime_unit", "seconds")], tokens)
    if "refresh_lifetime" in shape:
        placed(shape["refresh_lifetime"], 86_400, tokens)
    for number, path in enumerate(shape.get("extra", {}).values()):
        placed(path, f"extra-{number}", whole)
    if shape.get("within") and within:
        placed(shape["within"][0], tokens, whole)
        return whole
    return {**whole, **tokens}


def body_of(request):
    if request.method == "GET":
        assert request.content == b""
        return dict(parse_qsl(request.url.query.decode(), keep_blank_values=True, strict_parsing=True))
    text = request.content.decode()
    if request.headers["content-type"] == "application/json":
        return json.loads(text)
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    return dict(parse_qsl(text, keep_blank_values=True, strict_parsing=True))


def test_all_files_are_profiles():
    assert profiles() == sorted(TABLES)
    assert [packaged_profile(name).name for name in TABLES] == list(TABLES)


@pytest.mark.parametrize("name", REFRESHED)
async def test_the_request(name):
    played = Played(name, answer=success(TABLES[name]))
    await refreshed(played.refresher, played.credential, scopes=("one", "two"))
    [request] = played.requests
    table, shape = played.table, played.table.get("request", {})
    is_get = shape.get("method") == "get"
    address = str(request.url).partition("?")[0] if is_get else str(request.url)
    url = filled(shape.get("url", table["token_url"]), played.values)
    assert (request.method, address) == ("GET" if is_get else "POST", url)
    expected = {key: filled(value, played.values) for key, value in shape.get("extra", {}).items()}
    usual = grant(table) if grant(table) in ("refresh_token", "client_credentials") else None
    if shape.get("grant_type", usual):
        expected["grant_type"] = shape.get("grant_type", usual)
    if grant(table) in ("refresh_token", "access_token"):
        expected[shape.get("credential", "refresh_token")] = "refresh-1"
    if shape.get("scopes") == "stored":
        expected["scope"] = shape.get("scope_separator", " ").join(["one", "two"])
    expected |= {member: f"key-{field}" for field, member in shape.get("fields", {}).items()}
    method = next(
        (each for each in table.get("client_auth", ["client_secret_basic"]) if each.startswith(("client_", "secret"))),
        "",
    )
    if is_get:
        method = ""
    if method == "client_secret_post" and grant(table) != "api_key":
        expected |= {"client_id": CLIENT[0], "client_secret": CLIENT[1]}
    assert body_of(request) == expected
    assert (request.headers.get("content-type") == "application/json") == (shape.get("format") == "json")
    if method == "client_secret_basic":
        pair = base64.b64encode(b"client%3Aid:se%3Acr%25et%2B+%26").decode()
        assert request.headers["authorization"] == f"Basic {pair}"
    elif method == "secret_as_user":
        assert request.headers["authorization"] == f"Basic {base64.b64encode(b'se%3Acr%25et%2B+%26:').decode()}"
    else:
        assert "authorization" not in request.headers
    assert {key: request.headers[key] for key in shape.get("headers", {})} == shape.get("headers", {})


@pytest.mark.parametrize("name", [each for each in REFRESHED if each not in OWN_KEYS])
async def test_scopes_that_the_host_passes_are_not_sent_with_a_grant(name):
    played = Played(name, answer=success(TABLES[name]), scopes=["three", "four"])
    await refreshed(played.refresher, scopes=("one",))
    sent = "one" if played.table.get("request", {}).get("scopes") == "stored" else None
    assert body_of(played.requests[0]).get("scope") == sent


@pytest.mark.parametrize("within", [True, False])
@pytest.mark.parametrize("name", REFRESHED)
async def test_the_answer(name, within):
    played = Played(name, answer=success(TABLES[name], within=within))
    tokens = await refreshed(played.refresher, played.credential)
    assert tokens.access_token.reveal() == "access-2"
    assert tokens.refresh_token.reveal() == "refresh-2"
    assert tokens.scopes == ("one", "two")
    assert tokens.expires_in == timedelta(hours=2)
    kept = played.table.get("answer", {}).get("extra", {})
    assert dict(tokens.extra) == {member: f"extra-{number}" for number, member in enumerate(kept)}
    told = "refresh_lifetime" in played.table.get("answer", {})
    assert tokens.refresh_token_expires_in == (timedelta(days=1) if told else None)


@pytest.mark.parametrize("name", REFRESHED)
async def test_an_answer_without_a_lifetime(name):
    played = Played(name, answer=success(TABLES[name], lifetime=False))
    tokens = await refreshed(played.refresher, played.credential)
    assert tokens.expires_in == time_of(played.table.get("answer", {}).get("default_lifetime"))


MEANINGS = {
    "grant_dead": (ReauthorizationRequiredError, "invalid_grant", None),
    "client_refused": (ProviderConfigurationError, "invalid_client", None),
    "user_needed": (ReauthorizationRequiredError, "interaction_required", None),
    "not_now": (RefreshFailedError, "temporarily_unavailable", False),
    "restricted": (ProviderConfigurationError, "login_restricted", None),
    "unknown": (RefreshFailedError, "server_error", True),
}


@pytest.mark.parametrize(("name", "number"), RULES)
async def test_an_error(name, number):
    errors = TABLES[name]["errors"]
    rule, body = errors["rules"][number], {}
    message = sample(rule["message"]).upper() if "message" in rule else "refresh-1 is a secret"
    placed(errors.get("message", "error_description"), f"so: {message}!", body)
    code = rule.get("code")
    placed(errors.get("code", "error"), int(code) if (code or "").isdigit() else code or "something_odd", body)
    for status in [rule["status"]] if "status" in rule else [200, 400, 403]:
        played = Played(name, status=status, answer=body)
        error = await failure(played.refresher, played.credential)
        kind, reason, unknown = MEANINGS[rule["means"]]
        if name in OWN_KEYS and rule["means"] == "client_refused":
            kind = ReauthorizationRequiredError  # the key is the account's own
        assert type(error) is kind
        assert error.reason == reason
        assert getattr(error, "outcome_unknown", None) == unknown
        assert message not in f"{error!r} {error}"


@pytest.mark.parametrize("name", REFRESHED)
async def test_registered_codes_and_outages_keep_their_meaning(name):
    played = Played(name, status=400, answer={"error": "invalid_grant"})
    assert type(await failure(played.refresher, played.credential)) is ReauthorizationRequiredError
    for status, unknown in ((503, False), (502, True)):
        rules = played.table.get("errors", {}).get("rules", [])
        if status in [rule.get("status") for rule in rules]:
            continue
        played = Played(name, status=status, answer={}, headers={"retry-after": "7"})
        error = await failure(played.refresher, played.credential)
        assert (type(error), error.outcome_unknown) == (RefreshFailedError, unknown)
        assert error.retry_after == timedelta(seconds=7)


@pytest.mark.parametrize(
    "answer",
    [
        {"status": "BAD_REFRESH_TOKEN", "message": "missing or invalid refresh token"},
        {"status": "BAD_REFRESH_TOKEN", "message": "of another wording", "error": "invalid_grant"},
    ],
    ids=["old form", "registered"],
)
async def test_hubspots_own_code_does_not_hide_the_registered_one(answer):
    """HubSpot's own code is in ``status``. A profile reads one member, and that is the registered ``error``."""
    played = Played("hubspot", status=400, answer=answer)
    refused = await failure(played.refresher, played.credential)
    assert (type(refused), refused.reason) == (ReauthorizationRequiredError, "invalid_grant")


@pytest.mark.parametrize("name", [each for each in REFRESHED if each not in OWN_KEYS])
def test_what_the_vault_is_told(name):
    table, made = TABLES[name], Played(name).refresher
    rotation = table.get("rotation", {})
    kinds = {"none": Rotation.strict(), "strict": Rotation.strict(), "non_rotating": Rotation.non_rotating()}
    grace = time_of(rotation.get("grace"))
    assert made.rotation == (Rotation.grace(grace) if grace else kinds[rotation.get("kind", "strict")])
    assert made.idle_lifetime == time_of(rotation.get("idle"))
    assert made.default_lifetime == time_of(table.get("answer", {}).get("default_lifetime"))
    assert made.old_token_dies == rotation.get("old_token_dies", False)
    assert made.revocation_scope == table.get("revocation", {}).get("scope", "grant")
    assert made.spends == (TokenKind.ACCESS_TOKEN if grant(table) == "access_token" else TokenKind.REFRESH_TOKEN)
    assert made.client_id_of(ACCOUNT) == CLIENT[0]


@pytest.mark.parametrize("name", [each for each in REFRESHED if "revocation_url" in TABLES[each]])
async def test_a_revocation(name):
    played = Played(name)
    assert await played.refresher.revoke(revocation_of("refresh-1")) is True
    [request] = played.requests
    facts = played.table.get("revocation", {})
    assert str(request.url) == filled(played.table["revocation_url"], played.values)
    assert body_of(request)[facts.get("token", "token")] == "refresh-1"
    assert ("token_type_hint" in body_of(request)) == facts.get("hint", True)


STATIC = [each for each, table in TABLES.items() if grant(table) == "none"]


@pytest.mark.parametrize("name", STATIC)
async def test_a_provider_whose_keys_do_not_expire_refreshes_nothing(name):
    made, table = refresher(name), TABLES[name]
    with pytest.raises(ProviderConfigurationError, match="do not expire"):
        await made.refresh(request_for(made, "key"))
    assert await made.hosts_of(ACCOUNT, {}) == tuple(table["api_hosts"])
    with pytest.raises(InvalidInputError):
        refresher(name, *CLIENT)
    assert static_profiles() == sorted(STATIC)


@pytest.mark.parametrize(
    ("name", "variable"), [(name, each) for name, table in TABLES.items() for each in table.get("variables", {})]
)
def test_a_variable_cannot_become_another_host(name, variable):
    profile = packaged_profile(name)
    good = values(TABLES[name])
    for url in ("token_url", "revocation_url", "authorization_url", "userinfo_url", "issuer"):
        profile.url(url, good)
    for bad in (
        "evil.com/",
        "evil.com#",
        "evil.com?",
        "a@evil.com",
        "evil.com\\",
        "..",
        "a..b",
        "a/../b",
        "",
        "a\n",
        "\u0430",
    ):
        with pytest.raises(InvalidInputError) as caught:
            profile.filled(f"{{{variable}}}", {**good, variable: bad})
        assert "evil" not in str(caught.value)


@pytest.mark.parametrize(
    ("message", "kind", "reason"),
    [
        ("ip restricted or invalid login hours", ProviderConfigurationError, "login_restricted"),
        ("IP restricted", ProviderConfigurationError, "login_restricted"),
        ("login rate exceeded", RefreshFailedError, "temporarily_unavailable"),
        ("rate limit exceeded", RefreshFailedError, "temporarily_unavailable"),
        ("expired access/refresh token", ReauthorizationRequiredError, "invalid_grant"),
        ("user hasn't approved this consumer", ReauthorizationRequiredError, "invalid_grant"),
    ],
)
async def test_salesforces_invalid_grant_is_final_only_if_its_text_says_so(message, kind, reason):
    answer = {"error": "invalid_grant", "error_description": message}
    played = Played("salesforce", 400, answer)
    error = await failure(played.refresher, played.credential)
    assert (type(error), error.reason) == (kind, reason)
    assert getattr(error, "refused", False) is False
