"""`CustomRefresher`, and the guide's example of it against Slack's answer."""

import re
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest
from tests.adapters.providers.asking import failure, refreshed
from tests.support.scripted_provider import Answer, refused_url

from vault_adapters.providers import CustomRefresher
from vault_domain.entities.errors import (
    InvalidInputError,
    ProviderConfigurationError,
    ReauthorizationRequiredError,
    RefreshFailedError,
)

GUIDE = Path(__file__).parents[4] / "docs" / "how-to" / "write-a-refresher.md"
# As in docs.slack.dev, "Using token rotation" and "oauth.v2.access"; the values are made up.
SLACK = {
    "ok": True,
    "access_token": "xoxe.xoxb-1-bot",
    "expires_in": 43200,
    "refresh_token": "xoxe-1-bot",
    "token_type": "bot",
    "scope": "commands,incoming-webhook",
    "bot_user_id": "U0KRQLJ9H",
    "app_id": "A0KRD7HC3",
    "team": {"name": "Slack Softball Team", "id": "T9TK3CUKW"},
    "enterprise": {"name": "slack-sports", "id": "E12345678"},
    "authed_user": {
        "id": "U1234",
        "scope": "chat:write,users:read",
        "access_token": "xoxe.xoxp-1-user",
        "expires_in": 43200,
        "refresh_token": "xoxe-1-user",
        "token_type": "user",
    },
}


def guide():
    """Run the guide's example; return what it defines, by name."""
    names = {}
    for block in re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL):
        if "def read_" in block:
            exec(block, names)
    return names


def made(provider, **options):
    return CustomRefresher(provider.token_url, "client", "secret", **{"read_answer": guide()["read_answer"], **options})


async def test_the_guides_example_reads_slacks_answer(provider):
    provider.answer(Answer(json=SLACK))
    example = guide()["slack"]
    assert example.token_url == "https://slack.com/api/oauth.v2.access"
    tokens = await refreshed(made(provider))
    assert (tokens.access_token.reveal(), tokens.refresh_token.reveal()) == ("xoxe.xoxp-1-user", "xoxe-1-user")
    assert (tokens.expires_in, tokens.scopes) == (timedelta(hours=12), ("chat:write", "users:read"))
    assert dict(tokens.extra) == {"team_id": "T9TK3CUKW"}
    assert provider.requests[0].form == {"grant_type": "refresh_token", "refresh_token": "refresh-1"}


@pytest.mark.parametrize(
    ("answer", "kind", "reason", "unknown"),
    [
        (
            Answer(json={"ok": False, "error": "invalid_refresh_token"}),
            ReauthorizationRequiredError,
            "invalid_grant",
            None,
        ),
        (Answer(json={"ok": False, "error": "token_revoked"}), ReauthorizationRequiredError, "invalid_grant", None),
        (Answer(json={"ok": False, "error": "odd"}), ProviderConfigurationError, None, None),
        (Answer(json={"ok": True}), RefreshFailedError, "unreadable_answer", True),
        (Answer(json={**SLACK, "authed_user": {"access_token": 7}}), RefreshFailedError, "unreadable_answer", True),
        (Answer(body=b"<html>"), RefreshFailedError, "unreadable_answer", True),
        (Answer(status=400, json={"error": "invalid_grant"}), ReauthorizationRequiredError, "invalid_grant", None),
        (Answer(status=503), RefreshFailedError, "temporarily_unavailable", False),
        (Answer(status=502), RefreshFailedError, "server_error", True),
    ],
)
async def test_failures(provider, answer, kind, reason, unknown):
    provider.answer(answer)
    error = await failure(made(provider, read_error=guide()["read_error"]))
    assert (type(error), error.reason, getattr(error, "outcome_unknown", None)) == (kind, reason, unknown)


async def test_an_error_of_the_host_is_raised_and_shows_no_token(provider):
    def odd(answer):
        raise ValueError(answer["access_token"])

    def busy(answer):
        raise RefreshFailedError("later", retry_after=timedelta(seconds=3))

    provider.answer(Answer(json=SLACK), Answer(json=SLACK), Answer(json=SLACK))
    error = await failure(made(provider, read_answer=odd))
    assert (error.outcome_unknown, error.__cause__, error.__context__) == (True, None, None)
    assert "xox" not in f"{error!r}"
    assert (await failure(made(provider, read_answer=busy))).retry_after == timedelta(seconds=3)
    assert (await failure(made(provider, read_answer=dict))).outcome_unknown
    provider.answer(Answer(json=SLACK))
    assert (await failure(made(provider, read_error=lambda status, answer: "no"))).outcome_unknown


class Refusing(httpx2.AsyncBaseTransport):
    def __init__(self, error):
        self._error = error

    async def handle_async_request(self, request):
        raise self._error


@pytest.mark.parametrize("error", [httpx2.ConnectError("name"), httpx2.ConnectError("TLS"), httpx2.ConnectTimeout("")])
async def test_what_was_never_sent_is_told_apart_from_what_broke_off(provider, error):
    never = await failure(made(provider, client=httpx2.AsyncClient(transport=Refusing(error))))
    broken = await failure(made(provider, client=httpx2.AsyncClient(transport=Refusing(httpx2.ReadTimeout("")))))
    assert (never.outcome_unknown, broken.outcome_unknown) == (False, True)


async def test_a_server_without_tls_and_a_port_without_a_server_have_got_nothing(provider):
    without_tls = CustomRefresher(
        provider.token_url.replace("http://", "https://"), "client", "secret", read_answer=dict
    )
    with refused_url() as url:
        for each in (without_tls, CustomRefresher(url, "client", "secret", read_answer=dict)):
            error = await failure(each)
            assert (type(error), error.outcome_unknown) == (RefreshFailedError, False)


def test_its_arguments_are_checked():
    for options in (
        {"read_answer": None},
        {"read_answer": dict, "read_error": 7},
        {"read_answer": dict, "scopes": "a"},
    ):
        with pytest.raises(InvalidInputError):
            CustomRefresher("https://a.example/token", "client", "secret", **options)
