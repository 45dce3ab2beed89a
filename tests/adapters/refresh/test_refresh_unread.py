"""A 2xx answer that cannot be read is kept, and its tokens are stored once a profile can read them."""

import logging
import sqlite3
from collections import Counter
from itertools import count

import pytest
from attrs import evolve
from tests.adapters.refresh.refresh_kit import ACCOUNT, HOUR, MINUTE, SECOND, failure, store, stored
from tests.adapters.refresh.test_refresh_journal import BrokenSqlite
from tests.support.answers import Answer, error_answer, token_answer
from tests.support.databases import both_stores
from tests.support.timing import refresh_times

from vault_adapters import (
    Account,
    AuditAction,
    ConnectionState,
    ProviderConfigurationError,
    ReauthorizationRequiredError,
    RefreshFailedError,
    Rotation,
    TokenSet,
    open_vault,
)
from vault_adapters.providers import OAuth2Refresher, load_profile
from vault_adapters.providers.profiled import with_client
from vault_domain.services.refresh import unread
from vault_domain.services.tokens import kept

FLEET = [Account(f"t{number % 5}", "acme", f"user-{number:02}") for number in range(30)]
PROFILE = """
name = "acme"
title = "Acme"
docs = ["https://acme.example/docs"]
checked = 2026-11-30
token_url = "https://acme.example/token"
client_auth = ["client_secret_post"]
[rotation]
kind = "strict"
[answer]
within = ["{within}"]
"""
DAY = 24 * HOUR


class StrictProvider:
    """Rotates strictly: a spent refresh token ends its grant. Its answers hold the tokens in the member ``data``."""

    def __init__(self):
        self.valid, self.revoked, self._numbers = set(), set(), count(1)

    def __call__(self, request):
        token = request.form["refresh_token"]
        name = token.partition(".")[0]
        if token not in self.valid or name in self.revoked:
            self.revoked.add(name)
            return error_answer("invalid_grant")
        self.valid.remove(token)
        new = f"{name}.{next(self._numbers)}"
        self.valid.add(new)
        tokens = {"access_token": f"access-of-{new}", "refresh_token": new, "expires_in": 3600}
        return Answer(json={"data": tokens})


@pytest.fixture
def refresher_for(tmp_path, provider):
    def made(within):
        path = tmp_path / f"{within}.toml"
        path.write_text(PROFILE.format(within=within))
        return with_client(load_profile(path), "client", "secret", token_url=provider.token_url)

    return made


async def actions_of(vault, *wanted):
    return Counter([event.action async for event in vault.iter_audit_events() if event.action in wanted])


async def states_of(vault):
    return Counter([(info.state, info.reason) for info in [await vault.get_account(each) for each in FLEET]])


@both_stores
async def test_a_fleet_under_a_wrong_path_loses_no_grant(config, clock, provider, refresher_for, caplog):
    strict = StrictProvider()
    provider.answer_always(strict)
    async with open_vault(config, refreshers={"acme": refresher_for("wrong")}, clock=clock) as vault:
        for account in FLEET:
            strict.valid.add(account.identifier)
            await vault.store_token_set(account, TokenSet("access", account.identifier, expires_in=HOUR))
        clock.advance(HOUR)
        await vault.refresh_due()
        first = len(provider.requests)
        assert first <= 12  # those that were under way when the third answer could not be read
        for _ in range(10):
            clock.advance(MINUTE)
            await vault.refresh_due()
        spent = len(provider.requests)
        assert spent - first <= 10  # one probe a minute
        states = await states_of(vault)
        assert states[ConnectionState.RETRYING, "unreadable_answer"] == spent
        asked = [account for account in FLEET if (await vault.get_account(account)).reason is None]
        error = await failure(vault.ensure_access_token(asked[0]))
        assert (type(error), error.reason) == (ProviderConfigurationError, "unreadable_answer")
        report = await vault.health()
        assert [(each.provider, each.reason) for each in report.incidents] == [("acme", "unreadable_answer")]
        assert dict(report.unread) == {"acme": spent}
        assert (await actions_of(vault, AuditAction.ANSWER_KEPT))[AuditAction.ANSWER_KEPT] == spent
        assert len(provider.requests) == spent
    async with open_vault(config, refreshers={"acme": refresher_for("data")}, clock=clock) as vault:
        assert len(provider.requests) == spent  # the kept answers are read without asking again
        assert dict((await vault.health()).unread) == {}
        await vault.refresh_due()
        assert await states_of(vault) == {(ConnectionState.CONNECTED, None): 30}
        for account in FLEET:
            token = await vault.ensure_access_token(account)
            assert token.value.reveal().startswith(f"access-of-{account.identifier}.")
        assert (await vault.health()).incidents == ()
    assert strict.revoked == set()
    assert "works again" not in caplog.text


