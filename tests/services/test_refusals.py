"""Accounts that a provider refuses, and many accounts that are asked for at once, in virtual time."""

import asyncio
from contextlib import suppress
from datetime import timedelta

import pytest
from attrs import evolve
from tests.services.conftest import ACCOUNT, HOUR, TIMING, answer
from tests.services.fakes import Crowded, LimitedTasks, settle

from vault_adapters import (
    Account,
    AuditAction,
    ProviderConfigurationError,
    ReauthorizationRequiredError,
    RefreshFailedError,
    SweepReport,
    TokenStatus,
    VaultError,
)
from vault_domain.ports.pages import Condemned
from vault_domain.rules.refusals import LONGEST_BACKOFF
from vault_domain.services.refresh.attempt_ledger import AttemptLedger
from vault_domain.services.tokens.revival import RevivalService

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
MONTH = 30 * DAY


class Refusing:
    """A provider that refuses every request with the same error; without an error, it answers."""

    def __init__(self, refresher, error):
        self.spends, self.rotation, self.error, self.calls = refresher.spends, refresher.rotation, error, 0

    async def refresh(self, request):
        self.calls += 1
        if self.error is None:
            return answer(self.calls)
        raise self.error


def refusing(connected, refresher, error=None):
    provider = Refusing(refresher, error or ProviderConfigurationError())
    return connected.over(refreshers={"google": provider}), provider


async def ask(cases, account=ACCOUNT):
    """Ask for a token that there is not; return the error."""
    with pytest.raises(VaultError) as caught:
        await cases.refreshing.ensure(account, None, actor=None)
    return caught.value


def moments():
    """Give the times at which a host asks in a month: each minute of the first five hours, then each hour."""
    return [number * MINUTE for number in range(300)] + [number * HOUR for number in range(5, 721)]


async def test_callers_send_twenty_requests_at_most_for_a_dead_grant_in_a_month(connected, refresher):
    cases, provider = refusing(connected, refresher)
    start, errors = cases.clock.now(), []
    for moment in moments():
        cases.clock.set(start + moment)
        errors.append(await ask(cases))
    assert 5 <= provider.calls <= 20
    [first, *_] = [moment for moment, error in zip(moments(), errors, strict=True) if error.reason == "exhausted"]
    assert 4 * DAY <= first < 7 * DAY
    assert all(isinstance(error, ReauthorizationRequiredError) for error in errors[moments().index(first) :])


async def test_sweeps_send_twenty_requests_at_most_for_a_dead_grant_in_a_month(connected, refresher):
    cases, provider = refusing(connected, refresher)
    start, reports = cases.clock.now(), []
    for moment in moments():
        cases.clock.set(start + moment)
        reports.append(await cases.sweeping.sweep(None, None, actor=None))
    assert 5 <= provider.calls <= 20
    assert sum(report.reauthorization_required for report in reports) == 1
    assert sum(report.claimed for report in reports) == provider.calls


@pytest.mark.parametrize(
    "error",
    [
        RefreshFailedError(),
        RefreshFailedError(reason="temporarily_unavailable"),
        ProviderConfigurationError(reason="invalid_client"),
        ProviderConfigurationError(refused=False),
    ],
)
async def test_an_outage_condemns_nobody_and_is_over_within_an_hour(connected, refresher, error):
    cases, _ = refusing(connected, refresher, error)
    for _ in range(60):
        await ask(cases)
        cases.clock.advance(4 * HOUR)
    snapshot = await cases.store.accounts.read(ACCOUNT)
    record, now = snapshot.record, snapshot.now
    assert record.refresh.next_attempt_at - now + 4 * HOUR <= LONGEST_BACKOFF
    assert record.refresh.refused_since is None
    cases = cases.over(refreshers={"google": refresher.then(answer(1))})
    assert (await cases.refreshing.ensure(ACCOUNT, None, actor=None)).value.reveal() == "access-1"


async def test_another_account_of_the_provider_is_not_affected(connected, refresher):
    other = Account("t2", "google")
    await connected.connect(other)
    connected.clock.advance(HOUR)
    refresher.then(ProviderConfigurationError(), answer(1))
    await ask(connected)
    assert (await connected.refreshing.ensure(other, None, actor=None)).value.reveal() == "access-1"


