"""How a provider's answers change the stored tokens: a real HTTP server answers a real vault."""

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from tests.adapters.refresh.refresh_kit import ACCOUNT, HOUR, MINUTE, SECOND, account_state, failure, store, stored
from tests.support.databases import both_stores
from tests.support.scripted_provider import (
    Answer,
    error_answer,
    gzip_bomb,
    oversized_answer,
    redirect_answer,
    refused_url,
    token_answer,
)

from vault_adapters import (
    Account,
    AuditAction,
    ConnectionState,
    ProviderConfigurationError,
    ReauthorizationRequiredError,
    RefreshFailedError,
    Rotation,
    TokenKind,
    TokenSet,
)
from vault_adapters.providers import OAuth2Refresher
from vault_adapters.testing import ScriptedRefresher

LONGEST = timedelta(days=36_525)
OLD = {"access_token": "access-0", "refresh_token": "refresh-0"}


@pytest.fixture
def refresher(provider):
    return OAuth2Refresher(provider.token_url, "client", "client-secret")


@pytest.fixture
async def vault(opened, refresher):
    """A vault with an account whose access token expires in an hour."""
    vault = await opened(refresher)
    await store(vault)
    return vault


def the_state(config):
    [row] = account_state(config)
    return row


# Answers that bring tokens


@pytest.mark.parametrize("members", [{}, {"refresh_token": None}, {"refresh_token": ""}])
async def test_no_new_refresh_token_keeps_the_stored_one(vault, provider, clock, members):
    provider.answer(token_answer("access-1", **members), token_answer("access-2"))
    clock.advance(HOUR)
    await vault.ensure_access_token(ACCOUNT)
    assert await stored(vault) == {"access_token": "access-1", "refresh_token": "refresh-0"}
    await vault.refresh_account(ACCOUNT)
    assert [request.form["refresh_token"] for request in provider.requests] == ["refresh-0", "refresh-0"]


@pytest.mark.parametrize(
    ("expires_in", "expected"),
    [("absent", None), (None, None), ("soon", None), (-5, None), (1e300, LONGEST), (True, None), ([], None), (0, None),
     ("3600", HOUR), (60.5, timedelta(seconds=60.5))],
)  # fmt: skip
async def test_an_odd_lifetime_costs_no_token(vault, provider, clock, expires_in, expected):
    answer = token_answer("access-1", "refresh-1", expires_in=expires_in)
    if expires_in == "absent":
        del answer.json["expires_in"]
    provider.answer(answer)
    clock.advance(HOUR)
    token = await vault.ensure_access_token(ACCOUNT)
    assert token.info.expires_at == (None if expected is None else clock.now() + expected)
    assert await stored(vault) == {"access_token": "access-1", "refresh_token": "refresh-1"}


@pytest.mark.parametrize("expires_at", [datetime(9998, 12, 31, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)])
async def test_a_time_more_than_a_hundred_years_ahead_is_limited_by_the_commit(opened, clock, expires_at):
    vault = await opened(ScriptedRefresher(TokenSet("access-1", "refresh-1", expires_at=expires_at)))
    await store(vault)
    clock.advance(HOUR)
    token = await vault.ensure_access_token(ACCOUNT)
    assert (token.info.expires_at, token.info.lifetime) == (clock.now() + LONGEST, LONGEST)
    assert await stored(vault) == {"access_token": "access-1", "refresh_token": "refresh-1"}


async def test_a_time_of_the_provider_more_than_a_hundred_years_ahead_costs_no_token(vault, provider, clock):
    provider.answer(token_answer("access-1", "refresh-1", expires_in=None, expires_at=253_000_000_000))
    clock.advance(HOUR)
    await vault.ensure_access_token(ACCOUNT)
    assert await stored(vault) == {"access_token": "access-1", "refresh_token": "refresh-1"}


TOO_LONG = "x" * 65_537


