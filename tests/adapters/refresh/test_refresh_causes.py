"""The cause of a failed refresh is in the error, in the account and in one line of the log; nothing secret is."""

import logging

import pytest
from attrs import evolve
from tests.adapters.refresh.refresh_kit import ACCOUNT, HOUR, SECOND, failure, store
from tests.support.answers import Answer, redirect_answer, token_answer

from vault_adapters import Account, ProviderConfigurationError, RefreshFailedError, open_vault
from vault_adapters.providers import OAuth2Refresher
from vault_adapters.providers.reasons import cause_of_failure
from vault_domain.entities.causes import PROVIDER_CAUSES

SECRETS = ("refresh-0", "access-0", "hunter2secret")
WRONG_URLS = {
    "connection_refused": "http://127.0.0.1:1/token?key=hunter2secret",
    "unknown_host": "https://no-such-host.invalid/token?key=hunter2secret",
}
WRONG_ANSWERS = {
    "http_404": Answer(status=404, body=b"<html>"),
    "redirect": redirect_answer("https://elsewhere.example/?key=hunter2secret"),
    "unreadable_answer": Answer(body=b"<html>hunter2secret"),
    "connection_lost": Answer(drop="rst"),
    "timeout": Answer(delay=30),
}


def lines(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@pytest.mark.parametrize("reason", [*WRONG_URLS, "tls", *WRONG_ANSWERS])
async def test_a_cause_is_told_everywhere(sqlite_config, provider, clock, caplog, reason):
    caplog.set_level(logging.DEBUG)
    url = WRONG_URLS.get(reason, f"{provider.base_url}/token?key=hunter2secret")
    url = url.replace("http:", "https:") if reason == "tls" else url
    if reason in WRONG_ANSWERS:
        provider.answer(*[WRONG_ANSWERS[reason]] * 2)
    refresher = OAuth2Refresher(url, "client", "hunter2secret")
    async with open_vault(
        evolve(sqlite_config, refresh_deadline=0.5 * SECOND, answer_deadline=0 * SECOND),
        refreshers={"acme": refresher},
        clock=clock,
    ) as vault:
        await store(vault)
        clock.advance(HOUR)
        errors = [await failure(vault.ensure_access_token(ACCOUNT)), await failure(vault.refresh_account(ACCOUNT))]
        assert [error.reason for error in errors] == [reason] * 2
        configured = reason in ("http_404", "redirect")
        kind = ProviderConfigurationError if configured else RefreshFailedError
        assert {type(error) for error in errors} == {kind}
        assert (await vault.get_account(ACCOUNT)).reason == reason
    assert reason in PROVIDER_CAUSES
    told = [line for line in lines(caplog) if "still awaited" not in line and "asked again" not in line]
    assert told == [f"refreshing at acme fails: {reason}"]
    seen = caplog.text + repr([(str(error), error.__cause__, error.__context__) for error in errors])
    assert not [secret for secret in SECRETS if secret in seen]


async def test_the_log_tells_changes_and_counts_the_rest(sqlite_config, provider, clock, caplog):
    accounts = [Account("t1", "acme", f"user-{number}") for number in range(6)]
    refresher = OAuth2Refresher(f"{provider.base_url}/token", "client", "secret")
    async with open_vault(sqlite_config, refreshers={"acme": refresher}, clock=clock) as vault:
        for account in accounts:
            await store(vault, account=account)
        clock.advance(HOUR)
        bad = Answer(status=503)
        provider.answer(bad, bad, bad, Answer(status=404), token_answer("access-1"), bad)
        for account in accounts[:4]:
            await failure(vault.ensure_access_token(account))
        await vault.ensure_access_token(accounts[4])
        await failure(vault.ensure_access_token(accounts[5]))  # the same cause again, within a minute
    assert lines(caplog) == [
        "refreshing at acme fails: temporarily_unavailable",
        "refreshing at acme fails: http_404",
        "refreshing at acme works again; failures: 4, the last one: http_404",
    ]


def test_the_cause_lies_behind_the_clients_error():
    behind = OSError("all attempts failed")
    behind.__cause__ = ExceptionGroup("several", [ValueError(), ConnectionRefusedError()])
    error = RuntimeError()
    error.__context__ = behind
    behind.__context__ = error
    assert cause_of_failure(error, sent=False) == "connection_refused"
    assert cause_of_failure(RuntimeError(), sent=False) == "connection_failed"
    assert cause_of_failure(RuntimeError(), sent=True) == "connection_lost"
