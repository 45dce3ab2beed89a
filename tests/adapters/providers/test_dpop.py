"""DPoP at token endpoints (RFC 9449): proofs, nonces, clocks, and providers that do not bind a token."""

import asyncio
import time
from datetime import date, timedelta
from email.utils import formatdate
from urllib.parse import parse_qsl

import pytest
from attrs import evolve
from joserfc.jwk import ECKey
from tests.adapters.providers.asking import ACCOUNT, request_for, revocation_of
from tests.domain.leaks import shown_by
from tests.support.proofs import checked_proof, no_nonces
from tests.support.scripted_provider import FOREVER, Answer, error_answer, scripted_provider, token_answer

from vault_adapters import (
    ConfigurationError,
    InvalidInputError,
    ProviderConfigurationError,
    RefreshFailedError,
    Secret,
    TokenKind,
    TokenSet,
)
from vault_adapters.providers import OAuth2Refresher, SigningKey, openid, refresher
from vault_adapters.providers.dpop import new_key, proof, thumbprint, with_key
from vault_adapters.providers.profiles import Profile
from vault_adapters.testing import memory_vault
from vault_domain.entities.extra import NO_EXTRA

__all__ = ["no_nonces"]

KEY = new_key()
CLIENT_KEY = SigningKey.from_jwk(ECKey.generate_key("P-256").as_dict(private=True))


@pytest.fixture
def provider():
    with scripted_provider() as running:
        yield running


def profile_of(provider):
    return Profile(
        name="acme",
        title="Acme",
        docs=("https://docs.example.com",),
        checked=date(2026, 12, 1),
        token_url=provider.token_url,
        revocation_url=provider.revocation_url,
        client_auth=["none", "private_key_jwt"],
    )


def plain(provider, **options):
    return OAuth2Refresher(provider.token_url, "client", auth_method="none", **options)


def profiled(provider, **options):
    return refresher(profile_of(provider), "client", **options)


@pytest.fixture(params=[plain, profiled])
def make(request):
    return request.param


async def bound(made, key=KEY, **options):
    """Refresh with a request of an account that has a key."""
    return await made.refresh(evolve(request_for(made, **options), extra=NO_EXTRA.proved_by(key)))


async def failed(made, **options):
    with pytest.raises((RefreshFailedError, ProviderConfigurationError)) as caught:
        await bound(made, **options)
    return caught.value


def asking(nonce, **headers):
    return Answer(status=400, json={"error": "use_dpop_nonce"}, headers={"DPoP-Nonce": nonce, **headers})


TOKENS = token_answer("access-2", "refresh-2", token_type="DPoP")


def test_a_key_of_a_seed_is_always_the_same_and_others_differ():
    assert new_key(b"seed") == new_key(b"seed")
    assert len({new_key().reveal() for _ in range(20)} | {new_key(b"seed").reveal()}) == 21
    assert {len(new_key().reveal()) for _ in range(20)} == {43}


@pytest.mark.parametrize(
    ("url", "htu"),
    [
        ("https://api.example.com/a/b?c=d#e", "https://api.example.com/a/b"),
        ("https://user:canary@api.example.com:8443/a", "https://api.example.com:8443/a"),
        ("https://api.example.com", "https://api.example.com/"),
        ("http://[::1]:80/x", "http://[::1]:80/x"),
    ],
)
def test_a_proof_names_the_url_without_what_is_secret_in_it(url, htu):
    claims, used = checked_proof(_Sent("GET", proof(KEY, "GET", url)), htu)
    assert used == thumbprint(KEY)
    assert "canary" not in str(claims)


class _Sent:
    def __init__(self, method, header):
        self.method, self.headers = method, {"dpop": header}


async def test_a_refresh_carries_a_proof_of_the_accounts_key(provider, make):
    provider.answer(TOKENS)
    found = await bound(make(provider))
    assert (found.access_token.reveal(), found.token_type) == ("access-2", "DPoP")
    (request,) = provider.requests
    _, used = checked_proof(request, provider.token_url)
    assert used == thumbprint(KEY)


async def test_an_account_without_a_key_sends_no_proof(provider, make):
    provider.answer(token_answer("access-2"))
    made = make(provider) if make is plain else make(provider, dpop=True)
    await made.refresh(request_for(made))
    assert "dpop" not in provider.requests[0].headers


