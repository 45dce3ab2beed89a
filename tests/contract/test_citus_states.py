"""On distributed tables, a change begins with what was read last, and is written only if nothing differs from that.

Without a cluster, the server is a plain one; see `test_citus_statements.py`. What holds for each store is in
`test_account_states.py`.
"""

import asyncio
import time
from uuid import uuid4

import aiosqlite
import psycopg
import pytest
from attrs import evolve
from tests.contract.stores import opening

from vault_adapters import Secret, VaultConfig
from vault_adapters.composition import open_vault_over
from vault_adapters.stores.postgres import account_states
from vault_adapters.testing import ManualClock
from vault_adapters.testing.contract.fixtures import ACCESS, ACCOUNT, REFRESH
from vault_adapters.testing.contract.refreshing import answer, claimed, token_set, unclaimed
from vault_domain.entities.account import TokenKind
from vault_domain.entities.account_state import Decision, KeptAnswer
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.errors import GenerationConflictError, HostTransactionError
from vault_domain.ports.change import DataKeyInactiveError
from vault_domain.services.refresh.attempt_ledger import AttemptLedger
from vault_domain.services.tokens.account_changes import AccountChanges
from vault_domain.transitions.values import written

CONFIG = VaultConfig(encryption_secret=Secret("account-states-" + "0" * 40), scrypt_log2_n=14)


async def marked(vault):
    await vault.mark_token_invalid(await vault.get_token(REFRESH), "x")  # which leaves the account's row as it is


MEANWHILE = {
    "a token is stored": lambda vault: vault.store_token(ACCESS, "other"),
    "a token is marked": marked,
    "a token is deleted": lambda vault: vault.delete_token(ACCESS),
    "the account is deleted": lambda vault: vault.delete_account(ACCOUNT),
    "the label changes": lambda vault: vault.store_token_set(ACCOUNT, token_set(2), label="Ben"),
}


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def opener(request):
    yield from opening(request, "citus_schemas")


@pytest.fixture
async def store(opener, clock):
    async with opener(clock) as store:
        yield store


@pytest.fixture
async def vault(opener, clock, store):
    """Give the vault of another process."""
    async with opener(clock) as other, open_vault_over(other, CONFIG) as vault:
        await vault.store_token_set(ACCOUNT, token_set(), label="Ann")
        yield vault


def event(now):
    return AuditEvent(AuditAction.REFRESH_FAILING, now, tenant_id=ACCOUNT.tenant_id, account=ACCOUNT, code="x")


async def changed(store, decide, account=ACCOUNT):
    """Change an account; return the states that ``decide`` was given, and the decision."""
    seen = []

    def noted(state, now):
        seen.append(state)
        return decide(state, now)

    return seen, await store.accounts.change(account, noted)


async def stored(store, account=ACCOUNT):
    _, decision = await changed(store, lambda state, now: Decision(state, None), account)
    return decision.state


HOW = {
    "row": lambda state, now, writes: state.with_row(label="Ida", due_at=now),
    "values": lambda state, now, writes: written(state, now, writes)[0].with_row(label="Ida"),
    "deletion": lambda state, now, writes: state.without(TokenKind),
}


@pytest.mark.parametrize("how", HOW)
async def test_a_change_needs_no_other_read(store, vault, how):
    writes = await answer(store)
    await store.accounts.read(ACCOUNT)
    seen, decision = await changed(
        store, lambda state, now: Decision(HOW[how](state, now, writes), None, (event(now),), durable=True)
    )
    assert len(seen) == 1
    assert await stored(store) == decision.state
    assert (await vault.audit_events()).items[-1].action is AuditAction.REFRESH_FAILING


