"""Refreshing for a caller, and sweeps, in virtual time."""

import asyncio
from datetime import timedelta

import pytest
from attrs import evolve
from tests.services.conftest import ACCESS, ACCOUNT, HOUR, REFRESH, TIMING, answer
from tests.services.fakes import Failing, MemoryJournal, Obstructed, VirtualTasks

from vault_adapters import (
    AuditAction,
    ProviderConfigurationError,
    ReauthorizationRequiredError,
    RefreshFailedError,
    RefreshNotPersistedError,
    Rotation,
    Secret,
    StorageError,
    SweepReport,
    TokenKind,
    TokenNotFoundError,
)
from vault_adapters.testing import ScriptedRefresher
from vault_adapters.testing.contract.master_keys import replace
from vault_adapters.testing.contract.refreshing import claimed, state_of
from vault_domain.entities.token import TokenDraft
from vault_domain.services.refresh.attempt_ledger import AttemptLedger

AWAY = StorageError("away", retryable=True)


async def ensure(cases, account=ACCOUNT):
    return (await cases.refreshing.ensure(account, None, actor="me")).value.reveal()


async def test_a_usable_token_costs_no_refresh(cases, refresher):
    cases = cases.over(refreshers={"google": refresher})
    await cases.connect()
    assert await ensure(cases) == "access-0"
    assert refresher.calls == []


async def test_an_expired_token_is_refreshed_once_for_all_who_ask(connected, refresher):
    refresher.then(answer(1))
    assert await asyncio.gather(*(ensure(connected) for _ in range(9))) == ["access-1"] * 9
    assert len(refresher.calls) == 1
    assert connected.sink.actions.count(AuditAction.TOKEN_REFRESHED) == 1
    assert connected.sink.events[-1].actor == "me"


async def test_whoever_holds_the_lease_is_waited_for(connected, refresher):
    await claimed(connected.store)
    polls = []

    async def answer_at_last():
        polls.append(connected.clock.now())
        if len(polls) == 5:
            await connected.connect(number=7)

    connected.tasks.during_sleep = answer_at_last
    assert await ensure(connected) == "access-7"
    assert (len(polls), refresher.calls) == (5, [])


async def test_a_holder_that_died_is_not_waited_for_beyond_its_lease(connected, refresher):
    await claimed(connected.store)
    with pytest.raises(RefreshFailedError) as caught:
        await ensure(connected)
    assert caught.value.retry_after == TIMING.quiescence  # the outcome is unknown, and the rotation policy is strict
    assert connected.tasks.monotonic() == pytest.approx(TIMING.lease.total_seconds())


class LostAcknowledgement:
    """A ledger that stores the first claim and then raises an error, as if the claim had failed."""

    def __init__(self, right, withdraw=None):
        self._right, self._lost, self.withdraw = right, False, withdraw or right.withdraw

    def __getattr__(self, name):
        return getattr(self._right, name)

    async def claim(self, attempt, seen):
        claimed_at = await self._right.claim(attempt, seen)
        if self._lost:
            return claimed_at
        self._lost = True
        raise AWAY


@pytest.mark.parametrize("failures", [0, 3])
async def test_a_claim_whose_acknowledgement_was_lost_does_not_stop_the_next_caller(connected, refresher, failures):
    ledger = connected.store.refreshes
    withdraw = Failing(ledger, "withdraw", AWAY, times=failures).withdraw
    cases = connected.over(store=evolve(connected.store, refreshes=LostAcknowledgement(ledger, withdraw)))
    refresher.then(answer(1))
    with pytest.raises(StorageError):
        await ensure(cases)
    assert (await state_of(connected.store)).lease_until is None
    assert await ensure(cases) == "access-1"
    assert len(refresher.calls) == 1


async def test_a_lost_claim_is_not_released_for_ever(connected):
    away = Failing(connected.store.refreshes, "withdraw", AWAY)
    ledger = LostAcknowledgement(connected.store.refreshes, away.withdraw)
    with pytest.raises(StorageError):
        await ensure(connected.over(store=evolve(connected.store, refreshes=ledger)))
    assert connected.tasks.monotonic() < 2 * TIMING.lease.total_seconds()


async def test_without_rotation_the_next_caller_takes_over_after_the_lease(connected):
    cases = connected.over(refreshers={"google": ScriptedRefresher(answer(2), rotation=Rotation.non_rotating())})
    await claimed(cases.store)
    assert await ensure(cases) == "access-2"


