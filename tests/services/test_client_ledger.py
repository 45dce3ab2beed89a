"""What the vault learns from rejections, over a store in memory: few of them condemn, and a whole fleet is spared."""

import asyncio
from datetime import timedelta

import pytest
from attrs import evolve
from tests.services.fakes import Obstructed

from vault_adapters import Account, AuditAction, StorageError, TokenKind, TokenStatus
from vault_adapters.testing.contract.clients import CLIENT, HERE, OTHER, THERE, claim, connect, credential_of
from vault_adapters.testing.contract.refreshing import due_at, state_of
from vault_domain.entities.attempt import Failure
from vault_domain.entities.clients import INVALID_CLIENT, MASS_REJECTION, ClientScope
from vault_domain.rules.clients import ClientRules, mark_of
from vault_domain.services.refresh import client_ledger
from vault_domain.services.refresh.attempt_ledger import AttemptLedger
from vault_domain.services.refresh.client_ledger import Verdict

HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)
RULES = ClientRules()
SCOPE = ClientScope("google", CLIENT, MASS_REJECTION)
FLEET = [Account("t1", "google", f"fleet {number}") for number in range(10)]
OTHERS = [Account("t2", "google", f"other {number}") for number in range(10)]
CONDEMNED, MOVED, SPARED = Verdict.CONDEMNED, Verdict.MOVED, Verdict.SPARED


@pytest.fixture
async def fleet(cases):
    for account in FLEET:
        await store_tokens(cases, account)
    return FLEET


async def store_tokens(cases, account, **more):
    if await cases.store.keys.data_key(account.tenant_id, None) is None:
        await cases.connect(Account(account.tenant_id, "acme"))  # makes the tenant's data key
    await connect(None, cases.store, account, **more)


async def condemn(cases, account, endpoint=None, *, stored_at=None, is_believed=False):
    attempt = evolve(await claim(cases.store, account, endpoint), stored_at=stored_at)
    scope = evolve(SCOPE, client=endpoint or CLIENT)
    verdict, _ = await cases.counting.condemn(attempt, "invalid_grant", scope, is_believed=is_believed, actor="me")
    return verdict


async def condemn_all(cases, *accounts):
    return [await condemn(cases, account) for account in accounts]


async def statuses(cases, *accounts):
    return {(await credential_of(cases.store, account)).status for account in accounts}


def actions_of(cases):
    return [event.action for event in cases.sink.events if event.action is not AuditAction.TOKEN_STORED]


async def test_few_rejections_condemn(cases, fleet):
    assert await condemn_all(cases, *fleet[:4]) == [CONDEMNED] * 4
    assert await statuses(cases, *fleet[:4]) == {TokenStatus.INVALID}
    assert (await cases.store.clients.records()).records == []
    assert AuditAction.CLIENT_PAUSED not in actions_of(cases)


async def test_many_rejections_spare_the_fleet(cases, fleet):
    before = [await credential_of(cases.store, account) for account in fleet]
    await condemn_all(cases, *fleet[:4])
    cases.clock.advance(MINUTE)
    cases.sink.events.clear()
    assert await condemn(cases, fleet[4]) is SPARED
    now = cases.clock.now()
    taken_back = [evolve(info, updated_at=now) for info in before[:4]]
    assert [await credential_of(cases.store, account) for account in fleet[:4]] == taken_back
    assert await credential_of(cases.store, fleet[4]) == before[4]  # never marked
    [record] = (await cases.store.clients.records()).records
    assert (record.opened_at, record.marks) == (now, (mark_of(fleet[4]),))
    revived = [(event.account, event.actor, event.code) for event in cases.sink.events[1:]]
    assert actions_of(cases) == [AuditAction.CLIENT_PAUSED, *[AuditAction.ACCOUNT_REVIVED] * 4]
    assert revived == [(account, "me", "invalid_grant") for account in fleet[:4]]


async def test_while_a_fleet_is_spared_nothing_is_condemned_but_after_days(cases, fleet):
    await condemn_all(cases, *fleet[:5])
    cases.clock.advance(RULES.longest - SECOND)
    assert await condemn(cases, fleet[5]) is SPARED
    cases.clock.advance(SECOND)
    assert await condemn(cases, fleet[6]) is CONDEMNED
    [record] = (await cases.store.clients.records()).records
    assert record.refused_at == cases.clock.now()