@pytest.mark.parametrize(
    ("rotation", "kept"), [(Rotation.strict(), False), (Rotation.grace(300), False), (Rotation.non_rotating(), True)]
)
async def test_a_refresh_token_that_is_too_long_is_said_to_be_and_the_access_token_is_stored(
    opened, provider, clock, caplog, rotation, kept
):
    vault = await opened(OAuth2Refresher(provider.token_url, "client", "client-secret", rotation=rotation))
    await store(vault)
    provider.answer(token_answer("access-1", TOO_LONG))
    clock.advance(HOUR)
    assert (await vault.ensure_access_token(ACCOUNT)).value.reveal() == "access-1"
    assert "refresh_token_too_long" in caplog.text
    assert TOO_LONG not in caplog.text
    info = await vault.get_account(ACCOUNT)
    *_, event, required = [event async for event in vault.iter_audit_events()]
    if kept:
        # The provider accepts the stored one as before.
        assert await stored(vault) == {"access_token": "access-1", "refresh_token": "refresh-0"}
        assert (info.state, info.reason) == (ConnectionState.CONNECTED, None)
    else:
        mark = " invalid: refresh_token_too_long"
        assert await stored(vault) == {"access_token": "access-1", "refresh_token": "refresh-0" + mark}
        assert (info.state, info.reason) == (ConnectionState.REAUTHORIZATION_REQUIRED, "refresh_token_too_long")
        assert (event.action, event.code) == (AuditAction.TOKEN_INVALIDATED, "refresh_token_too_long")
        assert (required.action, required.code) == (AuditAction.REAUTHORIZATION_REQUIRED, "refresh_token_too_long")
        clock.advance(HOUR)
        error = await failure(vault.ensure_access_token(ACCOUNT))
        assert (type(error), error.reason) == (ReauthorizationRequiredError, "refresh_token_too_long")
        assert len(provider.requests) == 1  # the spent refresh token is not presented again


async def test_a_host_that_stores_such_an_answer_is_told(opened, caplog):
    vault = await opened()
    token_set = TokenSet.from_response({"access_token": "access-1", "refresh_token": TOO_LONG, "expires_in": 3600})
    info = await vault.store_token_set(ACCOUNT, token_set)
    assert (info.state, info.reason) == (ConnectionState.CONNECTED, "refresh_token_too_long")
    assert await stored(vault) == {"access_token": "access-1"}
    assert "refresh_token_too_long" in caplog.text


async def test_a_refresh_token_of_64_kib_is_stored_and_spent(vault, provider, clock):
    longest = "x" * 65_536
    provider.answer(token_answer("access-1", longest), token_answer("access-2", "refresh-2"))
    clock.advance(HOUR)
    await vault.ensure_access_token(ACCOUNT)
    clock.advance(HOUR)
    await vault.ensure_access_token(ACCOUNT)
    assert provider.requests[1].form["refresh_token"] == longest
    assert await stored(vault) == {"access_token": "access-2", "refresh_token": "refresh-2"}


async def test_a_refresh_token_alone_is_kept(vault, provider, clock):
    provider.answer(Answer(json={"refresh_token": "refresh-1"}), token_answer("access-2", "refresh-2"))
    clock.advance(HOUR)
    assert isinstance(await failure(vault.ensure_access_token(ACCOUNT)), RefreshFailedError)
    assert await stored(vault) == {"access_token": "access-0", "refresh_token": "refresh-1"}
    assert (await vault.refresh_account(ACCOUNT)).value.reveal() == "access-2"


# invalid_grant


@both_stores
async def test_a_dead_credential_is_marked_and_nothing_else(vault, provider, config, clock):
    provider.answer(error_answer("invalid_grant"))
    clock.advance(56 * MINUTE)
    await vault.store_token(ACCOUNT.key(TokenKind.API_KEY), "key")
    assert (await vault.ensure_access_token(ACCOUNT)).value.reveal() == "access-0"
    dead = "refresh-0 invalid: invalid_grant"
    assert await stored(vault) == {"access_token": "access-0", "refresh_token": dead, "api_key": "key"}
    info = await vault.get_account(ACCOUNT)
    assert (info.state, info.reason) == (ConnectionState.REAUTHORIZATION_REQUIRED, "invalid_grant")
    clock.advance(4 * MINUTE)
    for call in (vault.ensure_access_token, vault.refresh_account, vault.ensure_access_token):
        error = await failure(call(ACCOUNT))
        assert (type(error), error.reason, error.account) == (ReauthorizationRequiredError, "invalid_grant", ACCOUNT)
    assert (await vault.refresh_due()).claimed == 0
    assert len(provider.requests) == 1
    assert the_state(config)["lease_until"] is None


@both_stores
async def test_a_peer_that_won_is_believed(opened, vault, provider, clock):
    """While the provider refuses the old refresh token, a new one is stored: nothing becomes invalid."""
    other = await opened()
    loop = asyncio.get_running_loop()

    def refuse(request):
        stored = store(other, 7)
        asyncio.run_coroutine_threadsafe(stored, loop).result(10)
        return error_answer("invalid_grant")

    provider.answer(refuse)
    clock.advance(HOUR)
    assert (await vault.ensure_access_token(ACCOUNT)).value.reveal() == "access-7"
    assert await stored(vault) == {"access_token": "access-7", "refresh_token": "refresh-7"}
    assert (await vault.get_account(ACCOUNT)).state is ConnectionState.CONNECTED


# The client is at fault


