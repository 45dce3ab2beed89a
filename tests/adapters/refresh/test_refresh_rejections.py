"""A token that a resource rejected is not returned again; if no refresh can replace it, it becomes suspect first."""

import asyncio
from datetime import timedelta

import pytest
from tests.adapters.refresh.refresh_kit import (
    ACCOUNT,
    HOUR,
    MINUTE,
    SECOND,
    Gate,
    answer,
    failure,
    is_connected,
    store,
    stored,
)
from tests.support.databases import both_stores

from vault_adapters import (
    AuditAction,
    ConfigurationError,
    InvalidInputError,
    ProviderConfigurationError,
    ReauthorizationRequiredError,
    RefreshFailedError,
    TokenHealth,
    TokenKind,
    Tuning,
    VaultConfig,
    open_vault,
)
from vault_adapters.testing import ScriptedRefresher

API_KEY, WEBHOOK = ACCOUNT.key(TokenKind.API_KEY), ACCOUNT.key(TokenKind.WEBHOOK_SECRET)
FAILURES = [
    RefreshFailedError(retry_after=MINUTE),
    RefreshFailedError(outcome_unknown=True),
    ReauthorizationRequiredError(reason="invalid_grant"),
    ProviderConfigurationError(reason="invalid_client"),
]


def value(token):
    return token.value.reveal()


async def a_rejectable_token(vault, clock, **options):
    await store(vault, **options)
    clock.advance(MINUTE)
    return await vault.ensure_access_token(ACCOUNT)


async def api_key(vault, clock):
    await vault.store_token(API_KEY, "key")
    clock.advance(MINUTE)
    return await vault.get_token(API_KEY)


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: str(error.reason or error.outcome_unknown))
async def test_a_rejected_token_is_not_handed_out_after_a_failed_refresh(opened, clock, error):
    here, there = await opened(ScriptedRefresher(error)), await opened(ScriptedRefresher(error, error))
    token = await a_rejectable_token(here, clock)
    assert isinstance(await failure(here.report_rejected(token)), type(error))
    for vault in (here, there):
        assert isinstance(await failure(vault.ensure_access_token(ACCOUNT, timeout=1)), type(error))
        assert await vault.get_access_token(ACCOUNT) is None
    assert (await stored(here))["access_token"] == "access-0 invalid: invalid_token"


async def test_a_rejected_token_is_not_handed_out_while_it_is_refreshed(opened, clock):
    gate = Gate(answer(1))
    here, there = await opened(ScriptedRefresher(gate)), await opened(ScriptedRefresher())
    token = await a_rejectable_token(here, clock)
    reports = [asyncio.create_task(here.report_rejected(token)) for _ in range(2)]
    await gate.reached.wait()
    reports.append(asyncio.create_task(there.report_rejected(token)))
    asked = asyncio.create_task(there.ensure_access_token(ACCOUNT))
    await asyncio.sleep(0.05)
    assert not asked.done()
    gate.open.set()
    assert {value(each) for each in await asyncio.gather(*reports, asked)} == {"access-1"}
    assert await stored(here) == {"access_token": "access-1", "refresh_token": "refresh-1"}


async def test_a_report_does_not_mark_a_replaced_token(opened, clock):
    vault = await opened(ScriptedRefresher(answer(1)))
    token = await a_rejectable_token(vault, clock)
    await vault.refresh_account(ACCOUNT)
    clock.advance(MINUTE)
    assert value(await vault.report_rejected(token)) == "access-1"
    assert await stored(vault) == {"access_token": "access-1", "refresh_token": "refresh-1"}


async def test_a_sweep_refreshes_a_rejected_token(opened, clock):
    vault = await opened(ScriptedRefresher(RefreshFailedError(retry_after=MINUTE), answer(1)))
    token = await a_rejectable_token(vault, clock)
    await failure(vault.report_rejected(token))
    assert (await vault.refresh_due()).refreshed == 0
    clock.advance(MINUTE)
    assert (await vault.refresh_due()).refreshed == 1
    assert value(await vault.ensure_access_token(ACCOUNT)) == "access-1"


async def test_a_sweep_refreshes_a_token_that_was_marked_and_has_no_expiry(opened, clock):
    vault = await opened(ScriptedRefresher(answer(1)))
    await vault.store_token(ACCOUNT.key(TokenKind.ACCESS_TOKEN), "access")
    await vault.store_token(ACCOUNT.key(TokenKind.REFRESH_TOKEN), "refresh")
    await vault.mark_token_invalid(await vault.ensure_access_token(ACCOUNT), "invalid_token")
    assert (await vault.refresh_due()).refreshed == 1
    assert await is_connected(vault)


async def test_a_rejected_token_that_is_its_own_credential_stays_presentable(opened, clock):
    refresher = ScriptedRefresher(RefreshFailedError(), answer(1, refresh=False), spends=TokenKind.ACCESS_TOKEN)
    vault = await opened(refresher)
    token = await a_rejectable_token(vault, clock, refresh=False)
    assert isinstance(await failure(vault.report_rejected(token)), RefreshFailedError)
    assert await stored(vault) == {"access_token": "access-0"}
    clock.advance(MINUTE)
    assert value(await vault.report_rejected(token)) == "access-1"