async def test_a_long_run_of_rejections_is_believed(cases, fleet):
    await condemn_all(cases, *fleet[:5])
    cases.clock.advance(SECOND)
    assert await condemn(cases, fleet[5], is_believed=True) is CONDEMNED
    assert await condemn(cases, fleet[6]) is SPARED
    assert await statuses(cases, fleet[5]) == {TokenStatus.INVALID}  # what a pause finds left over is older than itself


async def test_half_of_all_attempts_are_no_fleet(cases, fleet):
    for number in range(5):
        await store_tokens(cases, Account("t1", "google", f"good {number}"), refreshed=True)
    assert await condemn_all(cases, *fleet[:6]) == [*[CONDEMNED] * 5, SPARED]


async def test_old_rejections_and_those_of_other_clients_are_no_fleet(cases, fleet):
    await store_tokens(cases, OTHERS[0], client=OTHER)
    await condemn(cases, fleet[0])
    cases.clock.advance(RULES.window)
    attempt = await claim(cases.store, OTHERS[0])
    await AttemptLedger(cases.store.accounts).reject(attempt, "invalid_grant", actor=None)
    await store_tokens(cases, OTHERS[1])
    assert await condemn_all(cases, *fleet[1:4], OTHERS[1]) == [CONDEMNED] * 4
    assert await condemn(cases, fleet[5]) is SPARED
    assert await statuses(cases, fleet[0], OTHERS[0]) == {TokenStatus.INVALID}
    assert await statuses(cases, *fleet[1:4], OTHERS[1]) == {TokenStatus.VALID}


async def test_rejections_of_one_of_several_tenants_are_no_fleet(cases, fleet):
    await store_tokens(cases, OTHERS[0])
    assert await condemn_all(cases, *fleet[:6]) == [CONDEMNED] * 6
    assert await condemn(cases, OTHERS[0]) is SPARED
    assert await statuses(cases, *fleet) == {TokenStatus.VALID}


async def test_each_token_endpoint_has_a_pause_of_its_own(cases, fleet):
    await store_tokens(cases, OTHERS[0])
    assert [await condemn(cases, account, HERE) for account in (*fleet[:3], OTHERS[0])] == [CONDEMNED] * 4
    assert await condemn(cases, fleet[3], THERE) is CONDEMNED
    assert await condemn(cases, fleet[4]) is CONDEMNED
    assert await condemn(cases, fleet[5], HERE) is SPARED
    assert await statuses(cases, *fleet[:3]) == {TokenStatus.VALID}
    assert await statuses(cases, *fleet[3:5]) == {TokenStatus.INVALID}


async def test_a_value_that_another_writer_stored_stays(cases, fleet):
    attempt = await claim(cases.store, fleet[0])
    await store_tokens(cases, fleet[0])
    verdict = await cases.counting.condemn(attempt, "invalid_grant", SCOPE, is_believed=False, actor=None)
    assert (verdict, await statuses(cases, fleet[0])) == ((MOVED, False), {TokenStatus.VALID})


async def test_after_a_restore_rejections_of_older_credentials_are_believed(cases, fleet):
    await condemn_all(cases, *fleet[:5])
    cases.clock.advance(MINUTE)
    now = cases.clock.now()
    await cases.store.clients.note_restore(None, actor=None)
    cases.sink.events.clear()
    await cases.counting.end_mass_rejections()
    assert actions_of(cases) == [AuditAction.CLIENT_RESUMED]
    assert (await cases.store.clients.records()).records == []
    assert {await condemn(cases, account, stored_at=now - MINUTE) for account in fleet[4:]} == {CONDEMNED}
    assert await condemn(cases, fleet[0], stored_at=now) is CONDEMNED  # what was believed does not count as a mass
    new = [*OTHERS[:4], Account("t1", "google", "new")]
    for account in new:
        await store_tokens(cases, account)
    assert await condemn_all(cases, *new) == [*[CONDEMNED] * 4, SPARED]
    assert await statuses(cases, *fleet[4:]) == {TokenStatus.INVALID}


async def test_after_a_restore_the_accounts_that_were_spared_are_due(cases, fleet, monkeypatch):
    monkeypatch.setattr(client_ledger, "_AT_ONCE", 2)
    for number, account in enumerate(fleet[:5]):
        attempt = await claim(cases.store, account)
        code = "timeout" if number == 2 else MASS_REJECTION
        await AttemptLedger(cases.store.accounts).fail(attempt, Failure(code, HOUR, unknown=False))
    cases.clock.advance(MINUTE)
    await cases.counting.end_mass_rejections()
    states = [await state_of(cases.store, account) for account in fleet[:5]]
    assert [state.next_attempt_at is None for state in states] == [True, True, False, True, True]
    due = [await due_at(cases.store, account) for account in fleet[:5]]
    assert [each == cases.clock.now() for each in due] == [True, True, False, True, True]