async def test_a_nonce_is_taken_once_and_remembered_and_nothing_is_signed_twice(provider, make):
    """RFC 9449 section 8: the first request is refused before the refresh token is looked at."""
    options = {"auth_method": "private_key_jwt", "signing_key": CLIENT_KEY}
    made = OAuth2Refresher(provider.token_url, "client", **options) if make is plain else profiled(provider, **options)
    provider.answer(asking("nonce-1"), TOKENS.with_headers(DPoP_Nonce="nonce-2"), TOKENS)
    await bound(made)
    await bound(made)
    first, second, third = provider.requests
    proofs = [
        checked_proof(request, provider.token_url, nonce=nonce)[0]
        for request, nonce in zip([first, second, third], [None, "nonce-1", "nonce-2"], strict=True)
    ]
    forms = [dict(parse_qsl(request.body.decode())) for request in (first, second)]
    assert {form["refresh_token"] for form in forms} == {"refresh-1"}
    assert len({claims["jti"] for claims in proofs}) == 3
    assert forms[0]["client_assertion"] != forms[1]["client_assertion"]


@pytest.mark.parametrize(
    "answers",
    [
        [asking("nonce-1"), asking("nonce-2"), asking("nonce-3")],
        [asking("nonce-1"), asking("nonce-1")],
        [asking("nonce-1"), error_answer("invalid_dpop_proof")],
    ],
    ids=["always another", "always the same", "refused for good"],
)
async def test_a_server_that_never_accepts_a_nonce_is_asked_twice(provider, make, answers):
    provider.answer(*answers)
    error = await failed(make(provider))
    assert (type(error), error.reason, error.refused) == (ProviderConfigurationError, "dpop_required", False)
    assert len(provider.requests) == 2


async def test_a_remembered_nonce_that_is_no_longer_accepted_is_replaced(provider, make):
    """A server renews its nonces whenever it likes."""
    provider.answer(asking("nonce-1"), TOKENS, asking("nonce-2"), TOKENS)
    made = make(provider)
    for _ in range(2):
        await bound(made)
    used = [None, "nonce-1", "nonce-1", "nonce-2"]
    for request, nonce in zip(provider.requests, used, strict=True):
        checked_proof(request, provider.token_url, nonce=nonce)


@pytest.mark.parametrize("nonce", [None, "", 'canary"', "canary x", "canary" * 200, "canary\u00e9"])
async def test_a_nonce_that_is_none_is_not_taken(provider, make, nonce):
    headers = {} if nonce is None else {"DPoP-Nonce": nonce}
    provider.answer(Answer(status=400, json={"error": "use_dpop_nonce"}, headers=headers))
    error = await failed(make(provider))
    assert error.reason == "dpop_required"
    assert "canary" not in f"{error!r}{error}"
    assert len(provider.requests) == 1


@pytest.mark.parametrize(("behind", "requests"), [(600, 2), (-600, 2), (1, 1), (None, 1), (10**9, 1)])
async def test_a_clock_that_differs_is_corrected_once_the_server_refuses_the_time(provider, make, behind, requests):
    headers = {} if behind is None else {"Date": formatdate(time.time() - behind, usegmt=True)}
    refusal = Answer(status=400, json={"error": "invalid_dpop_proof"}, headers=headers)
    provider.answer(refusal, TOKENS)
    if requests == 2:
        await bound(make(provider))
        checked_proof(provider.requests[1], provider.token_url, ahead=behind)
    else:
        assert (await failed(make(provider))).reason == "dpop_required"
    checked_proof(provider.requests[0], provider.token_url)
    assert len(provider.requests) == requests


async def test_a_nonce_that_comes_too_late_ends_the_refresh_with_a_known_outcome(provider, make):
    provider.answer(evolve(asking("nonce-1"), delay=0.4))
    error = await failed(make(provider), send_deadline=0.3)
    assert (type(error), error.outcome_unknown) == (RefreshFailedError, False)
    assert len(provider.requests) == 1


@pytest.mark.parametrize("status", [401, 500, 429])
async def test_only_a_refusal_of_the_proof_is_repeated(provider, make, status):
    provider.answer(Answer(status=status, json={"error": "invalid_client"}, headers={"DPoP-Nonce": "nonce-1"}))
    with pytest.raises((RefreshFailedError, ProviderConfigurationError)):
        await bound(make(provider))
    assert len(provider.requests) == 1