@pytest.mark.parametrize("refreshable", [False, True], ids=["no refresher", "no refresh token"])
async def test_one_stray_401_does_not_end_an_access_token(opened, clock, refreshable):
    vault = await opened(ScriptedRefresher() if refreshable else None)
    token = await a_rejectable_token(vault, clock, refresh=not refreshable)
    assert value(await vault.report_rejected(token)) == "access-0"
    assert value(await vault.ensure_access_token(ACCOUNT)) == "access-0"
    assert await is_connected(vault)
    clock.advance(30 * SECOND)
    assert (await failure(vault.report_rejected(token))).reason == "invalid_token"
    error = await failure(vault.ensure_access_token(ACCOUNT))
    assert isinstance(error, ProviderConfigurationError if not refreshable else ReauthorizationRequiredError)


@both_stores
async def test_a_401_for_a_fresh_token_is_told_once_and_changes_nothing(opened, config, clock):
    told = []
    async with open_vault(config, refreshers={"acme": ScriptedRefresher()}, clock=clock, on_event=told.append) as vault:
        await store(vault)
        token = await vault.ensure_access_token(ACCOUNT)
        for _ in range(3):
            clock.advance(SECOND)
            assert value(await vault.with_actor("web").report_rejected(token)) == "access-0"
    reader = await opened()
    [event] = (await reader.latest_audit_events(action=AuditAction.TOKEN_REJECTED)).items
    assert (event.account, event.kind, event.generation, event.actor) == (ACCOUNT, TokenKind.ACCESS_TOKEN, 1, "web")
    assert [each.action for each in told].count(AuditAction.TOKEN_REJECTED) == 1
    assert await stored(reader) == {"access_token": "access-0", "refresh_token": "refresh-0"}


async def test_a_401_ends_the_access_token_of_a_condemned_grant(opened, clock):
    vault = await opened(ScriptedRefresher())
    token = await a_rejectable_token(vault, clock)
    await vault.mark_token_invalid(await vault.get_token(ACCOUNT.key(TokenKind.REFRESH_TOKEN)), "invalid_grant")
    assert value(await vault.ensure_access_token(ACCOUNT)) == "access-0"
    error = await failure(vault.report_rejected(token))
    assert (type(error), error.reason) == (ReauthorizationRequiredError, "invalid_grant")
    assert await vault.get_access_token(ACCOUNT) is None


async def test_one_stray_401_does_not_end_an_api_key(opened, clock):
    vault = await opened()
    token = await api_key(vault, clock)
    assert value(await vault.report_rejected(token)) == "key"
    found = await vault.get_token(API_KEY)
    assert (found.info.status, found.info.suspect_since, value(found)) == ("valid", clock.now(), "key")
    assert [(each.health, each.count) for each in (await vault.health()).counts] == [(TokenHealth.SUSPECT, 1)]
    clock.advance(30 * SECOND - timedelta(microseconds=1))
    assert value(await vault.report_rejected(token)) == "key"
    clock.advance(timedelta(microseconds=1))
    assert isinstance(await failure(vault.report_rejected(token)), ReauthorizationRequiredError)
    assert await stored(vault) == {"api_key": "key invalid: invalid_token"}
    events = (await vault.audit_events()).items
    assert [event.action for event in events if event.code == "invalid_token"] == [
        "token_suspected",
        "token_invalidated",
    ]


async def test_a_suspicion_ends_with_its_window_and_with_another_value(opened, clock):
    vault = await opened()
    token = await api_key(vault, clock)
    await vault.report_rejected(token)
    clock.advance(10 * MINUTE + timedelta(microseconds=1))
    assert [each.health for each in (await vault.health()).counts] == [TokenHealth.FRESH]
    assert value(await vault.report_rejected(token)) == "key"
    clock.advance(10 * MINUTE)
    assert [each.health for each in (await vault.health()).counts] == [TokenHealth.SUSPECT]
    await vault.store_token(API_KEY, "another key")
    clock.advance(MINUTE)
    assert value(await vault.report_rejected(token)) == "another key"
    assert (await vault.get_token(API_KEY)).info.suspect_since is None


async def test_an_api_key_that_may_not_be_used_is_none_to_try_next(opened, clock):
    vault = await opened()
    old = await api_key(vault, clock)
    await vault.store_token(API_KEY, "another key", expires_at=clock.now() + MINUTE)
    assert value(await vault.report_rejected(old)) == "another key"
    clock.advance(MINUTE)
    assert (await failure(vault.report_rejected(old))).reason is None
    await vault.mark_token_invalid(await vault.get_token(API_KEY), "revoked")
    error = await failure(vault.report_rejected(old))
    assert (type(error), error.reason) == (ReauthorizationRequiredError, "revoked")


@both_stores
async def test_two_processes_confirm_each_others_report(opened, clock):
    here, there = await opened(), await opened()
    token = await api_key(here, clock)
    assert value(await here.report_rejected(token)) == "key"
    clock.advance(10 * MINUTE)
    assert isinstance(await failure(there.report_rejected(token)), ReauthorizationRequiredError)


async def test_a_webhook_secret_cannot_be_reported(opened):
    vault = await opened()
    await vault.store_token(WEBHOOK, "secret")
    token = await vault.get_token(WEBHOOK)
    assert isinstance(await failure(vault.report_rejected(token)), InvalidInputError)


def test_the_window_is_configured():
    names = {"TOKEN_VAULT_REJECTION_CONFIRM_AFTER": "5", "TOKEN_VAULT_REJECTION_CONFIRM_WITHIN": "60"}
    config = VaultConfig.from_env(names)
    assert (config.tuning.rejection_confirm_after, config.tuning.rejection_confirm_within) == (5 * SECOND, MINUTE)
    with pytest.raises(ConfigurationError):
        Tuning(rejection_confirm_after=HOUR)
