"""Profiles that a host writes: mistakes in a file, the values of variables for an account, and reading of answers."""

import asyncio
import inspect
import re
from datetime import date, timedelta
from pathlib import Path

import httpx2
import pytest
from attrs import evolve
from tests.adapters.providers.asking import ACCOUNT, failure, refreshed, request_for

from vault_adapters.providers import load_profile, profiles, refresher
from vault_adapters.providers.profiles import Profile
from vault_adapters.providers.profiles.facts import ErrorRule, Limits
from vault_adapters.providers.profiles.loading import packaged_profile
from vault_adapters.providers.profiles.profile import _variable
from vault_adapters.providers.shaped_answers import read_token_set
from vault_domain.entities.errors import (
    ConfigurationError,
    InvalidInputError,
    ProviderConfigurationError,
    RefreshFailedError,
)
from vault_domain.entities.request_limit import Counted, RequestLimit
from vault_domain.ports.token_refresher import HostNamer

EXAMPLE = Path(__file__).parents[4] / "docs" / "how-to" / "example-provider.toml"
LEAST = 'name = "acme"\ntitle = "Acme"\ndocs = ["https://acme.example"]\nchecked = 2026-11-26\n'
URL = 'token_url = "https://acme.example/token"\n'


@pytest.mark.parametrize(
    ("text", "key", "rule"),
    [
        ("name = ", "", "is not TOML"),
        (LEAST, "token_url", "must be given"),
        (URL, "name", "is missing"),
        (LEAST + URL + "colour = 1\n", "colour", "unknown key"),
        (LEAST + URL + "[rotation]\nkin = 'strict'\n", "rotation.kin", "unknown key; known are absolute, grace"),
        (LEAST + URL + "[rotation]\nkind = 'often'\n", "rotation.kind", "must be one of strict, grace, non_rotating"),
        (LEAST + URL + "[rotation]\ngrace = '30 seconds'\n", "rotation.grace", "must be given for the kind grace"),
        (LEAST + URL + "[rotation]\nidle = 30\n", "rotation.idle", "must be a time such as"),
        (LEAST + URL + "[rotation]\nidle = '999999999 days'\n", "rotation.idle", "must be at most 100 years"),
        (LEAST + URL + "[limits]\nrequests = 10\n", "limits.requests", "must be given together with per"),
        (LEAST + URL + "[request]\nextra = {grant_type = 'x'}\n", "request.extra", "must not set any of"),
        (
            LEAST + URL + "[request]\nheaders = {Authorization = 'x'}\n",
            "request.headers.Authorization",
            "must be a header",
        ),
        (LEAST + URL + "[errors]\nrules = [{code = 'x', means = 'odd'}]\n", "errors.rules[1].means", "must be one of"),
        (LEAST + URL + "[errors]\nrules = [{means = 'unknown'}]\n", "errors.rules[1].means", "needs a code"),
        (
            LEAST + URL + "[errors]\nrules = [{status = 200, means = 'unknown'}]\n",
            "errors.rules[1].status",
            "a status below 300",
        ),
        *(
            (LEAST + URL + f"[errors]\nrules = [{{{rule}, means = 'unknown'}}]\n", "errors.rules[1].status", text)
            for rule, text in (
                ("status = 408", "no rule applies"),
                ("status = 302", "no rule applies"),
                ("status = 302, code = 'x'", "no rule applies"),
                ("status = 429, code = 'x'", "are not read"),
                ("status = 503, message = 'x'", "are not read"),
            )
        ),
        (
            LEAST + URL + "[errors]\nrules = [{message = '(', means = 'unknown'}]\n",
            "errors.rules[1].message",
            "must be a reg",
        ),
        (LEAST + "token_url = 'http://acme.example/token'\n", "token_url", "must use https"),
        (LEAST + "token_url = 'https://{who}.acme.example'\n", "token_url", "the variable who is not in variables"),
        (LEAST + URL + "[variables.who]\npattern = '.*'\nabout = 'x'\n", "variables.who", "is not used"),
        (LEAST + URL + "[variables.client_id]\npattern = '.*'\nabout = 'x'\n", "variables.client_id", "no argument"),
        (LEAST + URL + "unverified = ['rotation.colour']\n", "unverified.rotation.colour", "is not the key of a fact"),
        (
            LEAST + URL + "[sources]\nlimits = ['http://acme.example']\n",
            "sources.limits[1]",
            "must be a page's address",
        ),
        (LEAST + URL + "[identifier]\nsource = 'userinfo'\nmember = 'id'\n", "userinfo_url", "is missing"),
        (LEAST + URL + "api_hosts = ['{site}']\n", "api_hosts", "the variable site is not in variables"),
        (
            LEAST + URL + "api_hosts = ['{site}']\n[kept]\nsite = 'callback.site'\n",
            "api_hosts",
            "the variable site is not in variables",
        ),
        (LEAST + URL + "[api]\nheader = 'X Token'\n", "api.header", "must be a header's name"),
        (LEAST + URL + "[api]\nheader = 'Cookie'\n", "api.header", "must be a header's name"),
        (LEAST + URL + "[api]\nscheme = 'Bearer '\n", "api.scheme", "letters, digits and hyphens"),
        (LEAST + URL + "[api]\nfields = ['one']\n", "api.fields", "two fields"),
        (LEAST + URL + "[kept]\nsite = 'userinfo.id'\n", "userinfo_url", "is missing"),
        (LEAST + URL + "[kept]\nsite = 'further.0.id'\n", "further", "is missing"),
        (LEAST + URL + "[kept]\nsite = 'elsewhere.id'\n", "kept.site", "must be one of"),
        (LEAST + URL + "[kept]\nsite = 'answer'\n", "kept.site", "must be a path"),
        (LEAST + URL + "[kept]\nsite = 'answer.a..b'\n", "kept.site", "must be a path"),
        (LEAST + URL + "[kept]\nsite = 'variable.shop'\n", "variables", "unknown variable"),
        (LEAST + URL + "[kept]\nsite = 'answer.id'\n[answer]\nextra = { site = 'id' }\n", "kept.site", "must not be"),
        (LEAST + URL + "[further]\nurl = 'http://acme.example'\n", "further.url", "must"),
        (LEAST + URL + "[further]\nurl = 'https://{shop}.acme.example'\n", "further.url", "not in variables"),
        (LEAST + URL + "[further]\nurl = 'https://acme.example'\nbody = '{ viewer }'\n", "further.body", "JSON"),
        (LEAST + URL + "[request]\nmethod = 'get'\n", "request.method", "for the grant access_token only"),
        (LEAST + URL + "[request]\nurl = 'https://acme.example'\n", "request.method", "a url of its own"),
        (LEAST + URL + "[request]\nurl = 'http://acme.example'\n", "request.url", "must use https"),
        (
            LEAST + URL + "[long_lived]\nurl = 'https://{a}.acme.example'\ngrant_type='x'\n",
            "long_lived.url",
            "not in var",
        ),
        (LEAST + URL + "[revocation]\nformat = 'xml'\n", "revocation.format", "must be one of"),
        (LEAST + URL + "[identifier]\nsource = 'callback'\nmember = 'id'\n", "identifier.source", "proves nothing"),
        (
            LEAST + URL + "[identifier]\nsource = 'variable'\nmember = 'shop'\n"
            "[further]\nurl = 'https://{shop}.acme.example'\n[variables.shop]\npattern = '.*'\nabout = 'x'\n",
            "identifier.member",
            "must be a variable of token_url",
        ),
        (LEAST + URL + "client_auth = ['basic']\n", "client_auth[1]", "must be one of"),
        (LEAST + URL + "api_hosts = ['https://acme.example']\n", "api_hosts[1]", "must be a host's name"),
        (LEAST + URL + "api_hosts = ['*.com']\n", "api_hosts[1]", "must be a host's name"),
        (LEAST.replace("2026-11-26", "'today'") + URL, "checked", "must be a date"),
    ],
)
def test_a_mistake_names_file_key_and_rule(tmp_path, text, key, rule):
    (tmp_path / "acme.toml").write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load_profile(tmp_path / "acme.toml")
    assert str(caught.value).startswith(f"acme.toml: {key}{': ' if key else ''}")
    assert rule in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("number = " + "1" * 5000, "is not TOML"),
        (".".join(["a"] * 120_000) + " = 1", "must have at most 100 dots in a line"),
        ("deep = " + "[" * 200_000, "is not TOML: RecursionError"),
        ("[errors]\nrules = [{message = 'a{99999999999}', means = 'unknown'}]", "must be a regular expression"),
        (
            f"[errors]\nrules = [{{message = '{'(' * 900 + ')' * 900}', means = 'unknown'}}]",
            "must be a regular expression",
        ),
    ],
    ids=["digits", "dots", "depth", "repetition", "groups"],
)
def test_a_hostile_file_is_refused_quickly(tmp_path, text, rule):
    """Without a limit on the dots of a line, reading the key of the case `dots` would take many gigabytes of memory."""
    file = tmp_path / "acme.toml"
    file.write_text(LEAST + URL + text + "\n")
    with pytest.raises(ConfigurationError, match=rule):
        load_profile(file)