@pytest.mark.parametrize("meanwhile", MEANWHILE)
@pytest.mark.parametrize("how", HOW)
async def test_nothing_is_written_over_another_write(store, vault, how, meanwhile):
    writes = await answer(store)
    await store.accounts.read(ACCOUNT)
    await MEANWHILE[meanwhile](vault)
    seen, decision = await changed(
        store, lambda state, now: Decision(HOW[how](state, now, writes), None, (event(now),))
    )
    assert len(seen) == 2
    assert seen[0] != seen[1]
    assert await stored(store) == decision.state
    events = [each.action for each in (await vault.audit_events()).items]
    assert events.count(AuditAction.REFRESH_FAILING) == 1


@pytest.mark.parametrize("how", ["row", "values"])
async def test_what_was_absent_must_still_be_absent(store, vault, how):
    nobody = evolve(ACCOUNT, identifier="new")
    writes = [evolve(write, key=nobody.key(write.key.kind)) for write in await answer(store)]
    await store.accounts.read(nobody)
    await vault.store_token_set(nobody, token_set(), label="Eva")
    seen, decision = await changed(store, lambda state, now: Decision(HOW[how](state, now, writes), None), nobody)
    assert [state.row is None for state in seen] == [True, False]
    assert await stored(store, nobody) == decision.state
    assert decision.state.tokens[REFRESH.kind].info.generation == (2 if how == "values" else 1)


async def test_a_new_account_needs_an_active_data_key(store, vault):
    nobody = evolve(ACCOUNT, identifier="new")
    writes = [evolve(write, key=nobody.key(write.key.kind)) for write in await answer(store)]
    await vault.keys.rotate_data_key(ACCOUNT.tenant_id)
    with pytest.raises(DataKeyInactiveError):
        await changed(store, lambda state, now: Decision(HOW["values"](state, now, writes), None), nobody)
    assert (await stored(store, nobody)).is_empty


BARE = {
    "row": lambda state: state.with_row(label="Ida"),
    "mark": lambda state: state.with_token(state.tokens[REFRESH.kind], error_code="x"),  # leaves the row alone
}


@pytest.mark.parametrize("how", BARE)
async def test_a_row_that_another_writer_has_inserted_is_not_written_over(store, vault, opener, clock, how):
    bare = evolve(ACCOUNT, identifier="bare")
    await vault.store_tokens([(bare.key(TokenKind.REFRESH_TOKEN), "v")])
    await store.accounts.read(bare)
    async with opener(clock) as other:
        await claimed(other, bare)
    seen, decision = await changed(store, lambda state, now: Decision(BARE[how](state), None), bare)
    assert [state.row is None for state in seen] == [True, False]
    assert decision.state.refresh.leased_until(clock.now()) is not None
    assert await stored(store, bare) == decision.state


async def test_an_answer_is_not_written_over_another_answer(store, vault, opener, clock):
    """The account's row is as it was read."""
    sealed = (await store.accounts.read(ACCOUNT)).sealed[REFRESH.kind]
    mine, others = (KeptAnswer(uuid4(), sealed, clock.now()) for _ in range(2))
    for before, meanwhile, new in (
        *((None, others, mine), (mine, others, mine), (mine, None, mine), (mine, others, None)),
    ):
        async with opener(clock) as other:
            await changed(other, lambda state, now, answer=meanwhile: Decision(evolve(state, answer=answer), None))
        seen, _ = await changed(store, lambda state, now, answer=new: Decision(evolve(state, answer=answer), None))
        assert [state.answer for state in seen] == [before, meanwhile]
        assert (await stored(store)).answer == new
        await store.accounts.read(ACCOUNT)


async def test_that_nothing_is_to_be_done_is_not_concluded_from_an_old_read(store, vault, opener, clock):
    attempt = await claimed(store)
    later = await unclaimed(store)
    await store.accounts.read(ACCOUNT)
    async with opener(clock) as other:
        await AttemptLedger(other.accounts).release(attempt)
    assert await AttemptLedger(store.accounts).claim(later, attempt.attempt_id) == clock.now()