async def test_a_failure_is_noted_and_told(connected, refresher):
    refresher.then(RefreshFailedError(reason="temporarily_unavailable"), RefreshFailedError())
    for passed, wait in ((0, 1.0), (0.4, 0.6), (0.6, 2.0)):
        connected.clock.advance(timedelta(seconds=passed))
        with pytest.raises(RefreshFailedError) as caught:
            await ensure(connected)
        assert caught.value.retry_after == timedelta(seconds=wait)
    assert ((await state_of(connected.store)).failures, len(refresher.calls)) == (2, 2)


async def test_inside_the_buffer_a_failure_gives_the_token_that_serves(cases):
    cases = cases.over(refreshers={"google": ScriptedRefresher(RefreshFailedError())})
    await cases.connect()
    cases.clock.advance(HOUR - timedelta(minutes=1))
    assert await ensure(cases) == "access-0"


async def test_a_dead_credential_is_marked(connected, refresher):
    refresher.then(ReauthorizationRequiredError(reason="invalid_grant"))
    for _ in range(2):
        with pytest.raises(ReauthorizationRequiredError) as caught:
            await ensure(connected)
        assert caught.value.reason == "invalid_grant"
    assert len(refresher.calls) == 1
    assert (await connected.store.accounts.get(REFRESH)).row.info.error_code == "invalid_grant"


async def test_what_a_refresher_raises_by_mistake_is_an_unknown_outcome(connected, refresher):
    refresher.then(ZeroDivisionError("refresh-0"))
    with pytest.raises(RefreshFailedError) as caught:
        await ensure(connected)
    assert caught.value.outcome_unknown
    assert (await state_of(connected.store)).unknown_since == connected.clock.now()


async def test_nothing_stored_and_nobody_to_ask(cases):
    with pytest.raises(TokenNotFoundError):
        await ensure(cases)
    await cases.connect()
    cases.clock.advance(HOUR)
    with pytest.raises(ProviderConfigurationError):
        await ensure(cases)


@pytest.mark.parametrize("reason", ["http_404", "redirect"])
async def test_a_caller_after_a_wrong_address_hears_that_waiting_does_not_help(connected, refresher, reason):
    """A later caller hears the same as the caller of the attempt, although such an answer is no definite refusal."""
    refresher.then(ProviderConfigurationError(reason=reason, refused=False))
    for _ in range(2):
        with pytest.raises(ProviderConfigurationError) as caught:
            await ensure(connected)
        assert caught.value.reason == reason
    assert len(refresher.calls) == 1


async def test_a_confirmed_rejection_neither_reads_nor_uses_the_token_again(cases):
    key = ACCOUNT.key(TokenKind.API_KEY)
    [info] = await cases.writing.store([TokenDraft(key, Secret("key"))], actor=None)
    cases.clock.advance(HOUR)
    await cases.rejections.report(info, actor=None)
    await cases.uses.flush()
    used = (await cases.store.accounts.get(key)).row.info.last_used_at
    cases.clock.advance(timedelta(minutes=5))
    with pytest.raises(ReauthorizationRequiredError):
        await cases.rejections.report(info, actor=None)
    await cases.uses.flush()
    assert (await cases.store.accounts.get(key)).row.info.last_used_at == used


async def test_an_answer_outlives_a_database_that_is_away(connected, refresher):
    ledger = Failing(connected.store.refreshes, "commit", AWAY)
    cases = connected.over(store=evolve(connected.store, refreshes=ledger))
    refresher.then(answer(1))
    assert await ensure(cases) == "access-1"  # the answer waits in the journal
    assert cases.keeper.is_pending(ACCOUNT)
    ledger.left = 0
    assert await ensure(cases) == "access-1"
    assert not cases.keeper.is_pending(ACCOUNT)
    assert (await cases.tokens.get(REFRESH)).value.reveal() == "refresh-1"
    assert (await cases.journal.entries(), len(refresher.calls)) == ([], 1)


async def test_without_a_journal_the_caller_is_told(connected, refresher):
    ledger = Failing(connected.store.refreshes, "commit", AWAY)
    cases = connected.over(store=evolve(connected.store, refreshes=ledger), journal=MemoryJournal(is_full=True))
    refresher.then(answer(1))
    with pytest.raises(RefreshNotPersistedError):
        await ensure(cases)
    ledger.left = 0
    await cases.keeper.retry_all()
    assert (await cases.tokens.get(ACCESS)).value.reveal() == "access-1"