@pytest.mark.parametrize(
    ("page", "is_allowed"),
    [
        ("http://localhost:8000/docs", True),
        ("http://127.0.0.1", True),
        ("http://[::1]:8000/docs", True),
        ("http://localhost.example/docs", False),
        ("http://127.0.0.10x/docs", False),
        ("http://localhost@acme.example/docs", False),
        ("http://acme.example/docs", False),
    ],
)
def test_a_page_may_be_http_on_loopback_only(tmp_path, page, is_allowed):
    file = tmp_path / "acme.toml"
    file.write_text(LEAST.replace("https://acme.example", page) + URL)
    if is_allowed:
        assert load_profile(file).docs == (page,)
        return
    with pytest.raises(ConfigurationError, match=r"http is for loopback only"):
        load_profile(file)


def test_a_pattern_of_bytes_is_refused():
    with pytest.raises(InvalidInputError, match="must be a regular expression"):
        ErrorRule("unknown", message=re.compile(b"x"))


@pytest.mark.parametrize("directory", ["a\0b", "\ud800"])
def test_a_directory_that_cannot_be_is_a_typed_error(directory):
    with pytest.raises(ConfigurationError, match=r"^x\.toml: cannot be read") as caught:
        load_profile(f"{directory}/x.toml")
    assert caught.value.__context__ is None


