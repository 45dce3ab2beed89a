"""Each kind of answer that a provider may give, from a real HTTP server."""

import base64
import gzip
import json
import socket
import tracemalloc
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from tests.adapters.providers.asking import ACCOUNT, failure, refreshed
from tests.support.scripted_provider import (
    FOREVER,
    Answer,
    endless_deflate,
    error_answer,
    gzip_bomb,
    oversized_answer,
    redirect_answer,
    refused_url,
    token_answer,
)

from vault_adapters.providers import OAuth2Refresher
from vault_adapters.providers.expiry import retry_after
from vault_domain.entities.errors import ProviderConfigurationError, ReauthorizationRequiredError, RefreshFailedError


@pytest.fixture
def refresher(provider):
    return OAuth2Refresher(provider.token_url, "client", "client-secret")


def jwt(**claims):
    parts = ({"alg": "none"}, claims)
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return f"{encoded[0]}.{encoded[1]}.signature"


def http_date(moment):
    return format_datetime(moment, usegmt=True)


def now():
    return datetime.now(UTC).replace(microsecond=0)


async def test_a_token_response(provider, refresher):
    provider.answer(token_answer("access-2", "refresh-2", scope="a b", id_token="dropped"))
    tokens = await refreshed(refresher)
    assert tokens.access_token.reveal() == "access-2"
    assert tokens.refresh_token.reveal() == "refresh-2"
    assert tokens.expires_in == timedelta(hours=1)
    assert tokens.expires_at is None  # the vault computes it, counting from before the request
    assert tokens.scopes == ("a", "b")


@pytest.mark.parametrize("members", [{}, {"refresh_token": None}, {"refresh_token": ""}, {"refresh_token": 0}])
async def test_no_refresh_token_keeps_the_stored_one(provider, refresher, members):
    provider.answer(token_answer("access-2", **members))
    tokens = await refreshed(refresher)
    assert tokens.access_token.reveal() == "access-2"
    assert tokens.refresh_token is None


@pytest.mark.parametrize(
    "body",
    [
        b"access_token=access%2D2&refresh_token=refresh-2&expires_in=120&scope=a+b&token_type=bearer",
        b"\r\naccess_token=access-2&expires_in=120&refresh_token=refresh-2&scope=a%20b&empty=\n",
    ],
)
@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain", "application/json"])
async def test_a_form_is_read(provider, refresher, body, content_type):
    provider.answer(Answer(body=body, headers={"Content-Type": content_type}))
    tokens = await refreshed(refresher)
    assert (tokens.access_token.reveal(), tokens.refresh_token.reveal()) == ("access-2", "refresh-2")
    assert (tokens.expires_in, tokens.scopes) == (timedelta(minutes=2), ("a", "b"))


@pytest.mark.parametrize("status", [200, 400])
async def test_an_error_in_a_form_is_read(provider, refresher, status):
    provider.answer(Answer(status=status, body=b"error=bad_refresh_token&error_description=It+expired."))
    error = await failure(refresher)
    assert isinstance(error, ReauthorizationRequiredError)
    assert error.reason == "invalid_grant"


@pytest.mark.parametrize("body", [b"<a href=x&y=z>", b"access_token=a b", b"access_token", b"=a&b=c", b"a=b&&c=d"])
async def test_what_is_no_form_is_not_read_as_one(provider, refresher, body):
    provider.answer(Answer(body=body))
    assert (await failure(refresher)).reason == "unreadable_answer"


@pytest.mark.parametrize("guard", [")]}'", ")]}',\n", "while(1);", "while (1); ", "for(;;);", "\n)]}'\n\n"])
async def test_json_behind_a_guard_is_read(provider, refresher, guard):
    provider.answer(Answer(body=guard.encode() + b'{"access_token": "access-2", "refresh_token": "refresh-2"}'))
    assert (await refreshed(refresher)).refresh_token.reveal() == "refresh-2"