async def test_a_journal_of_a_process_that_died_is_committed(connected, refresher):
    ledger = Failing(connected.store.refreshes, "commit", AWAY)
    refresher.then(answer(1))
    assert await ensure(connected.over(store=evolve(connected.store, refreshes=ledger))) == "access-1"
    assert await connected.over().keeper.recover() == 1
    assert (await connected.tokens.get(REFRESH)).value.reveal() == "refresh-1"
    assert await connected.journal.entries() == []


async def test_an_answer_is_sealed_again_if_the_data_key_was_rotated_meanwhile(connected, refresher):
    async def rotate(request):
        active = await connected.store.keys.data_key(ACCOUNT.tenant_id, None)
        new = await connected.cipher.make_data_key(ACCOUNT.tenant_id)
        await replace(connected.store.keys, active.key_id, new)
        rotated.append(new.key_id)
        return answer(1)

    rotated = []
    refresher.then(rotate)
    assert await ensure(connected) == "access-1"
    rows, _ = await connected.store.accounts.get_many([ACCESS, REFRESH])
    assert [row.sealed.data_key_id for row in rows] == rotated * 2


async def test_a_rejected_token_is_refreshed_unless_it_is_young(connected, refresher):
    refresher.then(answer(1))
    [info] = [row.info for row in (await connected.store.accounts.get_many([ACCESS]))[0]]
    token = await connected.rejections.report(info, actor=None)
    assert token.value.reveal() == "access-1"
    assert (await connected.rejections.report(token.info, actor=None)).value.reveal() == "access-1"
    assert len(refresher.calls) == 1


class StoppedTasks(VirtualTasks):
    """The process is stopped for half a minute after the last look at the lease, before the request's task begins."""

    async def share(self, key, work, timeout=None):
        if isinstance(key, tuple) and key[0] == "exchange":
            self._time += 30
        return await super().share(key, work, timeout)


async def test_a_process_that_was_stopped_after_its_last_look_at_the_lease_sends_nothing(connected, refresher):
    connected.clock.advance(HOUR)
    cases = connected.over(tasks=StoppedTasks(connected.clock))
    with pytest.raises(RefreshFailedError) as caught:
        await cases.refreshing.ensure(ACCOUNT, None, actor=None)
    assert (caught.value.outcome_unknown, refresher.calls) == (False, [])


class SlowClaims(Obstructed):
    """A ledger whose claims take longer than `RefreshTiming.slack`, so that the provider is never called."""

    def __init__(self, right, tasks):
        super().__init__(right, "claim")
        self._tasks, self.calls = tasks, 0

    async def obstruct(self):
        self.calls += 1
        assert self.calls < 100
        await self._tasks.sleep(6)


async def test_a_database_that_is_always_too_slow_holds_a_caller_for_three_leases(connected, refresher):
    connected.clock.advance(HOUR)
    slow = SlowClaims(connected.store.refreshes, connected.tasks)
    cases = connected.over(store=evolve(connected.store, refreshes=slow))
    began = cases.tasks.monotonic()
    with pytest.raises(RefreshFailedError):
        await cases.refreshing.ensure(ACCOUNT, None, actor=None)
    assert cases.tasks.monotonic() - began <= 3 * TIMING.lease.total_seconds() + 6
    assert refresher.calls == []


# Sweeps


async def sweep(cases, limit=None, should_stop=None):
    return await cases.sweeping.sweep(limit, should_stop, actor="sweep")


@pytest.fixture
async def many(cases, refresher):
    """Give the use cases with fifty accounts that are due."""
    cases = cases.over(refreshers={"google": refresher})
    for number in range(50):
        await cases.connect(evolve(ACCOUNT, identifier=f"{number:02}"), lifetime=3600 + number)
    cases.clock.advance(HOUR)
    return cases


async def test_a_sweep_refreshes_all_that_is_due(many, refresher):
    refresher.then(*map(answer, range(50)))
    assert await sweep(many) == SweepReport(claimed=50, refreshed=50)
    assert await sweep(many) == SweepReport()
    assert [call.account.identifier for call in refresher.calls] == [f"{number:02}" for number in range(50)]
    assert many.sink.events[-1].actor == "sweep"


