"""Once a process has read the database's clock, it notices when somebody sets that clock forward or back."""

import time
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from tests.adapters.postgres.samples import ACCOUNT, REFRESH, SCHEMA, prepare, write

from vault_adapters.stores.postgres.clock_watch import TOLERANCE_SECONDS, ClockWatch
from vault_adapters.stores.postgres.store import open_postgres_store
from vault_domain.entities.account import TokenKind
from vault_domain.entities.attempt import Attempt
from vault_domain.entities.rotation_policy import Rotation
from vault_domain.entities.token import TokenRef
from vault_domain.rules.freshness import RefreshPolicy
from vault_domain.rules.refresh import BackOff, RefreshRule, Wait, decide
from vault_domain.rules.timing import RefreshTiming
from vault_domain.services.refresh.attempt_ledger import AttemptLedger

TIMING = RefreshTiming()
RULE = RefreshRule.of(TokenKind.REFRESH_TOKEN, Rotation.strict(), TIMING)
START = datetime(2030, 1, 1, tzinfo=UTC)
FAR, SECOND = 1000.0, timedelta(seconds=1)


class Readings:
    """A watch, a monotonic clock, and a database's clock that may be set."""

    def __init__(self):
        self.monotonic, self.ahead = 0.0, 0.0
        self.watch = ClockWatch(lambda: self.monotonic)

    def read(self, *, before=0.0, after=0.0):
        """Read the database's time, taken `before` seconds after the query begins; it arrives `after` seconds later."""
        asked = self.monotonic
        self.monotonic += before
        now = START + timedelta(seconds=self.monotonic + self.ahead)
        self.monotonic += after
        self.watch.read(now, asked)
        return self.watch.seconds_since_step()


@pytest.mark.parametrize("step", [FAR, -FAR])
def test_a_step_is_noticed_once_whenever_the_last_reading_was(step):
    readings = Readings()
    assert [readings.read(), readings.read(before=1, after=1)] == [None, None]
    readings.monotonic += 86_400
    readings.ahead = step
    assert readings.read() == 0.0
    readings.monotonic += 7
    assert readings.read() == 7.0
    readings.ahead = 0.0
    assert readings.read() == 0.0


@pytest.mark.parametrize("step", [0.9 * TOLERANCE_SECONDS, -0.9 * TOLERANCE_SECONDS])
def test_a_small_step_is_none(step):
    readings = Readings()
    readings.read()
    readings.ahead = step
    assert readings.read() is None


@pytest.mark.parametrize("times", [{"before": 300.0}, {"after": 300.0}])
def test_an_answer_that_takes_long_is_no_step(times):
    readings = Readings()
    assert [readings.read(), readings.read(**times), readings.read(), readings.read(**times)] == [None] * 4


def test_a_slow_answer_hides_no_later_step():
    readings = Readings()
    readings.read()
    readings.read(before=300.0)
    readings.ahead = 100.0
    assert readings.read() == 0.0


def test_a_clock_that_drifts_is_not_set():
    readings = Readings()
    for _ in range(1000):
        readings.monotonic += 60
        readings.ahead += 0.01
        assert readings.read(before=0.02, after=0.02) is None


async def claim(store):
    """Store an account with a refresh token, and claim it as one process does."""
    await prepare(store)
    await store.accounts.store([write(REFRESH)], actor=None)
    info = (await store.accounts.read(ACCOUNT)).token(TokenKind.REFRESH_TOKEN).info
    assert await AttemptLedger(store.accounts).claim(
        Attempt(ACCOUNT, uuid4(), TokenRef.of(info), None, START, TIMING.lease), None
    )


def decided(snapshot):
    since = snapshot.undisturbed_since(TIMING.lease)
    return decide(snapshot.record, snapshot.now, RefreshPolicy(), RULE, store_since=since)


async def test_a_step_during_a_refresh_lets_nobody_present_the_token_again(url, store, execute):
    """The lease and the quiescence seem to be over, but the process that refreshes may be about to store the answer."""
    await claim(store)
    watch = store.accounts._database.clock_watch
    assert isinstance(decided(await store.accounts.read(ACCOUNT)), Wait)
    # Set the stored lease and this process's clock back, which has the effect of setting the database's clock forward.
    execute("UPDATE token_vault.account SET lease_until = lease_until - interval '1000 s'")
    watch.monotonic = lambda: time.monotonic() - FAR
    snapshot = await store.accounts.read(ACCOUNT)
    waits = decided(snapshot)
    assert isinstance(waits, BackOff)
    longest = TIMING.lease + TIMING.quiescence  # the lease may have begun just before the step
    assert longest - SECOND < waits.retry_after <= longest
    async with open_postgres_store(url, migrate=False, schema=SCHEMA) as fresh:  # has not read the clock before
        assert (await fresh.accounts.read(ACCOUNT)).clock_since is None


async def test_a_process_that_has_refreshed_nothing_yet_notices_a_step(url, store, execute):
    """A process reads the database's clock when it opens, long before it needs the refresh state of an account."""
    await claim(store)
    async with open_postgres_store(url, migrate=False, schema=SCHEMA) as other:
        execute("UPDATE token_vault.account SET lease_until = lease_until - interval '3600 s'")
        other.accounts._database.clock_watch.monotonic = lambda: time.monotonic() - 3600.0
        waits = decided(await other.accounts.read(ACCOUNT))
    assert isinstance(waits, BackOff)
    assert waits.retry_after > TIMING.quiescence