async def test_tokens_that_are_numbers_are_read_as_their_digits(provider, refresher):
    longest = int("9" * 99)
    provider.answer(Answer(body=f'{{"access_token": 17, "refresh_token": {longest}}}'.encode()))
    tokens = await refreshed(refresher)
    assert (tokens.access_token.reveal(), tokens.refresh_token.reveal()) == ("17", str(longest))


@pytest.mark.parametrize("value", [True, 0, -5, 1.5])
async def test_other_numbers_are_no_tokens(provider, refresher, value):
    provider.answer(Answer(json={"access_token": value}))
    assert (await failure(refresher)).reason == "unreadable_answer"


async def test_a_body_of_four_megabytes_is_read(provider, refresher):
    body = b'{"access_token": "access-2", "padding": "' + b"x" * (4 * 1024 * 1024 - 60) + b'"}'
    provider.answer(Answer(body=body))
    assert (await refreshed(refresher)).access_token.reveal() == "access-2"


async def test_expires_in_as_a_string(provider, refresher):
    provider.answer(token_answer("access-2", expires_in="120"))
    assert (await refreshed(refresher)).expires_in == timedelta(minutes=2)


@pytest.mark.parametrize("lifetime", [None, "soon", -1, 0, 1e400, float("nan"), [], True])
async def test_an_absurd_lifetime_does_not_lose_the_tokens(provider, refresher, lifetime):
    provider.answer(token_answer("access-2", "refresh-2", expires_in=lifetime))
    tokens = await refreshed(refresher)
    assert tokens.refresh_token.reveal() == "refresh-2"
    assert (tokens.expires_in, tokens.expires_at) == (None, None)


LONGEST = timedelta(days=36_525)
FAR = int(datetime(5000, 1, 1, tzinfo=UTC).timestamp())


async def test_a_lifetime_is_at_most_a_hundred_years(provider, refresher):
    provider.answer(token_answer("access-2", "refresh-2", expires_in=10**15))
    tokens = await refreshed(refresher)
    assert tokens.refresh_token.reveal() == "refresh-2"
    assert tokens.expires_in == LONGEST


@pytest.mark.parametrize("members", [{"expires_at": FAR}, {"access_token": jwt(exp=FAR)}, {"expires_at": str(FAR)}])
async def test_a_time_more_than_a_hundred_years_ahead_does_not_lose_the_tokens(provider, refresher, members):
    provider.answer(
        token_answer(**{"access_token": "access-2", "refresh_token": "refresh-2", "expires_in": None} | members)
    )
    tokens = await refreshed(refresher)
    assert tokens.refresh_token.reveal() == "refresh-2"
    assert tokens.expires_in == LONGEST
    assert abs(tokens.expires_at - LONGEST - now()) < timedelta(minutes=1)


@pytest.mark.parametrize("member", ["expires_in", "expires_at", "other"])
async def test_a_number_of_thousands_of_digits_does_not_lose_the_tokens(provider, refresher, member):
    body = f'{{"access_token": "access-2", "refresh_token": "refresh-2", "{member}": {"9" * 9000}}}'
    provider.answer(Answer(body=body.encode()))
    tokens = await refreshed(refresher)
    assert (tokens.refresh_token.reveal(), tokens.expires_in, tokens.expires_at) == ("refresh-2", None, None)


async def test_tokens_of_64_kib_are_kept_however_they_are_written(provider, refresher):
    texts = ["/" * 65_536, "x" * 65_536]
    escaped = ["".join(f"\\u{ord(character):04x}" for character in text) for text in texts]
    provider.answer(Answer(body=f'{{"access_token": "{escaped[0]}", "refresh_token": "{escaped[1]}"}}'.encode()))
    tokens = await refreshed(refresher)
    assert [tokens.access_token.reveal(), tokens.refresh_token.reveal()] == texts
    assert tokens.refresh_token_problem is None


