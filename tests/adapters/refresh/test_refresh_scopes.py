"""A refresh never asks for more than the grant has, whatever the service asks its next users for."""

import itertools
from datetime import timedelta

import pytest
from attrs import evolve
from tests.adapters.providers.asking import failure, refreshed
from tests.adapters.refresh.refresh_kit import HOUR, is_connected
from tests.adapters.refresh.refresh_kit import failure as failure_of
from tests.support.scripted_provider import error_answer, token_answer

from vault_adapters import Account, ConnectionState, ProviderConfigurationError, TokenSet
from vault_adapters.providers import CustomRefresher, OAuth2Refresher, load_profile, refresher

DAY = timedelta(days=1)
FLEET = [Account(f"t{number}", "acme", f"user-{number}") for number in range(8)]
FEWER = FLEET[-1]  # this user unticked a box
NUMBERS = itertools.count()

PROFILE = """
name = "acme"
title = "Acme"
docs = ["https://acme.example/docs"]
checked = 2026-11-01
token_url = "{url}"

[request]
scopes = "{scopes}"
"""


class Grants:
    """A provider that keeps each grant's scopes, and refuses to give more (RFC 6749 section 6)."""

    def __init__(self):
        self.scopes = {}

    def connect(self, account, *scopes):
        credential = f"refresh of {account.identifier} 0"
        self.scopes[credential] = scopes
        return TokenSet("access", credential, scopes=scopes, expires_in=HOUR)

    def __call__(self, request):
        credential = request.form["refresh_token"]
        granted = self.scopes.get(credential)
        if granted is None:
            return error_answer("invalid_grant")
        asked = tuple(request.form.get("scope", " ".join(granted)).split())
        if not set(asked) <= set(granted):
            return error_answer("invalid_scope")
        following = f"{credential.rpartition(' ')[0]} {next(NUMBERS)}"
        self.scopes[following] = self.scopes.pop(credential)
        return token_answer(f"access {next(NUMBERS)}", following, scope=" ".join(asked))


@pytest.fixture
def grants(provider):
    found = Grants()
    provider.answer_always(found)
    return found


@pytest.fixture
def profiled(provider, tmp_path):
    """Return a refresher of an own profile; ``asks`` says which scopes a refresh sends."""

    def make(asks, **options):
        path = tmp_path / f"{asks}.toml"
        path.write_text(PROFILE.format(url=provider.token_url, scopes=asks))
        return refresher(load_profile(path), "client", "secret", **options)

    return make


@pytest.fixture(params=["oauth2", "custom", "given", "never", "stored"])
def asking(request, provider, profiled):
    """Return a refresher whose service asks users for the scopes ``a``, ``b`` and, lately, ``c``."""
    scopes = ["a", "b", "c"]
    if request.param in ("given", "never", "stored"):
        return profiled(request.param, scopes=scopes)
    if request.param == "oauth2":
        return OAuth2Refresher(provider.token_url, "client", "secret", scopes=scopes)

    def read(members):
        return TokenSet(members["access_token"], members["refresh_token"], expires_in=HOUR)

    return CustomRefresher(provider.token_url, "client", "secret", scopes=scopes, read_answer=read)


async def test_one_more_scope_in_the_configuration_costs_nobody_the_connection(opened, clock, grants, asking):
    vault = await opened(asking)
    for account in FLEET:
        await vault.store_token_set(account, grants.connect(account, "a", *(["b"] if account is not FEWER else [])))
    for _ in range(7):
        clock.advance(DAY)
        await vault.refresh_due()
        assert all([await is_connected(vault, account) for account in FLEET])
    assert (await vault.get_account(FLEET[0])).scopes == ("a", "b")
    assert (await vault.get_account(FEWER)).scopes == ("a",)


@pytest.mark.parametrize("asks", ["never", "stored"])
async def test_a_grant_of_more_scopes_is_not_narrowed(opened, clock, grants, profiled, asks):
    vault = await opened(profiled(asks, scopes=["a"]))
    await vault.store_token_set(FLEET[0], grants.connect(FLEET[0], "a", "b"))
    clock.advance(HOUR)
    await vault.refresh_account(FLEET[0])
    assert (await vault.get_account(FLEET[0])).scopes == ("a", "b")
    [scopes] = grants.scopes.values()
    assert scopes == ("a", "b")


async def test_invalid_scope_never_exhausts_a_credential(opened, clock, provider):
    provider.answer_always(error_answer("invalid_scope"))
    vault = await opened(OAuth2Refresher(provider.token_url, "client", "secret"))
    await vault.store_token_set(FLEET[0], TokenSet("access", "refresh", expires_in=HOUR))
    for _ in range(12):
        clock.advance(DAY)
        for _ in range(2):  # the second call comes within the backoff
            error = await failure_of(vault.ensure_access_token(FLEET[0]))
            assert (type(error), error.reason) == (ProviderConfigurationError, "invalid_scope")
    info = await vault.get_account(FLEET[0])
    assert (info.state, info.reason) == (ConnectionState.RETRYING, "invalid_scope")
    assert info.next_attempt_at - clock.now() <= HOUR
    provider.answer_always(token_answer("access-2"))
    clock.advance(HOUR)
    assert (await vault.ensure_access_token(FLEET[0])).value.reveal() == "access-2"


async def test_invalid_scope_is_tried_once_without_scopes(provider, profiled):
    provider.answer(error_answer("invalid_scope"), token_answer("access-2"))
    provider.answer(error_answer("invalid_scope"), error_answer("invalid_scope"))
    provider.answer(error_answer("invalid_request"))
    stored = profiled("stored")
    assert (await refreshed(stored, scopes=("a", "b"))).access_token.reveal() == "access-2"
    assert (await failure(stored, scopes=("a", "b"))).reason == "invalid_scope"
    assert (await failure(stored, scopes=("a", "b"))).reason == "invalid_request"
    asked = [request.form.get("scope") for request in provider.requests]
    assert asked == ["a b", None, "a b", None, "a b"]
    assert {request.form["refresh_token"] for request in provider.requests} == {"refresh-1"}


async def test_nothing_is_tried_again_without_scopes_to_leave_out(provider, profiled):
    provider.answer(*[error_answer("invalid_scope")] * 3)
    assert (await failure(profiled("stored"))).reason == "invalid_scope"
    assert (await failure(profiled("never"), scopes=("a",))).reason == "invalid_scope"
    own = OAuth2Refresher(provider.token_url, "client", "secret")
    assert (await failure(own, scopes=("a",))).reason == "invalid_scope"
    assert len(provider.requests) == 3


async def test_the_second_request_keeps_the_deadlines(provider, profiled):
    provider.answer(evolve(error_answer("invalid_scope"), delay=0.4))
    error = await failure(profiled("stored"), scopes=("a",), send_deadline=0.3)
    assert error.reason == "invalid_scope"
    assert len(provider.requests) == 1