@pytest.mark.parametrize("hangs_at", [1, 2])
async def test_a_cancelled_refresh_shows_neither_key_nor_refresh_token(provider, make, hangs_at):
    """A cancellation's traceback keeps the frames that it passed through, and error trackers show their locals."""
    provider.answer(*[asking("nonce-1")] * (hangs_at - 1), Answer(delay=FOREVER))
    made = make(provider)
    refreshing = asyncio.create_task(bound(made, credential=Secret("refresh-canary")))
    await asyncio.to_thread(provider.wait_for_requests, hangs_at)
    refreshing.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await refreshing
    shown = shown_by(caught.value)
    assert "proved" in shown  # the frames are there
    assert (KEY.reveal() in shown, "refresh-canary" in shown) == (False, False)


async def test_a_revocation_carries_no_proof(provider, make):
    made = plain(provider, revocation_url=provider.revocation_url) if make is plain else profiled(provider)
    provider.answer(Answer(status=200))
    request = evolve(revocation_of("refresh-1", TokenKind.REFRESH_TOKEN), extra=NO_EXTRA.proved_by(KEY))
    assert await made.revoke(request) is True
    assert "dpop" not in provider.requests[0].headers


async def test_a_token_that_is_not_bound_is_refused_and_its_refresh_token_kept(provider):
    """RFC 9449 section 5: whoever gets such a token could use it. The new refresh token is the only copy."""
    made = profiled(provider, dpop=True)
    async with memory_vault(refreshers={"acme": made}) as vault:
        await vault.store_token_set(ACCOUNT, with_key(TokenSet("a1", "r1", expires_in=0, token_type="DPoP"), KEY))
        provider.answer(token_answer("a2", "r2"))
        with pytest.raises(RefreshFailedError) as caught:
            await vault.refresh_account(ACCOUNT)
        assert (caught.value.reason, caught.value.retry_after) == ("token_not_bound", timedelta(minutes=5))
        kept = await vault.get_token(ACCOUNT.key(TokenKind.REFRESH_TOKEN))
        assert (kept.value.reveal(), kept.proof_key) == ("r2", KEY)
        assert (await vault.get_token(ACCOUNT.key(TokenKind.ACCESS_TOKEN))).value.reveal() == "a1"
        with pytest.raises(RefreshFailedError):  # no request: the account waits, as after any failure
            await vault.ensure_access_token(ACCOUNT)
        assert len(provider.requests) == 1
        provider.answer(token_answer("a3", "r3", token_type="dpop"))
        token = await vault.refresh_account(ACCOUNT)
        assert (token.value.reveal(), token.proof_key) == ("a3", KEY)
        assert dict(parse_qsl(provider.requests[1].body.decode()))["refresh_token"] == "r2"


async def test_a_host_that_does_not_demand_bound_tokens_takes_what_it_gets(provider):
    provider.answer(token_answer("a2", "r2"))
    assert (await bound(profiled(provider))).access_token.reveal() == "a2"


@pytest.mark.parametrize("dpop", ["yes", 1, 0])
def test_dpop_is_true_or_false(provider, dpop):
    with pytest.raises(InvalidInputError):
        profiled(provider, dpop=dpop)


def test_an_api_key_takes_no_dpop():
    with pytest.raises(InvalidInputError):
        refresher("stripe", dpop=True)


def test_a_profile_says_that_tokens_are_bound(provider):
    profile = evolve(profile_of(provider), authorization={"dpop": True})
    assert refresher(profile, "client").dpop is True
    assert refresher(profile, "client", dpop=False).dpop is False
    assert refresher(profile_of(provider), "client").dpop is False


@pytest.mark.parametrize("listed", [None, [], ["RS256"], "ES256"])
def test_an_openid_provider_that_binds_no_tokens_is_refused(listed):
    document = {
        "issuer": "https://id.example.com",
        "token_endpoint": "https://id.example.com/token",
        "authorization_endpoint": "https://id.example.com/auth",
        "jwks_uri": "https://id.example.com/jwks",
        "token_endpoint_auth_methods_supported": ["none"],
    }
    if listed is not None:
        document["dpop_signing_alg_values_supported"] = listed
    with pytest.raises(ConfigurationError) as caught:
        openid("https://id.example.com", "client", document=document, dpop=True)
    assert caught.value.code == "discovery_failed"
    assert openid("https://id.example.com", "client", document=document).dpop is False
    document["dpop_signing_alg_values_supported"] = ["RS256", "ES256"]
    assert openid("https://id.example.com", "client", document=document, dpop=True).dpop is True