@pytest.mark.parametrize("size", [65_537, 900_000])
async def test_a_longer_refresh_token_does_not_cost_the_access_token(provider, refresher, size):
    provider.answer(token_answer("access-2", "x" * size))
    tokens = await refreshed(refresher)
    assert (tokens.access_token.reveal(), tokens.refresh_token) == ("access-2", None)
    assert tokens.refresh_token_problem == "refresh_token_too_long"


@pytest.mark.parametrize("more", [{}, {"refresh_token": "refresh-2"}])
async def test_an_access_token_that_is_too_long_is_told_as_that(provider, refresher, more):
    provider.answer(Answer(json={"access_token": "x" * 65_537, **more}))
    error = await failure(refresher)
    assert (type(error), error.reason) == (RefreshFailedError, "access_token_too_long")
    assert (error.refresh_token is None) is not bool(more)


@pytest.mark.parametrize("value", [1.5, ["refresh-2"], "refresh-2\ud800"])
async def test_a_malformed_refresh_token_does_not_disappear_in_silence(provider, refresher, value):
    provider.answer(token_answer("access-2", value))
    tokens = await refreshed(refresher)
    assert (tokens.access_token.reveal(), tokens.refresh_token) == ("access-2", None)
    assert tokens.refresh_token_problem == "refresh_token_malformed"


async def test_without_a_lifetime_the_expiry_of_a_jwt_counts(provider, refresher):
    expiry = now() + timedelta(minutes=10)
    provider.answer(token_answer(jwt(exp=int(expiry.timestamp())), expires_in=None))
    tokens = await refreshed(refresher)
    assert tokens.expires_at == expiry
    assert timedelta(minutes=9) < tokens.expires_in <= timedelta(minutes=10)


@pytest.mark.parametrize("claim", [None, "tomorrow", -5, 10**18, True, 1_000_000_000])
async def test_an_absurd_expiry_of_a_jwt_is_none(provider, refresher, claim):
    provider.answer(token_answer(jwt(exp=claim), expires_in=None))
    tokens = await refreshed(refresher)
    assert (tokens.expires_in, tokens.expires_at) == (None, None)


@pytest.mark.parametrize("token", ["a.b.c", "...", "e30.W10.x", "a.\u05d0.c", "a." + "[" * 9000 + ".c"])
async def test_what_only_looks_like_a_jwt(provider, refresher, token):
    provider.answer(token_answer(token, expires_in=None))
    assert (await refreshed(refresher)).access_token.reveal() == token


async def test_a_lifetime_wins_over_a_time_by_the_providers_clock(provider, refresher):
    provider.answer(token_answer("access-2", expires_in=60, expires_at=int(now().timestamp()) + 9999))
    tokens = await refreshed(refresher)
    assert (tokens.expires_in, tokens.expires_at) == (timedelta(minutes=1), None)


async def test_a_time_alone_is_kept(provider, refresher):
    expiry = now() + timedelta(hours=6)
    provider.answer(token_answer("access-2", expires_in=None, expires_at=int(expiry.timestamp())))
    tokens = await refreshed(refresher)
    assert tokens.expires_at == expiry
    assert tokens.expires_in > timedelta(hours=5)


@pytest.mark.parametrize("status", [400, 401, 403, 200])
async def test_invalid_grant(provider, refresher, status):
    provider.answer(error_answer("invalid_grant", status=status, description="it was refresh-1"))
    error = await failure(refresher)
    assert isinstance(error, ReauthorizationRequiredError)
    assert (error.reason, error.account) == ("invalid_grant", ACCOUNT)


@pytest.mark.parametrize("code", ["interaction_required", "login_required", "consent_required"])
async def test_codes_that_ask_for_the_user(provider, refresher, code):
    provider.answer(error_answer(code))
    error = await failure(refresher)
    assert isinstance(error, ReauthorizationRequiredError)
    assert error.reason == code


