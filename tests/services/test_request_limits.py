"""A fleet sends no more token requests than its provider accepts, and callers with a valid token do not wait."""

import random
from collections import defaultdict
from contextlib import suppress
from datetime import timedelta

import pytest
from tests.services.conftest import HOUR, Cases
from tests.services.fakes import EventList, MemoryJournal, PlainCipher, VirtualTasks

from vault_adapters import Account, TokenKind, TokenSet
from vault_adapters.testing import ManualClock
from vault_domain.entities.errors import RefreshFailedError
from vault_domain.entities.request_limit import Counted, RequestLimit
from vault_domain.entities.rotation_policy import Rotation
from vault_domain.rules.pacing import RATE_LIMITED, Turns, next_turn

TEN_IN_TEN = RequestLimit(10, timedelta(minutes=10))
TEN_FOR_EACH = RequestLimit(10, timedelta(minutes=10), Counted.ACCOUNT)
MINUTE = timedelta(minutes=1)


class LimitedProvider:
    """A provider that refuses what is over its limit, and keeps what it has accepted and refused."""

    rotation = Rotation.non_rotating()
    spends = TokenKind.REFRESH_TOKEN

    def __init__(self, clock, limit, lifetime=3600):
        self.request_limit, self._clock, self._lifetime = limit, clock, lifetime
        self.accepted, self.refused = defaultdict(list), 0

    async def refresh(self, request):
        times = self.accepted[request.account if self.request_limit.counted is Counted.ACCOUNT else None]
        now = self._clock.now()
        if len([time for time in times if time > now - self.request_limit.per]) >= self.request_limit.requests:
            self.refused += 1
            raise RefreshFailedError(reason="temporarily_unavailable")
        times.append(now)
        return TokenSet(f"access-{len(times)}", expires_in=self._lifetime)

    @property
    def requests(self):
        return sum(map(len, self.accepted.values()))


async def fleet(cases, size, lifetime=3600):
    accounts = [Account(f"t{number}", "google", "ann") for number in range(size)]
    for account in accounts:
        await cases.connect(account, lifetime=lifetime)
    return accounts


def processes(cases, provider, count):
    """Return the use cases of several processes over one store."""
    return [
        Cases(
            cases.store,
            cases.clock,
            PlainCipher(cases.store.keys),
            EventList(),
            Tasks(cases.clock, number),
            MemoryJournal(),
            {"google": provider},
        )
        for number in range(count)
    ]


class Tasks(VirtualTasks):
    """Virtual tasks of one process: the monotonic time is that of the shared clock, and ids differ by process."""

    def __init__(self, clock, number):
        super().__init__(clock)
        self._start, self._at, self._process = clock.now(), clock, number

    def monotonic(self):
        return (self._at.now() - self._start).total_seconds()

    def jitter(self):
        return self._process / 10

    def new_id(self):
        return type(super().new_id())(int=super().new_id().int + (self._process << 64))


async def test_a_fleet_of_500_accounts_is_never_refused(cases):
    provider = LimitedProvider(cases.clock, TEN_IN_TEN)
    fleet_of_processes = processes(cases, provider, 3)
    accounts = await fleet(fleet_of_processes[0], 500)
    for minute in range(0, 150, 2):
        await fleet_of_processes[minute % 3].sweeping.sweep(None, None, actor=None)
        caller = fleet_of_processes[(minute + 1) % 3]
        if minute < 55:  # everybody's token is still valid
            token = await caller.refreshing.ensure(accounts[minute], None, actor=None)
            assert token.value.reveal().startswith("access-")
        cases.clock.advance(2 * MINUTE)
    assert provider.refused == 0
    assert provider.requests > 60  # accounts are due for 100 minutes, in which the limit allows 100 requests


async def test_requests_of_one_account_are_spaced_over_the_fleet(cases):
    provider = LimitedProvider(cases.clock, TEN_FOR_EACH)
    one, other = processes(cases, provider, 2)
    [account] = await fleet(one, 1)
    for second in range(0, 1200, 5):
        caller = (one, other)[second % 2]
        with suppress(RefreshFailedError):
            await caller.refreshing.refresh(account, actor=None)
        cases.clock.advance(timedelta(seconds=5))
    assert (provider.requests, provider.refused) == (19, 0)  # 63 seconds apart, by the margin of 5 %


