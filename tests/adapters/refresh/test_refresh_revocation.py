"""`delete_account(revoke=True)` asks the provider first, and deletes the account whatever the provider answers."""

import asyncio
from datetime import timedelta

import pytest
from attrs import evolve
from tests.adapters.refresh.refresh_kit import ACCOUNT, HOUR, Gate, account_state, answer, store, stored
from tests.support.databases import both_stores
from tests.support.scripted_provider import Answer, error_answer

from vault_adapters import AuditAction, InvalidInputError, TokenKind, open_vault
from vault_adapters.providers import OAuth2Refresher
from vault_adapters.providers.presets import google
from vault_adapters.testing import ScriptedRefresher
from vault_domain.entities.rotation_policy import RevocationScope


@pytest.mark.parametrize(
    ("answered", "revoked"),
    [(Answer(status=200), True), (error_answer("unsupported_token_type"), False), (Answer(status=503), False),
     (Answer(drop="rst"), False)],
)  # fmt: skip
async def test_it_is_deleted_whatever_the_provider_answers(opened, provider, config, answered, revoked):
    provider.answer(answered)
    refresher = OAuth2Refresher(provider.token_url, "client", "secret", revocation_url=provider.revocation_url)
    vault = await opened(refresher)
    await store(vault)
    deletion = await vault.delete_account(ACCOUNT, revoke=True)
    assert (deletion.deleted, deletion.revoked) == (2, revoked)
    assert await stored(vault) == {}
    told = [event for event in (await vault.audit_events()).items if event.action is AuditAction.ACCOUNT_REVOKED]
    assert [(event.account, event.code) for event in told] == [(ACCOUNT, None if revoked else "not_confirmed")]
    assert account_state(config) == []
    [request] = provider.requests
    assert request.form == {"token": "refresh-0", "token_type_hint": "refresh_token"}


async def test_the_access_token_where_there_is_no_other(opened, provider):
    provider.answer(Answer(status=200))
    refresher = OAuth2Refresher(provider.token_url, "client", "secret", revocation_url=provider.revocation_url)
    vault = await opened(refresher)
    await store(vault, refresh=False)
    assert (await vault.delete_account(ACCOUNT, revoke=True)).revoked is True
    assert provider.requests[0].form == {"token": "access-0", "token_type_hint": "access_token"}


async def test_where_there_is_nobody_to_ask(opened, provider):
    for refresher in (None, ScriptedRefresher(), OAuth2Refresher(provider.token_url, "client", "secret")):
        vault = await opened(refresher)
        await store(vault)
        deletion = await vault.delete_account(ACCOUNT, revoke=True)
        assert (deletion.deleted, deletion.revoked) == (2, None)
        assert (await vault.delete_account(ACCOUNT, revoke=True)).revoked is None
    assert provider.requests == []


async def test_without_revoke_nobody_is_asked(opened, provider):
    refresher = OAuth2Refresher(provider.token_url, "client", "secret", revocation_url=provider.revocation_url)
    vault = await opened(refresher)
    await store(vault)
    assert (await vault.delete_account(ACCOUNT)).revoked is None
    assert provider.requests == []


async def test_a_slow_provider_does_not_hold_the_deletion(sqlite_config, provider):
    provider.answer(Answer(delay=30))
    config = evolve(sqlite_config, refresh_deadline=timedelta(seconds=0.3))
    refresher = OAuth2Refresher(provider.token_url, "client", "secret", revocation_url=provider.revocation_url)
    async with asyncio.timeout(10), open_vault(config, refreshers={"acme": refresher}) as vault:
        await store(vault)
        assert (await vault.delete_account(ACCOUNT, revoke=True)).revoked is False
        assert await stored(vault) == {}


@both_stores
async def test_a_delete_during_a_refresh_is_not_undone(opened, config, clock):
    gate = Gate(answer(1))
    vault = await opened(ScriptedRefresher(gate))
    await store(vault)
    clock.advance(HOUR)
    call = asyncio.create_task(vault.ensure_access_token(ACCOUNT))
    await gate.reached.wait()
    await vault.delete_account(ACCOUNT)
    gate.open.set()
    [error] = await asyncio.gather(call, return_exceptions=True)
    assert error.code == "token_not_found"
    assert await stored(vault) == {}
    assert account_state(config) == []
    assert await vault.get_token(ACCOUNT.key(TokenKind.REFRESH_TOKEN)) is None


@both_stores
async def test_a_tenant_erased_during_a_refresh_stays_erased(opened, config, clock):
    gate = Gate(answer(1))
    vault = await opened(ScriptedRefresher(gate))
    await store(vault)
    clock.advance(HOUR)
    call = asyncio.create_task(vault.ensure_access_token(ACCOUNT))
    await gate.reached.wait()
    await vault.erase_tenant(ACCOUNT.tenant_id)
    gate.open.set()
    [error] = await asyncio.gather(call, return_exceptions=True)
    assert error.code == "token_not_found"
    assert await stored(vault) == {}
    assert account_state(config) == []


@pytest.mark.parametrize("scope", ["user_and_client", "grant"])
async def test_a_sibling_keeps_its_grant(opened, provider, scope):
    provider.answer(Answer(status=200), Answer(status=200))
    urls = {"revocation_url": provider.revocation_url, "revocation_scope": scope}
    vault = await opened(OAuth2Refresher(provider.token_url, "client", "secret", **urls))
    sibling = evolve(ACCOUNT, tenant_id="t2")
    for account in (ACCOUNT, sibling):
        await store(vault, account=account)
    deletion = await vault.delete_account(ACCOUNT, revoke=True)
    is_shared = scope == "user_and_client"
    expected = (2, None, "shared_grant") if is_shared else (2, True, None)
    assert (deletion.deleted, deletion.revoked, deletion.reason) == expected
    assert len(provider.requests) == int(not is_shared)
    last = await vault.delete_account(sibling, revoke=True)
    assert (last.revoked, last.reason) == (True, None)


def test_google_ends_all_grants_of_a_user():
    assert google("client", "secret").revocation_scope is RevocationScope.USER_AND_CLIENT
    with pytest.raises(InvalidInputError):
        OAuth2Refresher("https://provider.test/token", "id", "secret", revocation_scope="everything")