async def test_the_run_of_an_exhausted_account_begins_anew_when_it_is_revived(connected, refresher):
    cases, provider = refusing(connected, refresher)
    begin = cases.clock.now()
    while (await ask(cases)).reason != "exhausted":
        cases.clock.advance(DAY)
    calls = provider.calls
    report = await RevivalService(
        cases.noticed.accounts, cases.noticed.pages, cases.writing._changes, cases.sink
    ).revive(Condemned("google", begin), dry_run=False, progress=None, actor=None)
    assert report.revived == 1
    assert cases.sink.actions[-3:] == [
        AuditAction.TOKEN_INVALIDATED,
        AuditAction.REAUTHORIZATION_REQUIRED,
        AuditAction.ACCOUNT_REVIVED,
    ]
    assert (await ask(cases)).reason is None
    cases.clock.advance(DAY)
    assert (await ask(cases)).reason is None
    assert provider.calls == calls + 2


@pytest.mark.parametrize("unknown", [False, True], ids=["known", "after an unknown outcome"])
@pytest.mark.parametrize("code", [None, "invalid_request", "unreadable_answer", "invalid_scope", "http_404"])
async def test_a_caller_in_the_backoff_gets_the_error_of_the_refused_attempt(connected, refresher, code, unknown):
    if unknown:
        refresher.then(RefreshFailedError(reason="timeout", outcome_unknown=True))
        assert (await ask(connected)).outcome_unknown
        connected.clock.advance(HOUR)
    refresher.then(ProviderConfigurationError(reason=code))
    for _ in range(3):
        error = await ask(connected)
        assert (type(error), error.reason) == (ProviderConfigurationError, code)
    assert (await connected.accounts.get(ACCOUNT)).reason == (code or "refused")
    assert len(refresher.calls) == 1 + unknown
    refresher.then(RefreshFailedError(retry_after=MINUTE), RefreshFailedError(reason="temporarily_unavailable"))
    for reason in (None, "temporarily_unavailable"):
        connected.clock.advance(HOUR)
        for _ in range(2):
            error = await ask(connected)
            if unknown and reason is None:
                continue  # nothing that is stored distinguishes this failure from the refusal before it
            assert (type(error), error.reason) == (RefreshFailedError, reason)


class Owned(Refusing):
    """A provider that refuses every request; its refresher has a client id."""

    def __init__(self, refresher, client_id):
        super().__init__(refresher, ProviderConfigurationError())
        self.client_id = client_id

    def client_id_of(self, account):
        return self.client_id


async def test_refusals_under_another_client_exhaust_nothing(connected, refresher):
    own, other = (connected.over(refreshers={"google": Owned(refresher, name)}) for name in ("own", "other"))
    await own.connect()
    own.clock.advance(HOUR)
    for _ in range(10):
        own.clock.advance(DAY)
        error = await ask(other)
        assert (type(error), error.reason) == (ProviderConfigurationError, "client_mismatch")
    snapshot = await own.store.accounts.read(ACCOUNT)
    record, now = snapshot.record, snapshot.now
    assert all(token.status is TokenStatus.VALID for token in record.tokens.values())
    assert record.refresh.refused_since is None
    assert record.refresh.next_attempt_at - now <= 5 * MINUTE
    own.clock.advance(DAY)
    assert (await ask(own)).reason is None
    assert (await own.store.accounts.read(ACCOUNT)).record.refresh.refused_for == timedelta(0)


async def test_pages_share_one_schedule(cases, refresher):
    accounts = [Account("t1", "google", str(number)) for number in range(4)]
    cases = cases.over(refreshers={"google": refresher})
    for account in accounts:
        await cases.connect(account)
    cases.clock.advance(HOUR)
    refresher.then(*[ReauthorizationRequiredError()] * len(accounts))
    begin = cases.clock.now()
    assert (await cases.sweeping.sweep(None, None, actor=None)).reauthorization_required == len(accounts)
    seen = []
    await RevivalService(
        cases.noticed.accounts, cases.noticed.pages, cases.writing._changes, cases.sink, per_page=3
    ).revive(Condemned("google", begin), dry_run=False, progress=seen.append, actor=None)
    assert [report.revived for report in seen] == [3, 4]
    due, now = await cases.store.accounts.reserve_due(
        "google", hold=HOUR, limit=1000, since=None, until=begin + 2 * HOUR
    )
    assert [each.due_at - now for each in due] == [timedelta(seconds=0.1) * number for number in range(4)]


# Many accounts at once