class Late(Obstructed):
    """Lets rejections wait for one another, so that each is counted before any of them is stored."""

    def __init__(self, right, number):
        super().__init__(right, "reject")
        self._all = asyncio.Barrier(number)

    async def obstruct(self):
        await self._all.wait()


async def test_rejections_that_did_not_see_each_other_are_taken_back(cases, fleet):
    cases.store.refreshes = Late(cases.store.refreshes, 8)
    vaults = [cases.over() for _ in range(8)]
    verdicts = await asyncio.gather(*(condemn(*each) for each in zip(vaults, fleet, strict=False)))
    assert verdicts.count(SPARED) >= 4
    assert await statuses(cases, *fleet) == {TokenStatus.VALID}
    assert [event.code for event in cases.sink.events if event.action is AuditAction.CLIENT_PAUSED] == [MASS_REJECTION]


async def test_a_process_marks_no_more_than_it_takes_to_see_a_mass_rejection(cases, fleet):
    attempts = [await claim(cases.store, account) for account in fleet]
    judged = [cases.guard.condemn(attempt, "invalid_grant", actor=None) for attempt in attempts]
    verdicts = await asyncio.gather(*judged)
    assert (verdicts.count(CONDEMNED), verdicts.count(MASS_REJECTION)) == (4, 6)
    marked = [event.account for event in cases.sink.events if event.action is AuditAction.TOKEN_INVALIDATED]
    assert len(marked) == 4
    assert await statuses(cases, *fleet) == {TokenStatus.VALID}


async def test_a_run_of_rejections_goes_on_though_the_credential_is_taken_back(cases, fleet):
    attempt = await claim(cases.store, fleet[0])
    failure = Failure(MASS_REJECTION, MINUTE, unknown=False, refused=True)
    await AttemptLedger(cases.store.accounts).fail(attempt, failure)
    before = await state_of(cases.store, fleet[0])
    await condemn_all(cases, *fleet[:5])
    after = await state_of(cases.store, fleet[0])
    assert after.refused_since == before.refused_since is not None
    assert (after.failures, after.error_code) == (1, MASS_REJECTION)


@pytest.mark.parametrize("who", ["the next rejection", "the end of the pause"])
async def test_what_a_process_that_died_left_condemned_is_taken_back(cases, fleet, who):
    class Dying(Obstructed):
        async def obstruct(self):
            raise StorageError

    await condemn_all(cases, *fleet[:4])
    changes = cases.store.changes
    cases.store.changes = Dying(changes, "revive")
    with pytest.raises(StorageError):
        await condemn(cases.over(), fleet[4])
    cases.store.changes = changes
    assert await statuses(cases, *fleet[:4]) == {TokenStatus.INVALID}
    cases.clock.advance(2 * RULES.window)
    if who == "the next rejection":
        assert await condemn(cases, fleet[5]) is SPARED
    else:
        assert await cases.counting.close(SCOPE, await cases.store.clients.records())
    assert await statuses(cases, *fleet) == {TokenStatus.VALID}


async def test_a_count_that_began_again_meanwhile_keeps_what_it_has_counted_since(cases, fleet):
    """Another process has begun a new count after the success, and before this refusal is stored."""
    scope = evolve(SCOPE, reason=INVALID_CLIENT)
    other = cases.over()

    class Overtaken(Obstructed):
        async def obstruct(self):
            cases.store.clients = clients
            await other.counting.close(scope, await clients.records())
            await other.counting.refuse(scope, fleet[1])

    await cases.counting.refuse(scope, fleet[0])
    cases.clock.advance(SECOND)
    await store_tokens(cases, fleet[5], refreshed=True)
    cases.clock.advance(SECOND)
    clients = cases.store.clients
    cases.store.clients = Overtaken(clients, "change")
    await cases.over().counting.refuse(scope, fleet[2])
    [record] = (await clients.records()).records
    assert record.marks == (mark_of(fleet[1]), mark_of(fleet[2]))


async def test_only_credentials_are_taken_back(cases, fleet):
    marked = await credential_of(cases.store, fleet[9])
    await cases.writing.mark_invalid(marked, "revoked", actor=None)
    assert await condemn_all(cases, *fleet[:5]) == [*[CONDEMNED] * 4, SPARED]
    info = await credential_of(cases.store, fleet[9])
    assert (info.status, info.error_code, info.key.kind) == (TokenStatus.INVALID, "revoked", TokenKind.REFRESH_TOKEN)
