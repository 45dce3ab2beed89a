"""In both stores, an account has its own lease and schedule; a credential stored again has no old lease or failures."""

from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve

from vault_adapters import ImportedToken, Secret, TokenKind, TokenSet, VaultConfig
from vault_adapters.composition import open_vault_over
from vault_adapters.testing import ManualClock
from vault_adapters.testing.contract.fixtures import ACCESS, ACCOUNT, REFRESH
from vault_adapters.testing.contract.refreshing import (
    HOUR,
    LEAD,
    LEASE,
    MINUTE,
    SECOND,
    answer,
    claimed,
    due_at,
    state_of,
    token_set,
)
from vault_domain.entities.attempt import Failure
from vault_domain.entities.refresh_state import RefreshState
from vault_domain.services.refresh.attempt_ledger import AttemptLedger

CONFIG = VaultConfig(encryption_secret=Secret("refresh-ledger-" + "0" * 40), scrypt_log2_n=14)
NAMESAKES = [
    evolve(ACCOUNT, tenant_id="t2"),
    evolve(ACCOUNT, provider="github"),
    evolve(ACCOUNT, identifier="bob"),
    evolve(ACCOUNT, identifier=None),
]
LATEST = datetime(9998, 1, 1, tzinfo=UTC)


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
async def store(opener, clock):
    async with opener(clock) as store:
        yield store


@pytest.fixture
async def vault(store):
    async with open_vault_over(store, CONFIG) as vault:
        yield vault


async def schedule_of(store, accounts):
    """Return when accounts are due; their schedule is the same afterwards."""
    found = {}
    for provider in {account.provider for account in accounts}:
        due, _ = await store.accounts.reserve_due(provider, hold=timedelta(0), limit=1000, since=None, until=LATEST)
        found |= {each.account: each.due_at for each in due}
    for account, moment in found.items():
        await AttemptLedger(store.accounts).reschedule(account, lambda record, now, moment=moment: moment)
    return {account: found.get(account) for account in accounts}


async def store_again(vault):
    """Delete the refresh token and store it again: with a new id, and with the generation that it had."""
    await vault.delete_token(REFRESH)
    assert (await vault.store_token(REFRESH, "again")).generation == 1


async def test_a_lease_on_a_credential_that_was_stored_again_keeps_nobody_out(store, vault, clock):
    await vault.store_token_set(ACCOUNT, token_set())
    await claimed(store)
    await store_again(vault)
    attempt = await claimed(store)
    assert (await state_of(store)).attempt_id == attempt.attempt_id


async def test_what_is_known_of_a_credential_that_was_stored_again_is_dropped(store, vault, clock):
    await vault.store_token_set(ACCOUNT, token_set())
    await AttemptLedger(store.accounts).fail(await claimed(store), Failure("server_error", HOUR, unknown=True))
    await store_again(vault)
    clock.advance(MINUTE)
    attempt = await claimed(store)
    assert await state_of(store) == RefreshState(
        credential_value_id=attempt.credential.value_id,
        attempt_id=attempt.attempt_id,
        lease_until=clock.now() + LEASE,
        sent_at=clock.now(),
    )


async def test_a_first_claim_is_due_at_the_end_of_its_lease(store, vault, clock):
    await vault.store_tokens([(ACCESS, "access"), (REFRESH, "refresh")])  # without an expiry: nothing is due
    assert await due_at(store) is None
    await claimed(store)
    assert await due_at(store) == clock.now() + LEASE


async def test_taking_and_scheduling_hold_no_other_account_of_the_same_name(store, vault, clock):
    accounts = [ACCOUNT, *NAMESAKES]
    for number, account in enumerate(accounts):
        await vault.store_token_set(account, token_set(lifetime=(10 + number) * HOUR))
    before = await schedule_of(store, accounts)
    assert len(set(before.values())) == len(accounts)
    clock.set(before[ACCOUNT])
    due, now = await store.accounts.reserve_due("google", hold=HOUR, limit=1, since=None, until=None)
    assert [each.account for each in due] == [ACCOUNT]
    assert await schedule_of(store, accounts) == before | {ACCOUNT: now + HOUR}
    await AttemptLedger(store.accounts).reschedule(ACCOUNT, lambda record, now: now + MINUTE)
    assert await schedule_of(store, accounts) == before | {ACCOUNT: now + MINUTE}