async def test_a_running_worker_reads_what_others_kept(config, clock, provider, refresher_for):
    strict = StrictProvider()
    strict.valid.add("ann")
    provider.answer_always(strict)
    async with (
        open_vault(config, refreshers={"acme": refresher_for("wrong")}, clock=clock) as old,
        open_vault(config, refreshers={"acme": refresher_for("data")}, clock=clock) as worker,
    ):
        await old.store_token_set(ACCOUNT, TokenSet("access-0", "ann", expires_in=HOUR))
        clock.advance(HOUR)
        error = await failure(old.ensure_access_token(ACCOUNT))
        assert (type(error), error.reason) == (RefreshFailedError, "unreadable_answer")
        await worker.refresh_due()
        assert await stored(worker) == {"access_token": "access-of-ann.1", "refresh_token": "ann.1"}
        assert len(provider.requests) == 1
        clock.advance(30 * MINUTE)
        assert (await old.ensure_access_token(ACCOUNT)).value.reveal() == "access-of-ann.1"


async def test_an_answer_that_appears_after_a_newer_one_is_read_too(config, clock, provider, refresher_for):
    """A transaction that began earlier may be committed later, and a server's clock may be set back a little."""
    strict = StrictProvider()
    strict.valid |= {"ben", "ann"}
    provider.answer_always(strict)
    async with (
        open_vault(config, refreshers={"acme": refresher_for("wrong")}, clock=clock) as old,
        open_vault(config, refreshers={"acme": refresher_for("data")}, clock=clock) as worker,
    ):
        await old.store_token_set(FLEET[0], TokenSet("access-0", "ben", expires_in=HOUR))
        clock.advance(HOUR)
        await failure(old.ensure_access_token(FLEET[0]))
        await worker.refresh_due()
        await old.store_token_set(ACCOUNT, TokenSet("access-0", "ann", expires_in=HOUR))
        clock.advance(-10 * SECOND)
        await failure(old.refresh_account(ACCOUNT))
        await worker.refresh_due()
        assert await stored(worker) == {"access_token": "access-of-ann.2", "refresh_token": "ann.2"}
        assert len(provider.requests) == 2


@pytest.fixture
async def vault(opened, provider):
    vault = await opened(OAuth2Refresher(provider.token_url, "client", "client-secret"))
    await store(vault)
    return vault


UNREAD = Answer(json={"result": {"access_token": "access-1", "refresh_token": "refresh-1"}})


async def test_a_credential_whose_replacement_is_kept_is_not_presented_again_for_days(vault, provider, clock):
    provider.answer(UNREAD)
    clock.advance(HOUR)
    error = await failure(vault.ensure_access_token(ACCOUNT))
    assert (error.reason, error.retry_after) == ("unreadable_answer", HOUR)
    info = await vault.get_account(ACCOUNT)
    assert (info.state, info.next_attempt_at - clock.now()) == (ConnectionState.RETRYING, 4 * DAY)
    for _ in range(95):
        clock.advance(HOUR)
        await vault.refresh_due()
        assert (await failure(vault.ensure_access_token(ACCOUNT))).reason == "unreadable_answer"
    assert len(provider.requests) == 1
    provider.answer(token_answer("access-2", "refresh-2"))
    clock.advance(HOUR)
    await vault.refresh_due()
    assert await stored(vault) == {"access_token": "access-2", "refresh_token": "refresh-2"}


@pytest.mark.parametrize(
    "answer",
    [
        Answer(body=b"<!DOCTYPE html><p>token-1234567890 down for maintenance"),
        Answer(json={"status": "maintenance", "message": "We are back at 2026-11-30T12:00:00Z."}),
        Answer(json={"request_id": "0b5a8b0e-9b8f-4b7a-8f35-1f7c2b6f3c1d", "until": "2026-11-30", "code": 200}),
    ],
)
async def test_an_answer_without_anything_like_a_token_holds_nobody_back(vault, provider, clock, answer):
    provider.answer(answer)
    clock.advance(HOUR)
    assert (await failure(vault.ensure_access_token(ACCOUNT))).reason == "unreadable_answer"
    assert dict((await vault.health()).unread) == {"acme": 1}
    provider.answer(token_answer("access-1", "refresh-1"))
    clock.advance(2 * MINUTE)
    assert (await vault.ensure_access_token(ACCOUNT)).value.reveal() == "access-1"


async def test_no_answer_is_kept_beyond_the_limit(vault, provider, clock, monkeypatch, caplog):
    for module in (kept, unread):
        monkeypatch.setattr(module, "MOST_KEPT", 2)
    accounts = [ACCOUNT, *FLEET[:2]]
    for account in FLEET[:2]:
        await vault.store_token_set(account, TokenSet("access", "refresh", expires_in=HOUR))
    clock.advance(HOUR)
    for account in accounts:
        provider.answer(UNREAD)
        assert (await failure(vault.ensure_access_token(account))).reason == "unreadable_answer"
    assert dict((await vault.health()).unread) == {"acme": 2}
    assert "is lost, because there is no room" in caplog.text


