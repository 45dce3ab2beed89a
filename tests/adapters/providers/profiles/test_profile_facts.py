"""Facts of single profiles that once were wrong, each with what the mistake cost a user."""

from datetime import date, timedelta

import pytest
from tests.adapters.providers.profiles.files import TABLES, grant, placed, values

from vault_adapters.providers import refresher
from vault_adapters.providers.profiles import Profile
from vault_adapters.providers.profiles.loading import packaged_profile
from vault_adapters.providers.profiles.shown import unverified
from vault_adapters.providers.shaped_answers import read_token_set
from vault_domain.entities.account import Account

OF_USERS = [
    name
    for name, table in TABLES.items()
    if grant(table) in ("refresh_token", "access_token") and "default_lifetime" in table.get("answer", {})
]


def first_answer(name, **members):
    """The answer to the exchange of a code, in the provider's form, without a lifetime."""
    shape, whole, tokens = TABLES[name].get("answer", {}), {}, {}
    for member, value in members.items():
        placed(shape.get(member, member), value, tokens)
    if shape.get("within"):
        placed(shape["within"][0], tokens, whole)
        return whole
    return tokens


@pytest.mark.parametrize("name", OF_USERS)
def test_a_lifetime_is_assumed_only_beside_a_refresh_token(name):
    """Slack without token rotation and OAuth apps of GitHub give tokens that never expire."""
    profile = packaged_profile(name)
    assert read_token_set(profile, first_answer(name, access_token="a")).expires_in is None
    both = read_token_set(profile, first_answer(name, access_token="a", refresh_token="r"))
    assert both.expires_in == profile.answer.default_lifetime


def test_a_lapse_of_a_grant_that_is_an_assumption_is_not_stored():
    """A stored lapse is final: Auth0's thirty days are a setting, and nobody would have asked Auth0 on day 30."""
    stored = {}
    for name, table in TABLES.items():
        if "absolute" in table.get("rotation", {}):
            answer = first_answer(name, access_token="a", refresh_token="r")
            stored[name] = read_token_set(packaged_profile(name), answer).refresh_token_expires_in
    assert stored.pop("auth0") is None
    # Six months are 184 days at most; with 180, a user of Spotify had to connect again four days early.
    assert stored == {
        "atlassian": timedelta(days=365),
        "linkedin": timedelta(days=365),
        "quickbooks": timedelta(days=1825),
        "spotify": timedelta(days=184),
    }


def test_requests_to_zendesk_ask_for_tokens_that_expire():
    """An older client that does not ask gets no refresh token."""
    profile = packaged_profile("zendesk")
    asked = (profile.authorization.exchange["expires_in"], profile.request.extra["expires_in"])
    assert (asked, profile.request.format) == (("1800", "1800"), "form")  # a number, as JSON wants it, would be a text


def test_gitlab_is_asked_for_the_scope_of_userinfo():
    assert packaged_profile("gitlab").authorization.scopes == ("openid",)


def test_a_setting_of_an_app_is_no_grace_period():
    """Okta's grace period may be zero, and then an early repetition costs the grant."""
    assert packaged_profile("okta").rotation.kind == "strict"


def test_asanas_user_is_in_the_answer():
    """Userinfo needs the scope users:read, which an app may not have."""
    profile = packaged_profile("asana")
    assert {(place.source, place.member) for place in (profile.identifier, profile.label)} == {
        ("answer", "data.gid"),
        ("answer", "data.email"),
    }


@pytest.mark.parametrize(
    ("name", "variable", "value"),
    [
        ("okta", "org", "acme.okta-gov.com"),
        *(("salesforce", "domain", f"acme-dev-ed.{kind}.my") for kind in ("develop", "scratch", "sandbox")),
        ("salesforce", "domain", "acme.my"),
    ],
)
def test_all_hosts_of_a_provider_are_known(name, variable, value):
    profile = packaged_profile(name)
    assert profile.variables[variable].accepts(value)
    assert not profile.variables[variable].accepts(f"{value}.evil.example")


@pytest.mark.parametrize(
    ("name", "hosts"),
    [
        ("zoom", {"api.zoom.us", "zoom.us"}),  # recordings are downloaded from zoom.us/rec/download
        ("zoho", {"desk.zoho.com", "desk.zoho.eu", "mail.zoho.in", "mail.zohocloud.ca", "*.zohoapis.eu"}),
    ],
)
async def test_hosts_that_take_the_token(name, hosts):
    made = refresher(name, "id", "secret", **values(TABLES[name]))
    assert set(await made.hosts_of(Account("t", name), {})) >= hosts


def test_hubspots_scopes_are_a_list():
    """Under another name, no scope was read, and the requested scopes were stored as granted."""
    answer = {"access_token": "a", "refresh_token": "r", "scopes": ["oauth", "crm.objects.contacts.read"]}
    assert read_token_set(packaged_profile("hubspot"), answer).scopes == ("oauth", "crm.objects.contacts.read")


def test_the_share_of_unverified_facts():
    facts = {"token_url": "https://acme.example/token", "limits": {"concurrency": 2}, "unverified": ["limits"]}
    about = {"name": "acme", "title": "Acme", "docs": ["https://acme.example/"], "checked": date(2026, 11, 26)}
    # token_url, client_auth, rotation.kind, rotation.old_token_dies, limits.concurrency
    assert unverified(Profile(**about, **facts)) == "1 of 5"
    rules = {"rules": [{"status": 420, "means": "not_now"}]}
    assert unverified(Profile(**about, **{**facts, "unverified": ["errors"]}, errors=rules)) == "1 of 6"


def test_meta_does_not_promise_instagram():
    """Instagram Login has its own client id and addresses, so this profile cannot connect its users."""
    assert "Instagram" not in packaged_profile("meta").title


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("hubspot", ("answer.extra", "identifier", "revocation_url", "revocation.hint", "authorization.pkce")),
        ("discord", ("revocation.scope",)),
        ("quickbooks", ("userinfo_url", "rotation.grace")),
        ("shopify", ("rotation.idle",)),
        ("asana", ("answer.default_lifetime",)),
        ("linear", ("rotation.kind",)),
        ("pipedrive", ("identifier", "userinfo_url")),
        ("zoho", ("authorization_url", "authorization.parameters")),
        ("calendly", ("client_auth", "rotation.kind", "answer.default_lifetime", "limits", "identifier")),
        ("monday", ("token_url", "client_auth", "request.format", "rotation.kind", "authorization.pkce")),
        ("stripe-apps", ("client_auth", "rotation.kind", "rotation.idle", "answer.default_lifetime", "identifier")),
    ],
)
def test_facts_that_the_providers_own_pages_state(name, facts):
    profile = packaged_profile(name)
    assert [fact for fact in facts if not profile.is_verified(fact)] == []
    assert all(profile.sources_of(fact) for fact in facts)