def test_no_variable_has_the_name_of_an_argument():
    """`refresher` could not take such a variable, because it takes variables as keyword arguments."""
    arguments = set(inspect.signature(refresher).parameters) - {"variables"}
    for name in sorted(arguments):
        with pytest.raises(InvalidInputError, match="no argument"):
            _variable(f"variables.{name}", {})


def test_files_that_are_not_there_or_too_large(tmp_path):
    (tmp_path / "large.toml").write_text("#" * 300_000)
    for name in ("none.toml", "large.toml"):
        with pytest.raises(ConfigurationError, match=name):
            load_profile(tmp_path / name)
    with pytest.raises(ConfigurationError, match=f"known are {profiles()[0]}"):
        refresher("../google", "client", "secret")


def test_a_profile_may_be_a_file_or_an_object():
    profile = load_profile(EXAMPLE)
    assert refresher(EXAMPLE, "client", "secret").profile == refresher(profile, "client", "secret").profile == profile
    made = Profile(
        name="acme",
        title="Acme",
        docs=("https://acme.example",),
        checked=profile.checked,
        token_url="https://acme.example/token",
        limits=Limits(requests=3, per=timedelta(minutes=1)),
    )
    assert refresher(made, "client", "secret").request_limit == RequestLimit(3, timedelta(minutes=1), Counted.CLIENT)
    with_keys = evolve(made, request={"grant": "client_credentials"}, limits=Limits(concurrency=2))
    assert (
        refresher(with_keys).concurrency
        == refresher(evolve(with_keys, request={}), "client", "secret").concurrency
        == 2
    )
    with pytest.raises(InvalidInputError, match="token_url: must use https"):
        evolve(made, token_url="http://acme.example/token")


@pytest.mark.parametrize("value", ["evil.com/", "evil.com#", "a.b", ""])
def test_a_fixed_value_is_checked_when_the_refresher_is_made(value):
    with pytest.raises(InvalidInputError, match="the variable subdomain must match") as caught:
        refresher("zendesk", "client", "secret", subdomain=value)
    assert "evil" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="known are: subdomain"):
        refresher("zendesk", "client", "secret", domain="acme")