async def test_who_has_no_token_is_told_of_the_limit_of_one_account(cases):
    provider = LimitedProvider(cases.clock, TEN_FOR_EACH, lifetime=30)
    [process] = processes(cases, provider, 1)
    [account] = await fleet(process, 1)
    cases.clock.advance(HOUR)
    await process.refreshing.ensure(account, None, actor=None)
    cases.clock.advance(timedelta(seconds=40))
    for call in (process.refreshing.ensure(account, None, actor=None), process.refreshing.refresh(account, actor=None)):
        with pytest.raises(RefreshFailedError) as caught:
            await call
        assert (caught.value.reason, caught.value.retry_after) == (RATE_LIMITED, timedelta(seconds=23))


async def test_who_has_no_token_waits_for_a_near_turn_and_is_told_of_a_far_one(cases):
    near = LimitedProvider(cases.clock, RequestLimit(1, timedelta(seconds=5)))
    [process] = processes(cases, near, 1)
    first, second = await fleet(process, 2)
    cases.clock.advance(HOUR)
    began = cases.clock.now()
    for account in (first, second):
        await process.refreshing.ensure(account, None, actor=None)
    assert timedelta(seconds=5) <= cases.clock.now() - began < timedelta(seconds=6)
    far = LimitedProvider(cases.clock, RequestLimit(1, timedelta(minutes=5)))
    _, process = processes(cases, far, 2)
    cases.clock.advance(2 * HOUR)
    await process.refreshing.ensure(first, None, actor=None)
    with pytest.raises(RefreshFailedError) as caught:
        await process.refreshing.ensure(second, None, actor=None)
    assert caught.value.reason == RATE_LIMITED
    assert timedelta(minutes=5) <= caught.value.retry_after < timedelta(minutes=6)
    assert (near.refused, far.refused) == (0, 0)


@pytest.mark.parametrize("requests", [1, 2, 3, 4, 8, 10, 600])
@pytest.mark.parametrize("pause", [0, 1, 7], ids=["steady", "some", "bursts"])
def test_one_more_than_the_allowed_number_takes_longer_than_the_window(requests, pause):
    """It takes at least 5 % longer: a margin, because requests reach the provider after different delays."""
    limit, chance = RequestLimit(requests, timedelta(minutes=10)), random.Random(requests)
    sent, turns, now = [], Turns(), ManualClock().now()
    while len(sent) < 5 * requests:
        turns, wait = next_turn(turns, b"t1", now, limit)
        sent += [] if wait else [now]
        if wait and chance.random() < 0.5:  # another tenant reserves the turn, and is there in time
            turns, wait = next_turn(turns, b"t2", now, limit, timedelta(days=1))
            now += wait
            turns, wait = next_turn(turns, b"t2", now, limit)
            sent.append(now)
        now += wait + chance.randrange(3) // 2 * pause * limit.interval
    assert min(after - first for first, after in zip(sent, sent[requests:], strict=False)) >= 1.05 * limit.per


@pytest.mark.parametrize(("requests", "share"), [(1, 0.95), (2, 0.95), (3, 0.95), (7, 0.95), (10, 0.85), (600, 0.71)])
def test_a_steady_load_reaches_most_of_a_limit(requests, share):
    limit = RequestLimit(requests, timedelta(minutes=10))
    assert limit.per / limit.interval / requests >= share


def test_limits_of_clients_and_of_accounts_have_the_same_margin():
    assert RequestLimit(1, MINUTE).interval == RequestLimit(1, MINUTE, Counted.ACCOUNT).spacing == 1.05 * MINUTE


@pytest.mark.parametrize("counted", Counted)
def test_a_limit_that_needs_parts_of_a_microsecond_is_kept(counted):
    limit = RequestLimit(1_000_000, timedelta(seconds=1), counted)
    least = limit.interval if counted is Counted.CLIENT else limit.spacing
    assert least * (limit.requests + 1 - limit.burst) >= limit.per
