"""In each store, an account is changed whole, by one decision after another."""

import asyncio

import pytest
from attrs import evolve
from tests.contract.stores import opening

from vault_adapters import Secret, VaultConfig
from vault_adapters.composition import open_vault_over
from vault_adapters.testing import ManualClock
from vault_adapters.testing.contract.fixtures import ACCESS, ACCOUNT, REFRESH
from vault_adapters.testing.contract.refreshing import answer, token_set
from vault_domain.entities.account import TokenKind
from vault_domain.entities.account_state import AccountState, Decision
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.token import TokenStatus
from vault_domain.ports.change import DataKeyInactiveError
from vault_domain.transitions.values import written

CONFIG = VaultConfig(encryption_secret=Secret("account-states-" + "0" * 40), scrypt_log2_n=14)
OTHER = evolve(ACCOUNT, identifier="bob")


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture(params=["sqlite", "prepared_schemas", "citus_schemas"], ids=["sqlite", "postgres", "citus"])
def opener(request):
    yield from opening(request, request.param)


@pytest.fixture
async def store(opener, clock):
    async with opener(clock) as store:
        yield store


@pytest.fixture
async def vault(store):
    async with open_vault_over(store, CONFIG) as vault:
        await vault.store_token_set(ACCOUNT, token_set(), label="Ann")
        await vault.store_token_set(OTHER, token_set())
        yield vault


def event(now):
    return AuditEvent(AuditAction.REFRESH_FAILING, now, tenant_id=ACCOUNT.tenant_id, account=ACCOUNT, code="x")


async def loaded(store, account=ACCOUNT):
    """Return the state of an account, by a decision that changes nothing."""
    return (await change(store, lambda state, now: Decision(state, None), account)).state


async def change(store, decide, account=ACCOUNT):
    return await store.accounts.change(account, decide)


async def values(store):
    """Return a decision that stores other values."""
    writes = await answer(store)
    return lambda state, now: Decision(written(state, now, writes)[0], None, (event(now),), durable=True)


async def events_of(vault):
    return [each.action for each in (await vault.audit_events()).items]


async def test_the_row_is_what_was_decided(store, vault):
    neighbour = await loaded(store, OTHER)
    new = (await change(store, lambda state, now: Decision(state.with_row(label="Ida", due_at=now), None))).state
    assert (new.row.label, await loaded(store)) == ("Ida", new)
    assert await loaded(store, OTHER) == neighbour


async def test_the_values_are_what_was_decided(store, vault):
    neighbour = await loaded(store, OTHER)
    new = (await change(store, await values(store))).state
    assert await loaded(store) == new
    assert new.tokens[REFRESH.kind].info.generation == 2
    assert await loaded(store, OTHER) == neighbour
    assert (await events_of(vault))[-1] is AuditAction.REFRESH_FAILING


async def test_a_decision_that_changes_nothing_writes_nothing(store, vault):
    events = await events_of(vault)
    await change(store, lambda state, now: Decision(state, None, (event(now),)))
    assert await events_of(vault) == events


async def test_no_change_is_lost_among_many(store, vault):
    def decide(state, now):
        failures = state.refresh.failures + 1
        return Decision(state.with_row(refresh=evolve(state.refresh, failures=failures)), failures, (event(now),))

    decisions = await asyncio.gather(*(change(store, decide) for _ in range(7)))
    assert sorted(decision.result for decision in decisions) == list(range(1, 8))
    assert (await events_of(vault)).count(AuditAction.REFRESH_FAILING) == 7


async def test_an_account_of_which_nothing_is_stored_has_neither_tokens_nor_row(store, vault):
    nobody = evolve(ACCOUNT, identifier="new")
    assert await loaded(store, nobody) == AccountState(nobody)


async def test_a_token_that_is_left_out_is_deleted(store, vault):
    new = (await change(store, lambda state, now: Decision(state.without([ACCESS.kind]), None, (event(now),)))).state
    assert (await loaded(store), new.tokens.keys(), new.row.label) == (new, {REFRESH.kind}, "Ann")
    assert (await events_of(vault))[-1] is AuditAction.REFRESH_FAILING


async def test_with_its_last_token_an_account_is_gone(store, vault):
    neighbour = await loaded(store, OTHER)
    await change(store, lambda state, now: Decision(state.without(TokenKind), None))
    assert await loaded(store) == AccountState(ACCOUNT)
    assert await loaded(store, OTHER) == neighbour


async def test_a_mark_makes_no_row(store, vault):
    key = evolve(ACCOUNT, identifier="lone").key(TokenKind.API_KEY)
    await vault.store_token(key, "value")
    state = await loaded(store, key.account)
    assert state.row is None
    token = state.tokens[key.kind]
    await change(store, lambda state, now: Decision(state.with_token(token, error_code="x"), None), key.account)
    assert (await loaded(store, key.account)).row is None


async def test_a_value_under_an_inactive_data_key_is_refused(store, vault):
    state, decide = await loaded(store), await values(store)
    await vault.keys.rotate_data_key(ACCOUNT.tenant_id)
    with pytest.raises(DataKeyInactiveError):
        await change(store, decide)
    assert await loaded(store) == state


async def test_a_mark_needs_no_active_data_key(store, vault):
    await vault.keys.rotate_data_key(ACCOUNT.tenant_id)

    def decide(state, now):
        token = state.tokens[REFRESH.kind]
        return Decision(state.with_token(token, status=TokenStatus.INVALID, error_code="x"), None)

    new = (await change(store, decide)).state
    assert (await loaded(store), new.tokens[REFRESH.kind].info.error_code) == (new, "x")