def asked(answer=None):
    """Return an HTTP client, and the list of URLs that it is asked for."""
    urls = []

    def respond(request):
        urls.append(str(request.url))
        return httpx2.Response(200, json=answer or {"access_token": "access-2"})

    return httpx2.AsyncClient(transport=httpx2.MockTransport(respond)), urls


async def subdomain_of(account):
    return {"subdomain": "own"} if account == ACCOUNT else {}


@pytest.mark.parametrize(
    ("fixed", "extra", "finder", "host"),
    [
        ({"subdomain": "fixed"}, {}, None, "fixed"),
        ({"subdomain": "fixed"}, {"subdomain": "kept", "other": "x"}, None, "kept"),
        ({"subdomain": "fixed"}, {"subdomain": "kept"}, subdomain_of, "own"),
        ({}, {"subdomain": "kept"}, lambda account: {}, "kept"),
    ],
)
async def test_where_a_value_comes_from(fixed, extra, finder, host):
    client, urls = asked()
    made = refresher(
        "zendesk", "client", "secret", account_variables=finder, client=client, private_addresses=True, **fixed
    )
    await made.refresh(evolve(request_for(made), extra=extra))
    assert urls == [f"https://{host}.zendesk.com/oauth/tokens"]
    assert isinstance(made, HostNamer)
    assert await made.hosts_of(ACCOUNT, extra) == (f"{host}.zendesk.com",)


def is_ours(value):
    if value.startswith("fails"):
        raise LookupError(value)
    return value.endswith(".corp.example")


async def is_ours_later(value):
    return True


@pytest.mark.parametrize(("name", "given"), [("gitlab", {"instance": is_ours_later}), ("okta", {"org": is_ours})])
def test_only_a_plain_function_of_a_variable_that_decides_a_domain_is_taken(name, given):
    with pytest.raises(InvalidInputError, match="must be a text"):
        refresher(name, "client", "secret", **given)


@pytest.mark.parametrize(
    ("fixed", "given", "host"),
    [
        ({}, "evil.example", None),
        ({"instance": "gitlab.corp.example"}, "evil.example", None),
        ({"instance": "gitlab.corp.example"}, "169.254.169.254", None),
        ({"instance": "gitlab.corp.example"}, "gitlab.corp.example", "gitlab.corp.example"),
        ({"instance": ["gitlab.corp.example", "two.example"]}, "two.example", "two.example"),
        ({"instance": ["gitlab.corp.example", "two.example"]}, None, "gitlab.corp.example"),
        ({"instance": ["gitlab.corp.example", "two.example"]}, "gitlab.com", None),
        ({"instance": is_ours}, "two.corp.example", "two.corp.example"),
        ({"instance": is_ours}, None, "gitlab.com"),
        ({"instance": is_ours}, "evil.example", None),
        ({"instance": is_ours}, "fails.example", None),
        ({"instance": ["gitlab.corp.example", is_ours]}, None, "gitlab.corp.example"),
        ({"instance": ["gitlab.corp.example", is_ours]}, "two.corp.example", "two.corp.example"),
        ({"instance": lambda value: "yes"}, "evil.example", None),  # only True allows
        ({"account_variables": lambda account: {"instance": "own.example"}}, "own.example", "own.example"),
        ({"account_variables": lambda account: {"instance": "own.example"}}, None, "own.example"),
        ({"account_variables": lambda account: {"instance": "own.example"}}, "evil.example", None),
        (
            {"instance": ["a.example", "b.example"], "account_variables": lambda account: {"instance": "b.example"}},
            "a.example",
            None,
        ),
    ],
)
async def test_an_account_chooses_no_domain_that_the_host_has_not_listed(fixed, given, host):
    client, urls = asked()
    made = refresher("gitlab", "client", "secret", client=client, private_addresses=True, **fixed)
    request = evolve(request_for(made), extra={} if given is None else {"instance": given})
    if host is not None:
        await made.refresh(request)
        assert urls == [f"https://{host}/oauth/token"]
        return
    with pytest.raises(ProviderConfigurationError) as caught:
        await made.refresh(request)
    assert (urls, caught.value.reason, caught.value.refused) == ([], "variable_refused", False)
    assert given not in str(caught.value)
    assert await made.revoke(request) is False
    assert urls == []