@pytest.mark.parametrize("code", ["invalid_client", "unauthorized_client", "invalid_scope"])
async def test_a_refusal_touches_no_token_and_no_other_account(vault, provider, clock, code):
    provider.answer(error_answer(code, status=401), token_answer("access-1"))
    neighbour = Account("t2", "acme")
    await store(vault, account=neighbour)
    clock.advance(HOUR)
    for _ in range(2):
        error = await failure(vault.ensure_access_token(ACCOUNT))
        assert (type(error), error.reason) == (ProviderConfigurationError, code)
    assert (await vault.ensure_access_token(neighbour)).value.reveal() == "access-1"
    assert (await vault.refresh_due()).claimed == 0
    assert len(provider.requests) == 2
    assert await stored(vault) == OLD
    info = await vault.get_account(ACCOUNT)
    assert (info.state, info.reason) == (ConnectionState.RETRYING, code)


async def test_a_refused_client_is_no_other_providers_matter(provider, sqlite_config, clock):
    from vault_adapters import open_vault

    refreshers = {
        name: OAuth2Refresher(f"{provider.base_url}/{name}", "client", "client-secret") for name in ("bad", "good")
    }
    accounts = {name: Account("t1", name) for name in refreshers}
    provider.answer(error_answer("invalid_client", status=401), path="/bad")
    provider.answer(token_answer("access-1"), path="/good")
    async with open_vault(sqlite_config, refreshers=refreshers, clock=clock) as vault:
        for account in accounts.values():
            await store(vault, account=account)
        clock.advance(HOUR)
        assert isinstance(await failure(vault.ensure_access_token(accounts["bad"])), ProviderConfigurationError)
        assert (await vault.ensure_access_token(accounts["good"])).value.reveal() == "access-1"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (redirect_answer("https://elsewhere.example/?refresh_token=x"), "redirect"),
        (redirect_answer("/", status=307), "redirect"),
        (error_answer("invalid_request"), "invalid_request"),
        (error_answer("no_such_code"), None),
        (Answer(status=404, body=b"<html>"), "http_404"),
        (Answer(status=401, body=b""), "unreadable_answer"),
    ],
)
async def test_a_wrong_address_or_request_touches_nothing(vault, provider, clock, answer, reason):
    provider.answer(answer)
    clock.advance(HOUR)
    error = await failure(vault.ensure_access_token(ACCOUNT))
    assert type(error) is ProviderConfigurationError
    assert error.reason == reason
    assert await stored(vault) == OLD
    assert len(provider.requests) == 1
    info = await vault.get_account(ACCOUNT)
    assert (info.state, info.reason) == (ConnectionState.RETRYING, reason or "refused")
    again = await failure(vault.ensure_access_token(ACCOUNT))
    assert (type(again), again.reason) == (ProviderConfigurationError, reason)
    assert len(provider.requests) == 1


# The provider asks to try later


def in_a_while(seconds):
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("answer", "least", "most"),
    [
        (Answer(status=429), 0.5, 1),
        (Answer(status=429, headers={"Retry-After": "120"}), 120, 120),
        (Answer(status=503, headers={"Retry-After": "7200"}), 300, 300),
        (Answer(status=429, headers={"Retry-After": "-4"}), 0.5, 1),
        (Answer(status=429, headers={"Retry-After": "soon"}), 0.5, 1),
        (lambda _: Answer(status=503, headers={"Retry-After": in_a_while(200)}), 190, 201),
        (error_answer("temporarily_unavailable"), 0.5, 1),
        (error_answer("slow_down", status=200), 0.5, 1),
    ],
)
async def test_not_now(vault, provider, config, clock, answer, least, most):
    provider.answer(answer)
    clock.advance(HOUR)
    error = await failure(vault.ensure_access_token(ACCOUNT))
    assert type(error) is RefreshFailedError
    assert error.retryable
    assert not error.outcome_unknown
    info = await vault.get_account(ACCOUNT)
    assert info.state is ConnectionState.RETRYING
    assert info.reason in ("temporarily_unavailable", "slow_down")
    assert timedelta(seconds=least) <= info.next_attempt_at - clock.now() <= timedelta(seconds=most)
    assert error.retry_after == info.next_attempt_at - clock.now()
    state = the_state(config)
    assert (state["failures"], state["unknown_since"], state["lease_until"]) == (1, None, None)
    assert await stored(vault) == OLD
    again = await failure(vault.ensure_access_token(ACCOUNT))
    assert (type(again), again.retry_after, again.reason) == (RefreshFailedError, error.retry_after, error.reason)
    assert (await vault.refresh_due()).claimed == 0
    assert len(provider.requests) == 1
    provider.answer(token_answer("access-1"))
    clock.set(info.next_attempt_at)
    assert (await vault.ensure_access_token(ACCOUNT)).value.reveal() == "access-1"
    assert (await vault.get_account(ACCOUNT)).state is ConnectionState.CONNECTED
    assert the_state(config)["failures"] == 0