@pytest.mark.parametrize("how", ["claim", "release", "fail", "commit", "store", "wake"])
async def test_what_happens_to_an_account_leaves_the_schedule_of_others_of_the_same_name(store, vault, clock, how):
    accounts = [ACCOUNT, *NAMESAKES]
    for number, account in enumerate(accounts):
        await vault.store_token_set(account, token_set(lifetime=(10 + number) * HOUR))
    before = await schedule_of(store, accounts)
    if how == "store":
        await vault.store_token(ACCESS, "new", expires_at=clock.now() + MINUTE)
    elif how == "wake":
        await vault.store_token(REFRESH, "new")
    else:
        attempt = await claimed(store)
        if how == "release":
            await AttemptLedger(store.accounts).release(attempt)
        elif how == "fail":
            await AttemptLedger(store.accounts).fail(attempt, Failure(None, MINUTE, unknown=False))
        elif how == "commit":
            await AttemptLedger(store.accounts).commit(attempt, await answer(store), actor=None)
    after = await schedule_of(store, accounts)
    assert after.pop(ACCOUNT) != before.pop(ACCOUNT)
    assert after == before


async def test_an_answer_after_the_failure_was_noted_ends_its_backoff(store, vault, clock):
    await vault.store_token_set(ACCOUNT, token_set())
    attempt = await claimed(store)
    await AttemptLedger(store.accounts).fail(attempt, Failure("server_error", HOUR, unknown=True))
    await AttemptLedger(store.accounts).commit(attempt, await answer(store), actor=None)
    state = await state_of(store)
    assert (state.next_attempt_at, state.failures, state.unknown_since, state.error_code) == (None, 0, None, None)


async def test_an_access_token_schedules_an_account_that_was_never_due(store, vault, clock):
    await vault.store_token_set(ACCOUNT, TokenSet("access", "refresh"), label="Ann")
    assert await due_at(store) is None
    await store.accounts.store(await answer(store, keys=[ACCESS], lifetime=HOUR), actor=None)
    assert await due_at(store) == clock.now() + HOUR - LEAD


@pytest.mark.parametrize("keys", [[ACCESS, REFRESH], [REFRESH, ACCESS]], ids=["first", "last"])
async def test_of_several_values_of_one_account_the_access_token_decides(store, vault, clock, keys):
    await vault.store_token(REFRESH, "v")
    await store.accounts.store(await answer(store, keys=keys, lifetime=HOUR), actor=None)
    assert await due_at(store) == clock.now() + HOUR - LEAD


@pytest.mark.parametrize("how", ["store", "expected", "new", "many", "import"])
async def test_where_only_others_of_the_same_name_have_a_time_a_value_sets_none(store, vault, clock, how):
    for account in NAMESAKES:
        await vault.store_token_set(account, token_set())
    if how == "expected":
        await vault.store_token(REFRESH, "v")
        await vault.store_token(REFRESH, "w", expected_generation=1)
    elif how == "new":
        await vault.store_token(REFRESH, "v", expected_generation=0)
    elif how == "many":
        webhook_secret = ACCOUNT.key(TokenKind.WEBHOOK_SECRET)
        await vault.store_tokens([(REFRESH, "v"), (webhook_secret, "w")])
    elif how == "import":
        await vault.import_tokens([ImportedToken(REFRESH, "v")])
    else:
        await vault.store_token(REFRESH, "v")
    assert await due_at(store) is None


@pytest.mark.parametrize("kind", [TokenKind.REFRESH_TOKEN, TokenKind.API_KEY])
async def test_an_imported_credential_is_not_scheduled_by_its_end(store, vault, clock, kind):
    imported = ImportedToken(ACCOUNT.key(kind), "v", expires_at=clock.now() + HOUR)
    neighbour = ImportedToken(evolve(ACCESS, identifier="neighbour"), "v", expires_at=clock.now() + HOUR)
    await vault.import_tokens([imported, neighbour])
    assert await due_at(store) is None
    await vault.store_token_set(ACCOUNT, token_set())
    await AttemptLedger(store.accounts).reschedule(ACCOUNT, lambda record, now: None)
    clock.advance(SECOND)
    await vault.import_tokens([imported], overwrite=True)
    assert await due_at(store) == clock.now()