LOOPBACK = {"instance": "127.0.0.1"}


@pytest.mark.parametrize(
    ("options", "is_sent"),
    [
        ({"instance": lambda value: True}, False),
        ({"instance": lambda value: True, "private_addresses": True}, True),
        ({"instance": ["gitlab.com", "127.0.0.1"]}, True),  # the host wrote it down
        (LOOPBACK, True),
        ({"account_variables": lambda account: LOOPBACK}, True),
        ({"bounded": True}, False),
        ({"bounded": True, "private_addresses": True}, True),
        ({"bounded": True, "account_variables": lambda account: LOOPBACK}, True),
        ({"bounded": True, "own_keys": True}, False),
        ({"bounded": True, "own_keys": True, "private_addresses": True}, True),
    ],
)
async def test_nothing_is_sent_to_a_private_address_that_an_account_chose(options, is_sent):
    client, urls = asked()
    options = dict(options)
    own_keys = options.pop("own_keys", False)
    name = bounded(own_keys=own_keys) if options.pop("bounded", False) else "gitlab"
    made = refresher(name, *(() if own_keys else ("client", "secret")), client=client, **options)
    request = evolve(request_for(made, '{"client_id": "id", "client_secret": "s"}'), extra=LOOPBACK)
    if is_sent:
        await made.refresh(request)
        assert len(urls) == 1
    else:
        with pytest.raises(RefreshFailedError) as caught:
            await made.refresh(request)
        assert (caught.value.reason, caught.value.outcome_unknown) == ("private_address", False)
        assert own_keys or await made.revoke(request) is False
        assert urls == []


def bounded(*, own_keys):
    """Return a profile whose pattern leaves two hosts, one of which has a private address."""
    return Profile(
        name="acme",
        title="Acme",
        docs=["https://acme.example/docs"],
        checked=date(2026, 11, 26),
        token_url="https://{instance}/token",
        revocation_url="https://{instance}/revoke",
        variables={"instance": {"pattern": r"127\.0\.0\.1|auth\.acme\.example", "about": "the server"}},
        rotation={"kind": "strict"},
        request={"grant": "client_credentials" if own_keys else "refresh_token"},
    )


def test_private_addresses_is_a_flag():
    with pytest.raises(InvalidInputError, match="True or False"):
        refresher("gitlab", "client", "secret", private_addresses="no")


@pytest.mark.parametrize(
    ("host", "pattern", "is_free"),
    [
        ("{at}", "[a-z.]+", True),
        ("{at}", "[a-z]+\\.acme\\.(com|eu)", False),
        ("{at}", "[a-z]+\\.(acme\\.com|[a-z]+\\.net)", True),
        ("{at}", "a\\.acme\\.com|[a-z.]+", True),
        ("{at}", "[a-z]+\\.acme\\.?com", True),
        ("{at}", "api\\.acme\\.(com|co\\.uk)", False),
        ("{at}", "[a-z]+\\.(acme|com)", True),
        ("x.{at}", "[a-z]+\\.com", True),
        ("{at}.com", "[a-z]+", True),
        ("x{at}.com", "[a-z]+", True),
        ("acme.{at}", "com|eu", False),
        ("{at}.acme.com", "[a-z.]+", False),
    ],
)
def test_a_profile_says_which_variable_leaves_a_domain_free(host, pattern, is_free):
    def made(**more):
        return Profile(
            name="acme",
            title="Acme",
            docs=["https://acme.example"],
            checked=date(2026, 1, 1),
            token_url=f"https://{host}/token",
            variables={"at": {"pattern": pattern, "about": "where", **more}},
        )

    if is_free:
        with pytest.raises(InvalidInputError, match="free_host"):
            made()
    else:
        made()
    assert made(free_host=True).variables["at"].free_host


def test_a_profile_says_to_which_domains_a_members_host_belongs():
    facts = {"name": "acme", "title": "Acme", "docs": ["https://acme.example"], "checked": date(2026, 1, 1)}
    facts |= {"token_url": "https://acme.example/token", "answer": {"extra": {"url": "url"}}, "api_hosts": ["{url}"]}
    with pytest.raises(InvalidInputError, match="api_domains"):
        Profile(**facts)
    Profile(**facts, api_domains=["acme.example"])