async def test_nobody_listens(opened, config, clock):
    with refused_url() as url:
        vault = await opened(OAuth2Refresher(url, "client", "client-secret"))
        await store(vault)
        clock.advance(HOUR)
        error = await failure(vault.ensure_access_token(ACCOUNT))
    assert (type(error), error.outcome_unknown) == (RefreshFailedError, False)
    assert the_state(config)["unknown_since"] is None


async def test_failures_add_up(vault, provider, config, clock):
    clock.advance(HOUR)
    for count in range(1, 5):
        provider.answer(Answer(status=503))
        error = await failure(vault.ensure_access_token(ACCOUNT))
        assert 0.5 <= error.retry_after / SECOND / 2 ** (count - 1) <= 1
        assert the_state(config)["failures"] == count
        clock.advance(error.retry_after)


# Unknown outcomes


@pytest.mark.parametrize(
    "answer",
    [Answer(status=500), Answer(status=502, body=b"<html>"), Answer(status=504), Answer(status=501),
     error_answer("server_error"), Answer(body=b"<html>hello"), Answer(body=b"[]"), Answer(json={"hello": 1}),
     gzip_bomb(), oversized_answer(), Answer(drop="fin"), Answer(drop="rst"),
     token_answer("access-1", "refresh-1").with_headers(Content_Length="900")],
)  # fmt: skip
async def test_nobody_knows(vault, provider, config, clock, answer):
    if answer.headers.get("Content-Length"):
        answer = Answer(json=answer.json, drop="rst", drop_after=10)
    provider.answer(answer)
    clock.advance(56 * MINUTE)
    assert (await vault.ensure_access_token(ACCOUNT)).value.reveal() == "access-0"
    state = the_state(config)
    assert (state["failures"], state["lease_until"]) == (1, None)
    assert state["unknown_since"] is not None
    info = await vault.get_account(ACCOUNT)
    assert info.state is ConnectionState.RETRYING
    assert info.reason in ("server_error", "unreadable_answer", "connection_lost")
    # The credential is not risked before the access token has expired and the quiescence is over.
    clock.advance(3 * MINUTE)
    assert (await vault.ensure_access_token(ACCOUNT)).value.reveal() == "access-0"
    assert (await vault.refresh_due()).claimed == 0
    assert len(provider.requests) == 1
    clock.advance(MINUTE)
    provider.answer(token_answer("access-1", "refresh-1"))
    assert (await vault.ensure_access_token(ACCOUNT)).value.reveal() == "access-1"
    assert the_state(config)["unknown_since"] is None
    assert await stored(vault) == {"access_token": "access-1", "refresh_token": "refresh-1"}


async def test_each_unknown_answer_starts_the_wait_anew(vault, provider, clock):
    clock.advance(HOUR)
    for count in range(1, 4):
        provider.answer(Answer(status=500))
        assert (await failure(vault.ensure_access_token(ACCOUNT))).outcome_unknown
        clock.advance(MINUTE - SECOND)
        error = await failure(vault.ensure_access_token(ACCOUNT))
        assert error.retry_after == SECOND
        assert len(provider.requests) == count
        clock.advance(SECOND)


async def test_too_slow(provider, sqlite_config, clock):
    from attrs import evolve

    from vault_adapters import open_vault

    provider.answer(Answer(delay=30))
    config = evolve(sqlite_config, refresh_deadline=timedelta(seconds=0.3), answer_deadline=timedelta(0))
    refreshers = {"acme": OAuth2Refresher(provider.token_url, "client", "client-secret")}
    async with open_vault(config, refreshers=refreshers, clock=clock) as vault:
        await store(vault)
        clock.advance(HOUR)
        async with asyncio.timeout(5):
            assert (await failure(vault.ensure_access_token(ACCOUNT))).outcome_unknown
    assert the_state(config)["unknown_since"] is not None


# The provider's own texts are not stored


async def test_free_text_codes_are_not_stored(vault, provider, config, clock):
    provider.answer(error_answer("refresh-0_is_bad"), error_answer("token_revoked_for_ann", status=503))
    clock.advance(HOUR)
    assert (await failure(vault.ensure_access_token(ACCOUNT))).reason is None
    assert the_state(config)["error_code"] is None
    await failure(vault.refresh_account(ACCOUNT))
    assert the_state(config)["error_code"] == "temporarily_unavailable"


async def test_200_with_an_error_is_that_error(vault, provider, clock):
    provider.answer(error_answer("invalid_grant", status=200))
    clock.advance(HOUR)
    assert isinstance(await failure(vault.ensure_access_token(ACCOUNT)), ReauthorizationRequiredError)