async def test_a_sweep_keeps_to_its_limit(many, refresher):
    refresher.then(*map(answer, range(50)))
    assert await sweep(many, limit=25) == SweepReport(claimed=25, refreshed=25)
    assert [call.account.identifier for call in refresher.calls] == [f"{number:02}" for number in range(25)]


async def test_a_sweep_stops_between_batches(many, refresher):
    refresher.then(*map(answer, range(50)))
    report = await sweep(many, should_stop=lambda: len(refresher.calls) > 0)
    assert (report.claimed, report.refreshed) == (20, 20)


async def test_what_fails_stays_with_its_account(many, refresher):
    ends = [ReauthorizationRequiredError(), RefreshFailedError(), ZeroDivisionError()]
    refresher.then(*ends, *map(answer, range(47)))
    assert await sweep(many) == SweepReport(claimed=50, refreshed=47, failed=2, reauthorization_required=1)


async def test_a_store_that_fails_in_the_middle_fails_that_account_only(many, refresher):
    refresher.then(*map(answer, range(50)))
    ledger = Failing(many.store.refreshes, "claim", AWAY, times=3)
    report = await sweep(many.over(store=evolve(many.store, refreshes=ledger)))
    assert report == SweepReport(claimed=47, refreshed=47, failed=3)


async def test_a_provider_that_refuses_the_client_is_left_alone(many, refresher):
    refresher.then(*[ProviderConfigurationError(reason="invalid_client")] * 50)
    assert (await sweep(many)).claimed == 20
    assert await sweep(many) == SweepReport()
    assert len(refresher.calls) <= 20


async def test_what_is_due_too_early_is_scheduled_by_the_rules(cases, refresher):
    cases = cases.over(refreshers={"google": refresher})
    await cases.connect()
    await AttemptLedger(cases.store.accounts).reschedule(ACCOUNT, lambda record, now: now)
    assert await sweep(cases) == SweepReport()
    due, _ = await cases.store.accounts.reserve_due(
        "google", hold=HOUR, limit=1, since=None, until=cases.clock.now() + HOUR
    )
    assert [each.due_at for each in due] == [cases.clock.now() + timedelta(minutes=50)]
    assert refresher.calls == []


class Overtaken(Obstructed):
    """A ledger that somebody else's new access token overtakes, just before the first claim."""

    def __init__(self, right, cases):
        super().__init__(right, "claim")
        self._cases, self._is_over = cases, False

    async def obstruct(self):
        if not self._is_over:
            self._is_over = True
            await self._cases.writing.store([TokenDraft(ACCESS, Secret("theirs"))], actor=None)


async def test_an_access_token_that_came_after_the_decision_costs_no_refresh(connected, refresher):
    ledger = Overtaken(connected.store.refreshes, connected)
    cases = connected.over(store=evolve(connected.store, refreshes=ledger))
    assert await ensure(cases) == "theirs"
    assert refresher.calls == []
    assert (await state_of(cases.store)).lease_until is None


async def test_who_asks_without_the_identifier_learns_that_there_is_one(connected, refresher):
    """The error says that the tenant has such accounts, and not which; a found token costs no such look."""
    with pytest.raises(TokenNotFoundError, match="under other identifiers") as caught:
        await ensure(connected, evolve(ACCOUNT, identifier="another"))
    assert caught.value.reason == "other_identifier"
    assert ACCOUNT.identifier is None or ACCOUNT.identifier not in str(caught.value)
    for stranger in (evolve(ACCOUNT, tenant_id="tenant-9"), evolve(ACCOUNT, provider="other")):
        with pytest.raises(TokenNotFoundError) as caught:
            await ensure(connected, stranger)
        assert caught.value.reason is None
    assert refresher.calls == []


async def test_a_bad_key_names_the_operator(cases, refresher):
    """A service account's key has no user who could connect it again."""
    refresher = ScriptedRefresher(spends=TokenKind.API_KEY)
    cases = cases.over(refreshers={"google": refresher})
    key = TokenDraft(ACCOUNT.key(TokenKind.API_KEY), Secret("service account"))
    await cases.writing.store([key], actor=None)
    refresher.then(ReauthorizationRequiredError(reason="invalid_grant"))
    for _ in range(2):
        with pytest.raises(ReauthorizationRequiredError, match="operator") as caught:
            await ensure(cases)
        assert (caught.value.code, caught.value.reason) == ("key_rejected", "invalid_grant")