@pytest.mark.parametrize(
    ("said", "meant", "kind"),
    [
        ("bad_refresh_token", "invalid_grant", ReauthorizationRequiredError),
        ("invalid_refresh_token", "invalid_grant", ReauthorizationRequiredError),
        ("incorrect_client_credentials", "invalid_client", ProviderConfigurationError),
    ],
)
async def test_codes_of_one_provider(provider, refresher, said, meant, kind):
    provider.answer(error_answer(said, status=200))
    error = await failure(refresher)
    assert isinstance(error, kind)
    assert error.reason == meant


@pytest.mark.parametrize("status", [400, 401, 200])
@pytest.mark.parametrize(
    "code", ["invalid_client", "unauthorized_client", "invalid_scope", "unsupported_grant_type", "invalid_request"]
)
async def test_a_refused_client_or_request(provider, refresher, code, status):
    provider.answer(error_answer(code, status=status))
    error = await failure(refresher)
    assert isinstance(error, ProviderConfigurationError)
    assert error.reason == code
    assert not error.retryable


@pytest.mark.parametrize("code", ["Invalid_Grant", "refresh-1", "no such user ann", "", 7, None, {"code": 1}, ["x"]])
async def test_a_code_that_is_not_registered_is_dropped(provider, refresher, code):
    provider.answer(Answer(status=400, json={"error": code}))
    error = await failure(refresher)
    assert isinstance(error, ProviderConfigurationError)
    assert (error.reason, error.refused) == (None, True)


@pytest.mark.parametrize("code", ["BAD_REFRESH_TOKEN", "invalid_code"])
@pytest.mark.parametrize("status", [200, 400])
async def test_codes_that_no_standard_defines(provider, refresher, code, status):
    provider.answer(error_answer(code, status=status))
    error = await failure(refresher)
    assert isinstance(error, ProviderConfigurationError)
    assert (error.reason, error.refused) == (None, True)


@pytest.mark.parametrize("status", [429, 503])
async def test_not_now(provider, refresher, status):
    provider.answer(Answer(status=status, body=b"busy"))
    error = await failure(refresher)
    assert isinstance(error, RefreshFailedError)
    assert (error.outcome_unknown, error.retry_after, error.retryable) == (False, None, True)


@pytest.mark.parametrize("code", ["temporarily_unavailable", "slow_down"])
async def test_codes_that_say_not_now(provider, refresher, code):
    provider.answer(error_answer(code).with_headers(Retry_After="7"))
    error = await failure(refresher)
    assert isinstance(error, RefreshFailedError)
    assert (error.reason, error.outcome_unknown, error.retry_after) == (code, False, timedelta(seconds=7))


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("30", timedelta(seconds=30)),
        ("0", timedelta(0)),
        ("86400", timedelta(hours=1)),
        ("9" * 400, timedelta(hours=1)),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("Wed, 99 Foo 9999 99:99:99 GMT", None),
        ("", None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_in_seconds(provider, refresher, value, wait, status):
    provider.answer(Answer(status=status).with_headers(Retry_After=value))
    assert (await failure(refresher)).retry_after == wait


@pytest.mark.parametrize(
    ("ahead", "wait"),
    [
        (timedelta(seconds=90), timedelta(seconds=90)),
        (timedelta(days=2), timedelta(hours=1)),
        (timedelta(days=-2), timedelta(0)),
    ],
)
async def test_retry_after_as_a_date(provider, refresher, ahead, wait):
    provider.answer(lambda request: Answer(status=429).with_headers(Retry_After=http_date(now() + ahead)))
    answered = (await failure(refresher)).retry_after
    assert wait - timedelta(seconds=2) <= answered <= wait


def test_a_date_counts_from_the_providers_own_clock():
    theirs = now() + timedelta(days=1)
    headers = {"date": http_date(theirs), "retry-after": http_date(theirs + timedelta(seconds=90))}
    assert retry_after(headers, now()) == timedelta(seconds=90)


@pytest.mark.parametrize("status", [500, 502, 504, 507, 599, 408])
async def test_server_errors_leave_the_outcome_unknown(provider, refresher, status):
    provider.answer(error_answer("invalid_grant", status=status))
    error = await failure(refresher)
    assert isinstance(error, RefreshFailedError)
    assert error.outcome_unknown


async def test_the_code_server_error_leaves_the_outcome_unknown(provider, refresher):
    provider.answer(error_answer("server_error"))
    error = await failure(refresher)
    assert isinstance(error, RefreshFailedError)
    assert (error.outcome_unknown, error.reason) == (True, "server_error")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 304])