@pytest.fixture
async def crowded(cases, refresher):
    """Give the use cases, a provider and its 70 accounts: each has a tenant of its own and an expired access token."""
    tasks = LimitedTasks(cases.clock)
    provider = Crowded(refresher, tasks, answer)
    cases = cases.over(refreshers={"google": provider}, tasks=tasks)
    accounts = [Account(f"t{number}", "google") for number in range(70)]
    for account in accounts:
        await cases.connect(account, lifetime=86_400)
    cases.clock.advance(DAY)
    return cases, provider, accounts


async def test_callers_send_32_requests_at_a_time(crowded):
    cases, provider, accounts = crowded
    calls = [asyncio.ensure_future(cases.refreshing.ensure(account, None, actor=None)) for account in accounts]
    await settle()
    assert len(provider.waiting) == 32
    await provider.answer_all()
    assert len({token.value.reveal() for token in await asyncio.gather(*calls)}) == len(accounts)
    assert (provider.most, provider.calls) == (32, len(accounts))


async def test_callers_and_sweeps_share_the_32_requests(crowded):
    cases, provider, accounts = crowded
    calls = [asyncio.ensure_future(cases.refreshing.ensure(account, None, actor=None)) for account in accounts[:30]]
    await settle()
    sweep = asyncio.ensure_future(cases.sweeping.sweep(None, None, actor=None))
    await settle()
    assert len(provider.waiting) == 32
    await provider.answer_all()
    await asyncio.gather(*calls)
    assert (await sweep).refreshed == len(accounts) - 30
    assert provider.most == 32


async def test_no_lease_runs_while_a_caller_waits_for_its_turn(crowded):
    cases, provider, accounts = crowded
    claims = []
    claim = AttemptLedger(cases.store.accounts).claim

    class Counting:
        def __getattr__(self, name):
            return getattr(ledger, name)

        async def claim(self, attempt, seen):
            claims.append(attempt.account)
            return await claim(attempt, seen)

    ledger = cases.store.refreshes
    cases = cases.over(store=evolve(cases.store, refreshes=Counting()))
    calls = [asyncio.ensure_future(cases.refreshing.ensure(account, None, actor=None)) for account in accounts]
    await settle()
    assert len(claims) == 32
    await provider.answer_all()
    await asyncio.gather(*calls)
    assert len(claims) == len(set(claims)) == len(accounts)


async def test_a_caller_who_waited_for_its_turn_gets_what_another_process_has_stored(crowded):
    cases, provider, accounts = crowded
    last = accounts[-1]
    calls = [asyncio.ensure_future(cases.refreshing.ensure(account, None, actor=None)) for account in accounts]
    await settle()
    await cases.tasks.sleep(10 * TIMING.lease.total_seconds())
    await cases.connect(last, number=999, lifetime=86_400)
    await provider.answer_all()
    assert (await calls[-1]).value.reveal() == "access-999"
    assert provider.calls == len(accounts) - 1
    with suppress(VaultError):
        await asyncio.gather(*calls)


async def test_accounts_of_another_provider_have_turns_of_their_own(crowded, refresher):
    cases, provider, accounts = crowded
    other = Account("t1", "github")
    cases = cases.over(refreshers=cases.refreshers | {"github": refresher.then(answer(1000))})
    await cases.connect(other)
    cases.clock.advance(HOUR)
    calls = [asyncio.ensure_future(cases.refreshing.ensure(account, None, actor=None)) for account in accounts]
    await settle()
    assert (await cases.refreshing.ensure(other, None, actor=None)).value.reveal() == "access-1000"
    await provider.answer_all()
    await asyncio.gather(*calls)
    assert await cases.sweeping.sweep(None, None, actor=None) == SweepReport()


async def test_a_mass_rejection_delays_an_exhaustion_and_does_not_begin_its_run_anew(connected, refresher):
    others = [Account(f"t{number}", "google") for number in range(6)]
    refused, rejected = ProviderConfigurationError(reason="invalid_request"), ReauthorizationRequiredError()
    cases, provider = refusing(connected, refresher, refused)
    for _ in range(4):
        assert (await ask(cases)).reason == "invalid_request"
        cases.clock.advance(DAY)
    for account in others:
        await cases.connect(account)
    cases.clock.advance(HOUR)
    provider.error = rejected
    for account in others:
        await ask(cases, account)
    provider.error = refused
    for _ in range(3):
        assert (await ask(cases)).reason == "mass_rejection"
        cases.clock.advance(6 * MINUTE)
    provider.error = None
    await cases.refreshing.ensure(others[0], None, actor=None)  # this success ends the pause
    provider.error = refused
    assert (await ask(cases)).reason == "exhausted"
