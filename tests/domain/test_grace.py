"""Who may use a grace period, and how long the first request of an attempt lasts."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault_domain.entities.refresh_state import RefreshState
from vault_domain.entities.rotation_policy import Rotation
from vault_domain.rules.grace import listening_time, may_repeat, since_first_request, useless_grace
from vault_domain.rules.timing import RefreshTiming

NOW, SECOND, TIMING = datetime(2030, 1, 1, tzinfo=UTC), timedelta(seconds=1), RefreshTiming()
OTHERS = [Rotation.strict(), Rotation.non_rotating()]


@pytest.mark.parametrize(("grace", "since", "may"), [(30, 0, True), (30, 19.9, True), (30, 20, False), (10, 0, False)])
def test_the_holder_repeats_while_a_whole_request_fits(grace, since, may):
    assert may_repeat(Rotation.grace(grace), since * SECOND, TIMING) is may


@pytest.mark.parametrize("rotation", OTHERS)
def test_without_a_grace_period_nothing_is_repeated_and_all_is_listened_to(rotation):
    assert not may_repeat(rotation, timedelta(0), TIMING)
    assert listening_time(rotation, timedelta(0), TIMING) == TIMING.exchange == 70 * SECOND
    assert useless_grace(rotation, TIMING) is None


@pytest.mark.parametrize(
    ("grace", "since", "seconds"), [(30, 0, 18), (30, 5, 13), (30, 8, 10), (30, 8.1, 70), (20, 0, 70), (600, 0, 70)]
)
def test_an_exchange_ends_in_time_for_a_repetition_or_is_listened_to_in_full(grace, since, seconds):
    assert listening_time(Rotation.grace(grace), since * SECOND, TIMING) == seconds * SECOND


@given(st.floats(0.1, 1000), st.floats(0, 1000))
def test_no_exchange_is_cut_short_without_a_repetition_that_fits(grace, since):
    rotation, passed = Rotation.grace(grace), since * SECOND
    time = listening_time(rotation, passed, TIMING)
    assert TIMING.deadline <= time <= TIMING.exchange
    assert time == TIMING.exchange or may_repeat(rotation, passed + time + 1.5 * SECOND, TIMING)


@pytest.mark.parametrize(("grace", "is_told"), [(0.5, True), (10, True), (10.5, False), (30, False), (31, False)])
def test_only_a_period_that_nobody_can_use_is_told_with_its_numbers(grace, is_told):
    problem = useless_grace(Rotation.grace(grace), TIMING)
    assert (problem is not None) is is_told
    assert problem is None or all(f"{number} s" in problem for number in (f"{grace:g}", "10", "30"))


@pytest.mark.parametrize(
    ("sent_at", "since"), [(NOW - 5 * SECOND, 5 * SECOND), (NOW, 0 * SECOND), (NOW + SECOND, 0 * SECOND)]
)
def test_the_period_counts_from_the_first_request(sent_at, since):
    assert since_first_request(RefreshState(sent_at=sent_at), NOW) == since


@pytest.mark.parametrize("sent_at", [None, NOW + timedelta(hours=1)])
def test_where_the_first_request_is_not_known_nothing_is_repeated(sent_at):
    since = since_first_request(RefreshState(sent_at=sent_at), NOW)
    assert not may_repeat(Rotation.grace(36_525 * 86_400), since, TIMING)
    assert listening_time(Rotation.grace(36_525 * 86_400), since, TIMING) == TIMING.exchange
