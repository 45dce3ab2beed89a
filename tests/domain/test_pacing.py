"""Turns for token requests: the generic cell rate algorithm, and turns that tenants reserve."""

from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve

from vault_domain.entities.request_limit import RequestLimit
from vault_domain.rules.pacing import (
    FREE,
    LONGEST_WAIT,
    MOST_RESERVED,
    Turns,
    mark_of_tenant,
    next_turn,
    spaced,
)

NOW = datetime(2030, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
LIMIT = RequestLimit(12, timedelta(seconds=20))  # three at once
STEP = LIMIT.interval
US, OTHERS = b"us..", b"them"


def at(steps):
    """Return the time after some intervals of the limit."""
    return NOW + steps * STEP


def test_the_mark_of_a_tenant_never_changes():
    assert mark_of_tenant("t1").hex() == "7174c154"


LATEST = at(3) + LONGEST_WAIT
"""The latest shared time that no step of the clock explains."""


@pytest.mark.parametrize(
    ("free_at", "wait", "after"),
    [
        (None, FREE, at(1)),
        (at(-4), FREE, at(1)),  # the shared time lies in the past
        (at(0), FREE, at(1)),
        (at(1.5), FREE, at(2.5)),
        (at(2), FREE, at(3)),
        (at(2.25), STEP / 4, None),
        (LATEST, STEP + LONGEST_WAIT, None),
        (LATEST + SECOND, FREE, at(1)),  # the clock was set back
    ],
)
def test_a_turn_is_free_until_the_burst_is_used_up(free_at, wait, after):
    before = Turns(free_at)
    assert next_turn(before, US, NOW, LIMIT) == (before if after is None else Turns(after), wait)


@pytest.mark.parametrize(("free_at", "steps"), [(1.5, 0), (3, 1), (4, 2)])
def test_a_turn_within_the_time_is_reserved_and_taken_when_it_has_come(free_at, steps):
    reserved, wait = next_turn(Turns(at(free_at)), US, NOW, LIMIT, 2 * STEP)
    assert (reserved, wait) == (Turns(at(free_at + 1), ((US, at(steps)),)), steps * STEP)
    # A tenant has one turn at a time, and must wait for it.
    assert next_turn(reserved, US, NOW, LIMIT, 2 * STEP) == (reserved, wait)
    if steps:
        assert next_turn(reserved, US, at(steps - 0.5), LIMIT) == (reserved, STEP / 2)
    assert next_turn(reserved, US, at(steps), LIMIT) == (Turns(at(free_at + 1)), FREE)
    assert next_turn(reserved, US, at(steps + 0.25), LIMIT, SECOND) == (reserved, FREE)


def test_a_turn_that_would_come_too_late_is_not_reserved():
    before = Turns(at(4.5))
    assert next_turn(before, US, NOW, LIMIT, 2 * STEP) == (before, 2.5 * STEP)


def test_the_turns_of_others_stay_when_one_is_taken():
    theirs = (OTHERS, at(0.5))
    both = Turns(at(3), (theirs, (US, NOW)))
    assert next_turn(both, US, NOW, LIMIT) == (Turns(at(3), (theirs,)), FREE)
    one = Turns(at(2), (theirs,))
    assert next_turn(one, US, NOW, LIMIT) == (Turns(at(3), (theirs,)), FREE)
    assert next_turn(one, US, NOW, LIMIT, SECOND) == (Turns(at(3), (theirs, (US, NOW))), FREE)


def test_only_so_many_turns_are_reserved():
    full = Turns(NOW, tuple((bytes([number]), at(1)) for number in range(MOST_RESERVED)))
    assert next_turn(full, US, NOW, LIMIT, SECOND) == (full, FREE)
    room = evolve(full, reserved=full.reserved[1:])
    assert len(next_turn(room, US, NOW, LIMIT, SECOND)[0].reserved) == MOST_RESERVED


@pytest.mark.parametrize(
    ("per", "lapse"), [(20, 1), (2, 0.2), (21, 1.05), (1000, 5)], ids=["a twentieth", "least", "longer", "most"]
)
def test_a_reserved_turn_that_is_not_taken_lapses(per, lapse):
    limit = RequestLimit(12, timedelta(seconds=per))
    moment = timedelta(microseconds=1)
    latest = Turns(NOW, ((US, NOW - lapse * SECOND),))
    assert next_turn(latest, US, NOW, limit) == (Turns(NOW), FREE)
    lapsed = next_turn(latest, US, NOW + moment, limit)
    assert lapsed == (Turns(NOW + moment + limit.interval), FREE)


def test_a_turn_that_was_reserved_before_the_clock_was_set_back_is_lost():
    latest = Turns(NOW, ((US, NOW + LONGEST_WAIT),))
    assert next_turn(latest, US, NOW, LIMIT) == (latest, LONGEST_WAIT)
    assert next_turn(latest, US, NOW - SECOND, LIMIT) == (Turns(at(1)), FREE)


@pytest.mark.parametrize(("refreshed", "expected"), [(None, 0), (-70, 0), (-63, 0), (-20, 43), (0, 63), (1, 0)])
def test_refreshes_of_one_account_are_spaced(refreshed, expected):
    last = None if refreshed is None else NOW + refreshed * SECOND
    assert spaced(NOW, last, 63 * SECOND) == NOW + expected * SECOND