async def test_a_provider_that_does_not_rotate_is_asked_again_soon(opened, provider, clock):
    refresher = OAuth2Refresher(provider.token_url, "client", "secret", rotation=Rotation.non_rotating())
    vault = await opened(refresher)
    await store(vault)
    provider.answer(UNREAD)
    clock.advance(HOUR)
    await failure(vault.ensure_access_token(ACCOUNT))
    provider.answer(token_answer("access-2"))
    clock.advance(2 * SECOND)
    assert (await vault.ensure_access_token(ACCOUNT)).value.reveal() == "access-2"


async def test_nothing_is_kept_once_the_user_has_connected_again(vault, opened, provider, clock, refresher_for):
    provider.answer(Answer(json={"data": {"access_token": "access-1", "refresh_token": "refresh-1"}}))
    clock.advance(HOUR)
    await failure(vault.ensure_access_token(ACCOUNT))
    await store(vault, 5)
    other = await opened(refresher_for("data"))
    assert await stored(other) == {"access_token": "access-5", "refresh_token": "refresh-5"}
    assert dict((await other.health()).unread) == {}


@both_stores
async def test_a_kept_answer_survives_a_rotation_of_its_data_key(vault, opened, provider, clock, refresher_for):
    provider.answer(Answer(json={"data": {"access_token": "access-1", "refresh_token": "refresh-1"}}))
    clock.advance(HOUR)
    await failure(vault.ensure_access_token(ACCOUNT))
    await vault.keys.rotate_data_key(ACCOUNT.tenant_id)
    await vault.keys.reencrypt(ACCOUNT.tenant_id)
    await opened(refresher_for("wrong"))  # any opening seals the answer under the new data key
    clock.advance(2 * DAY)
    assert (await vault.keys.reencrypt(ACCOUNT.tenant_id)).destroyed == 1
    other = await opened(refresher_for("data"))
    assert await stored(other) == {"access_token": "access-1", "refresh_token": "refresh-1"}


async def test_the_sealed_answer_shows_nothing(sqlite_config, clock, provider, caplog):
    caplog.set_level(logging.DEBUG)
    provider.answer(UNREAD)
    refresher = OAuth2Refresher(provider.token_url, "client", "client-secret")
    async with open_vault(sqlite_config, refreshers={"acme": refresher}, clock=clock) as vault:
        await store(vault)
        clock.advance(HOUR)
        error = await failure(vault.ensure_access_token(ACCOUNT))
    path = sqlite_config.database_url.reveal().removeprefix("sqlite:///")
    with sqlite3.connect(path) as connection:
        [(blob,)] = connection.execute("SELECT blob FROM token_vault_unread_answer").fetchall()
    seen = caplog.text.encode() + blob + repr((error, error.args, vars(error))).encode()
    assert b"access-1" not in seen
    assert b"refresh-1" not in seen


async def test_the_journal_keeps_the_answer_while_the_database_fails(
    sqlite_config, clock, tmp_path, provider, refresher_for
):
    """The process ends before the database is back; the next one reads the answer from the journal."""
    config = evolve(sqlite_config, journal_dir=tmp_path / "journal")
    database = BrokenSqlite(config)

    def fail_and_answer(_):
        database.down()
        return Answer(json={"data": {"access_token": "access-1", "refresh_token": "refresh-1"}})

    provider.answer(fail_and_answer)
    with refresh_times(commit_budget=1):
        async with open_vault(config, refreshers={"acme": refresher_for("wrong")}, clock=clock) as vault:
            await store(vault)
            clock.advance(HOUR)
            await failure(vault.ensure_access_token(ACCOUNT))
        [path] = (tmp_path / "journal").iterdir()
        assert not [secret for secret in ("access-1", "refresh-1") if secret in path.read_text()]
        database.up()
        async with open_vault(config, refreshers={"acme": refresher_for("data")}, clock=clock) as vault:
            assert await stored(vault) == {"access_token": "access-1", "refresh_token": "refresh-1"}
            assert list((tmp_path / "journal").iterdir()) == []
    assert len(provider.requests) == 1


async def test_an_access_token_that_is_too_long_costs_one_refresh_token_only(vault, provider, clock):
    provider.answer(token_answer("a" * 70_000, "refresh-1"))
    clock.advance(HOUR)
    for _ in range(3):
        error = await failure(vault.ensure_access_token(ACCOUNT))
        assert (type(error), error.reason) == (ReauthorizationRequiredError, "access_token_too_long")
        clock.advance(HOUR)
        await vault.refresh_due()
    info = await vault.get_account(ACCOUNT)
    assert (info.state, info.reason) == (ConnectionState.REAUTHORIZATION_REQUIRED, "access_token_too_long")
    assert (await stored(vault))["refresh_token"] == "refresh-1 invalid: access_token_too_long"
    assert len(provider.requests) == 1
    provider.answer(token_answer("access-2", "refresh-2"))
    await vault.revive_accounts(provider="acme", since=clock.now() - DAY)
    assert (await vault.ensure_access_token(ACCOUNT)).value.reveal() == "access-2"
    assert provider.requests[1].form["refresh_token"] == "refresh-1"