def broken(account):
    raise LookupError("secret")


@pytest.mark.parametrize(
    ("finder", "kind"),
    [
        (None, ProviderConfigurationError),
        (lambda account: {"subdomain": "evil.com/"}, ProviderConfigurationError),
        (broken, RefreshFailedError),
        (lambda account: None, RefreshFailedError),
    ],
)
async def test_an_account_without_a_usable_value_fails_before_anything_is_sent(finder, kind):
    client, urls = asked()
    error = await failure(refresher("zendesk", "client", "secret", account_variables=finder, client=client))
    assert (type(error), urls) == (kind, [])
    assert getattr(error, "outcome_unknown", False) is False
    assert getattr(error, "refused", False) is False
    assert "evil" not in str(error)


def test_the_answer_to_a_code_is_read_by_the_same_profile():
    answer = {
        "ok": True,
        "access_token": "bot",
        "team": {"id": "T1"},
        "authed_user": {"access_token": "user", "refresh_token": "next", "scope": "chat:write,users:read"},
    }
    user = read_token_set(packaged_profile("slack-user"), answer)
    assert (user.access_token.reveal(), user.refresh_token.reveal()) == ("user", "next")
    assert (user.scopes, user.expires_in) == (("chat:write", "users:read"), timedelta(hours=12))
    assert dict(user.extra) == {"team_id": "T1"}
    assert read_token_set(packaged_profile("slack"), answer).access_token.reveal() == "bot"


async def test_lifetimes_in_other_units_and_times():
    profile = packaged_profile("xero")
    for shape, answer, seconds in (
        ({"lifetime": "expires", "lifetime_unit": "milliseconds"}, {"expires": 90_000}, 90),
        ({"lifetime": "ttl", "lifetime_unit": "minutes"}, {"ttl": "2"}, 120),
        ({"lifetime_unit": "minutes"}, {"expires_in": "soon"}, None),
    ):
        client, _ = asked({"access_token": "access-2", **answer})
        given = evolve(profile, answer=evolve(profile.answer, default_lifetime=None, **shape))
        tokens = await refreshed(refresher(given, "client", "secret", client=client))
        assert tokens.expires_in == (None if seconds is None else timedelta(seconds=seconds))
    moments = (4_102_444_800, 4_102_444_800_000, "4102444800", "4102444800000")
    for time in (*moments, "2100-01-01T00:00:00Z", "2100-01-01T00:00:00"):
        client, _ = asked({"access_token": "access-2", "until": time})
        given = evolve(profile, answer=evolve(profile.answer, expires_at="until"))
        assert (await refreshed(refresher(given, "client", "secret", client=client))).expires_at.year == 2100


@pytest.mark.parametrize("time", ["soon", "\N{SUPERSCRIPT TWO}", "9" * 400, ["2100"], {}])
async def test_a_time_that_is_none_costs_the_tokens_nothing(time):
    profile = packaged_profile("xero")
    client, _ = asked({"access_token": "access-2", "until": time})
    given = evolve(profile, answer=evolve(profile.answer, expires_at="until", default_lifetime=None))
    tokens = await refreshed(refresher(given, "client", "secret", client=client))
    assert (tokens.access_token.reveal(), tokens.expires_at) == ("access-2", None)


def test_all_parts_of_a_rule_must_fit():
    rule = ErrorRule(means="grant_dead", code="17", status=400, message="Expired|gone")
    assert rule.fits("17", 400, "it has EXPIRED")
    assert not any(rule.fits(*error) for error in (("18", 400, "gone"), ("17", 401, "gone"), ("17", 400, "x")))
    assert not rule.fits("17", 400, None)


async def test_a_host_that_does_not_find_the_values_in_time_sends_nothing():
    async def hangs(account):
        await asyncio.sleep(60)

    client, urls = asked()
    made = refresher("zendesk", "client", "secret", account_variables=hangs, client=client)
    error = await failure(made, deadline=5.0, send_deadline=0.05)
    assert (type(error), error.outcome_unknown, urls) == (RefreshFailedError, False, [])