async def test_a_decision_that_took_long_is_made_again(store, vault):
    def decide(state, now):
        time.sleep(1.1 if state.row.label == "Ann" and not calls else 0)
        calls.append(state)
        return Decision(state.with_row(label="Ida"), None)

    calls = []
    await changed(store, decide)
    assert [state.row.label for state in calls] == ["Ann", "Ann"], "the first was rolled back"
    assert (await stored(store)).row.label == "Ida"


async def test_an_event_gets_its_place_when_the_row_is_held(store, vault, citus_schemas):
    schema = store.accounts._states._queries["insert_row"].split('"')[1]
    async with (
        await psycopg.AsyncConnection.connect(citus_schemas.url) as holder,
        await psycopg.AsyncConnection.connect(citus_schemas.url, autocommit=True) as other,
    ):
        await holder.execute(f"LOCK TABLE {schema}.account IN EXCLUSIVE MODE")  # gives the holder no transaction id
        change = asyncio.create_task(
            changed(store, lambda state, now: Decision(state.with_row(label="Ida"), None, (event(now),)))
        )
        waiting = "SELECT count(*) FROM pg_locks WHERE relation = %s::regclass AND NOT granted"
        while await (await other.execute(waiting, [f"{schema}.account"])).fetchone() == (0,):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        earlier = "INSERT INTO {}.audit_event (tenant_id, action, occurred_at) VALUES ('t1', 'token_stored', now())"
        await other.execute(earlier.format(schema))
        await holder.rollback()
    await change
    events = [each.action for each in (await vault.audit_events()).items]
    assert events[-2:] == [AuditAction.TOKEN_STORED, AuditAction.REFRESH_FAILING]


async def test_a_row_is_not_written_for_tokens_that_change_while_it_is_waited_for(store, vault, citus_schemas):
    """The other writer stores a value, and locks the account's row, but leaves it as it is: it is due early enough."""
    schema = store.accounts._states._queries["insert_row"].split('"')[1]
    await store.accounts.read(ACCOUNT)
    async with await psycopg.AsyncConnection.connect(citus_schemas.url) as writer:
        await writer.execute(f"UPDATE {schema}.token SET generation = 7 WHERE tenant_id = %s", [ACCOUNT.tenant_id])
        locked = f"SELECT 1 FROM {schema}.account WHERE tenant_id = %s FOR UPDATE"
        await writer.execute(locked, [ACCOUNT.tenant_id])
        change = asyncio.create_task(changed(store, lambda state, now: Decision(state.with_row(due_at=None), None)))
        await asyncio.sleep(0.2)
        assert not change.done()
        await writer.commit()
    seen, _ = await change
    assert [state.tokens[ACCESS.kind].info.generation for state in seen] == [1, 7]


async def test_few_reads_are_remembered(store, vault, monkeypatch):
    monkeypatch.setattr(account_states, "_MOST_KNOWN", 2)
    for name in "abc":
        await store.accounts.read(evolve(ACCOUNT, identifier=name))
    assert [account.identifier for account in store.accounts._states._known] == ["b", "c"]


async def test_a_refusal_of_what_was_read_long_ago_is_no_answer(store, vault):
    [write] = await answer(store, keys=[ACCESS])
    await store.accounts.read(ACCOUNT)
    await vault.store_token(ACCESS, "other")
    [info] = (await AccountChanges(store.accounts, uuid4).store_expecting(write, 2, actor=None)).result
    assert info.generation == 3
    await store.accounts.read(ACCOUNT)
    with pytest.raises(GenerationConflictError):
        await AccountChanges(store.accounts, uuid4).store_expecting(write, 2, actor=None)


async def test_a_transaction_of_the_host_is_refused(store):
    async with open_vault_over(store, CONFIG) as vault:
        with pytest.raises(HostTransactionError) as caught:
            await vault.on(aiosqlite.connect(":memory:")).delete_account(ACCOUNT)
    assert caught.value.reason == "store"