async def test_a_redirect_is_not_followed(provider, refresher, status):
    provider.answer(redirect_answer(f"{provider.base_url}/elsewhere", status=status))
    error = await failure(refresher)
    assert isinstance(error, ProviderConfigurationError)
    assert error.reason == "redirect"
    assert not error.refused  # a moved endpoint says nothing about the account
    assert len(provider.requests) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 418, 451])
@pytest.mark.parametrize("body", [b"", b"<html>no</html>", b"[]", b"{}"])
async def test_other_client_errors(provider, refresher, status, body):
    provider.answer(Answer(status=status, body=body))
    error = await failure(refresher)
    assert isinstance(error, ProviderConfigurationError)
    assert error.refused
    assert error.reason == ("http_404" if status == 404 else None if body == b"{}" else "unreadable_answer")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Sign in</html>",
        b'{"access_token": "cut',
        b'["access_token"]',
        b"null",
        b"7" * 5000,
        b"[" * 100_000,
        b"\xff\xfe\x00",
        b"{}",
        b'{"access_token": ""}',
        b'{"access_token": null}',
        b'{"access_token": -7}',
        b'{"access_token": "\\ud800"}',
    ],
)
async def test_a_success_that_cannot_be_read(provider, refresher, body):
    provider.answer(Answer(body=body))
    error = await failure(refresher)
    assert isinstance(error, RefreshFailedError)
    assert error.outcome_unknown
    assert error.refresh_token is None


@pytest.mark.parametrize("access_token", [None, "", -7, "\ud800"])
@pytest.mark.parametrize("more", [{}, {"error": "invalid_scope"}])
async def test_a_refresh_token_without_an_access_token_is_not_lost(provider, refresher, access_token, more):
    provider.answer(Answer(json={"access_token": access_token, "refresh_token": "refresh-2", **more}))
    error = await failure(refresher)
    assert isinstance(error, RefreshFailedError)
    assert error.refresh_token.reveal() == "refresh-2"
    assert not error.outcome_unknown


async def test_an_error_beside_tokens_does_not_lose_them(provider, refresher):
    provider.answer(token_answer("access-2", "refresh-2", error="invalid_scope"))
    assert (await refreshed(refresher)).refresh_token.reveal() == "refresh-2"


@pytest.mark.parametrize("chunked", [False, True])
async def test_ten_mebibytes(provider, refresher, chunked):
    provider.answer(oversized_answer(10, chunked=chunked))
    error = await failure(refresher)
    assert isinstance(error, RefreshFailedError)
    assert error.outcome_unknown


async def test_a_gzip_bomb(provider, refresher):
    provider.answer(gzip_bomb(64))
    tracemalloc.start()
    try:
        error = await failure(refresher)
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(error, RefreshFailedError)
    assert error.outcome_unknown
    assert most_bytes < 16 * 1024 * 1024


@pytest.mark.parametrize(("blocks", "is_read"), [(100, True), (900_000, False)])
async def test_what_is_received_is_bounded_though_it_unpacks_to_little(provider, refresher, blocks, is_read):
    provider.answer(endless_deflate(b'{"access_token": "access-2"}', blocks))
    if is_read:
        assert (await refreshed(refresher)).access_token.reveal() == "access-2"
    else:
        assert (await failure(refresher)).outcome_unknown


async def test_no_encoding_is_asked_for_and_gzip_is_read_all_the_same(provider, refresher):
    packed = gzip.compress(json.dumps({"access_token": "access-2", "refresh_token": "refresh-2"}).encode())
    provider.answer(Answer(body=packed, headers={"Content-Encoding": "gzip"}))
    assert (await refreshed(refresher)).refresh_token.reveal() == "refresh-2"
    assert provider.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "gzip"])
