"""A pause concerns one token endpoint, and no tenant alone can open one that concerns others."""

import pytest
from tests.adapters.refresh.refresh_kit import HOUR, failure, is_connected, rows_of
from tests.support.databases import both_stores
from tests.support.scripted_provider import error_answer, token_answer

from vault_adapters import (
    Account,
    AuditAction,
    ConnectionState,
    ProviderConfigurationError,
    ReauthorizationRequiredError,
    TokenSet,
)
from vault_adapters.providers import OAuth2Refresher, load_profile, refresher

ATTACKERS = [Account("t1", "acme", f"bad-{number}") for number in range(8)]
VICTIMS = [Account(f"t{number}", "acme", f"good-{number}") for number in range(2, 6)]

PROFILE = """
name = "acme"
title = "Acme"
docs = ["https://acme.example/docs"]
checked = 2026-11-01
token_url = "{url}/{{instance}}/token"

[rotation]
kind = "non_rotating"

[variables.instance]
pattern = "[a-z]+"
about = "the instance"
"""


@pytest.fixture(params=["extra", "callable"])
def instances(request, provider, tmp_path):
    """Return a refresher whose accounts have token endpoints of their own, and a function that stores an account."""
    path = tmp_path / "acme.toml"
    path.write_text(PROFILE.format(url=provider.base_url))
    where = {}

    async def variables(account):
        return {"instance": where[account]}

    finder = variables if request.param == "callable" else None

    async def connect(vault, account, instance):
        where[account] = instance
        extra = {"instance": instance} if finder is None else {}
        await vault.store_token_set(account, TokenSet("access", "refresh", expires_in=HOUR, extra=extra))

    return refresher(load_profile(path), "client", "secret", account_variables=finder), connect


async def events_of(vault):
    actions = {AuditAction.CLIENT_PAUSED, AuditAction.CLIENT_RESUMED}
    return [event.action async for event in vault.iter_audit_events() if event.action in actions]


async def all_fail(vault, accounts, times=1):
    for _ in range(times):
        for account in accounts:
            await failure(vault.refresh_account(account))


@pytest.mark.parametrize("code", ["invalid_client", "invalid_grant"])
async def test_an_instance_that_refuses_the_client_stops_no_other_instance(opened, clock, provider, instances, code):
    acme, connect = instances
    provider.answer_always(
        lambda request: error_answer(code) if request.path.startswith("/bad/") else token_answer("access-2")
    )
    vault = await opened(acme)
    mates = [Account("t9", "acme", f"mate-{number}") for number in range(8)]  # of another tenant, at the same instance
    for account in (*ATTACKERS, *mates):
        await connect(vault, account, "bad")
    for account in VICTIMS:
        await connect(vault, account, "good")
    clock.advance(HOUR)
    for pair in zip(ATTACKERS, mates, strict=True):
        await all_fail(vault, pair)
    assert await events_of(vault) == [AuditAction.CLIENT_PAUSED]
    for account in VICTIMS:
        assert (await vault.ensure_access_token(account)).value.reveal() == "access-2"
    assert await events_of(vault) == [AuditAction.CLIENT_PAUSED]  # a success elsewhere says nothing about the instance
    error = await failure(vault.ensure_access_token(mates[0]))
    assert (type(error), error.reason) == (
        (ProviderConfigurationError, code)
        if code == "invalid_client"
        else (ProviderConfigurationError, "mass_rejection")
    )


@both_stores
async def test_the_counts_of_endpoints_that_nobody_uses_are_forgotten(opened, config, clock, provider, instances):
    """Otherwise, each read of the records would take longer with every former customer's instance."""
    acme, connect = instances
    provider.answer_always(
        lambda request: token_answer("new") if request.path.startswith("/good/") else error_answer("invalid_client")
    )
    vault = await opened(acme)
    for account, letter in zip(ATTACKERS, "abcdefgh", strict=True):
        await connect(vault, account, f"bad{letter}")
    await connect(vault, VICTIMS[0], "good")
    await all_fail(vault, ATTACKERS)
    await vault.erase_tenant("t1")
    for days, left in ((3, 8), (2, 0)):
        clock.advance(days * 24 * HOUR)
        other = await opened(acme)  # it has not read the records within the last five seconds
        await other.refresh_account(VICTIMS[0])
        # A row without marks stands for no record, and is not read.
        assert len([marks for (marks,) in rows_of(config, "client_refusal", "marks") if marks]) == left


async def test_the_refusals_of_one_tenant_pause_no_shared_endpoint(opened, clock, provider):
    provider.answer_always(
        lambda request: (
            error_answer("invalid_client", status=401)
            if request.form["refresh_token"] == "bad"
            else token_answer("access-2")
        )
    )
    vault = await opened(OAuth2Refresher(provider.token_url, "client", "secret"))
    for account in (*ATTACKERS, *VICTIMS):
        value = "bad" if account in ATTACKERS else "good"
        await vault.store_token_set(account, TokenSet("access", value, expires_in=HOUR))
    clock.advance(HOUR)
    await all_fail(vault, ATTACKERS, times=2)
    assert await events_of(vault) == []
    for account in VICTIMS:
        await all_fail(vault, ATTACKERS[:3])
        assert (await vault.ensure_access_token(account)).value.reveal() == "access-2"


async def test_the_dead_grants_of_one_tenant_are_no_mass_rejection(opened, clock, provider):
    provider.answer_always(
        lambda request: (
            error_answer("invalid_grant") if request.form["refresh_token"] == "bad" else token_answer("access-2")
        )
    )
    vault = await opened(OAuth2Refresher(provider.token_url, "client", "secret"))
    for account in (*ATTACKERS, *VICTIMS):
        value = "bad" if account in ATTACKERS else "good"
        await vault.store_token_set(account, TokenSet("access", value, expires_in=HOUR))
    clock.advance(HOUR)
    for account in ATTACKERS:
        assert isinstance(await failure(vault.ensure_access_token(account)), ReauthorizationRequiredError)
        assert (await vault.get_account(account)).state is ConnectionState.REAUTHORIZATION_REQUIRED
    for account in VICTIMS:
        await vault.ensure_access_token(account)
        assert await is_connected(vault, account)
    assert await events_of(vault) == []