async def test_an_encoding_that_cannot_be_read(provider, refresher, encoding):
    provider.answer(Answer(body=b"{}", headers={"Content-Encoding": encoding}))
    assert (await failure(refresher)).outcome_unknown


async def test_a_slow_answer_ends_at_the_deadline(provider, refresher):
    provider.answer(token_answer("access-2").with_headers(X="y"), Answer(delay=FOREVER))
    await refreshed(refresher)
    started = datetime.now(UTC)
    error = await failure(refresher, deadline=0.3)
    assert datetime.now(UTC) - started < timedelta(seconds=2)
    assert isinstance(error, RefreshFailedError)
    assert error.outcome_unknown


async def test_a_slow_body_ends_at_the_deadline(provider, refresher):
    provider.answer(Answer(json={"access_token": "access-2"}, body_delay=FOREVER))
    error = await failure(refresher, deadline=0.3)
    assert isinstance(error, RefreshFailedError)
    assert error.outcome_unknown


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize("after", [None, 0, 9])
async def test_a_connection_dropped_after_the_request(provider, refresher, how, after):
    provider.answer(Answer(json={"access_token": "access-2"}, drop=how, drop_after=after))
    error = await failure(refresher)
    assert isinstance(error, RefreshFailedError)
    assert error.outcome_unknown
    assert len(provider.requests) == 1


async def test_an_answer_that_is_not_http(provider, refresher):
    provider.answer(Answer(headers={"Content-Length": "not a number"}))
    error = await failure(refresher)
    assert isinstance(error, RefreshFailedError)
    assert error.outcome_unknown


async def test_a_refused_connection_spends_nothing():
    with refused_url() as url:
        error = await failure(OAuth2Refresher(url, "client", "client-secret"))
    assert isinstance(error, RefreshFailedError)
    assert not error.outcome_unknown


async def test_a_name_that_does_not_resolve_spends_nothing():
    error = await failure(OAuth2Refresher("https://provider.invalid/token", "client", "client-secret"))
    assert isinstance(error, RefreshFailedError)
    assert not error.outcome_unknown


async def test_a_failed_tls_handshake_spends_nothing(provider):
    url = provider.token_url.replace("http://", "https://")
    error = await failure(OAuth2Refresher(url, "client", "client-secret"), deadline=2)
    assert isinstance(error, RefreshFailedError)
    assert not error.outcome_unknown
    assert provider.requests == []


@pytest.fixture
def silent():
    """A port that the kernel accepts connections for, but nobody reads from."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        yield listening


async def test_a_tls_handshake_without_an_answer_spends_nothing(silent):
    url = f"https://127.0.0.1:{silent.getsockname()[1]}/token"
    # A handshake that the deadline cancels leaves its socket unclosed. This deadline is long enough for the HTTP
    # client's connect timeout to end the handshake first.
    error = await failure(OAuth2Refresher(url, "client", "client-secret"), deadline=1.5)
    assert isinstance(error, RefreshFailedError)
    assert not error.outcome_unknown


async def test_a_connection_that_is_not_made_in_time_spends_nothing(silent):
    with ExitStack() as waiting:
        for _ in range(3):  # fills the queue: the kernel lets further connections hang
            pending = waiting.enter_context(socket.socket())
            pending.setblocking(False)
            pending.connect_ex(silent.getsockname())
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/token"
        error = await failure(OAuth2Refresher(url, "client", "client-secret"), deadline=0.4)
    assert isinstance(error, RefreshFailedError)
    assert not error.outcome_unknown


async def test_no_time_left_spends_nothing(provider, refresher):
    error = await failure(refresher, deadline=0)
    assert isinstance(error, RefreshFailedError)
    assert not error.outcome_unknown
    assert provider.requests == []
