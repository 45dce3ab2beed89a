"""The log has one line when a fault begins, one for each further cause, and one when it is over."""

import logging

import pytest

from vault_domain.entities.causes import PROVIDER_CAUSES, WRITE_CAUSES, provider_cause
from vault_domain.services.tokens.fault_log import FaultLog


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def faults(clock):
    return FaultLog(logging.getLogger("vault_domain.test"), "it", clock)


def test_repetitions_are_counted(faults, clock, caplog):
    for cause in ("a", "a", "a", "b", "b", "a"):
        faults.failed(cause)
        clock.now += 50
    faults.worked()
    faults.worked()
    lines = ["it fails: a", "it fails: b", "it fails: a", "it works again; failures: 6, the last one: a"]
    assert caplog.messages == lines


def test_what_comes_and_goes_is_told_once_a_minute(faults, clock, caplog):
    for _ in range(119):
        faults.failed("a")
        faults.worked()
        clock.now += 1
    begun, first, again, second = caplog.messages
    assert begun == again == "it fails: a"
    assert (first, second) == (
        "it works again; failures: 1, the last one: a",
        "it works again; failures: 60, the last one: a",
    )


def test_a_fault_that_comes_back_within_the_minute_and_stays_is_told_after_it(faults, clock, caplog):
    faults.failed("a")
    faults.worked()
    clock.now += 1
    for _ in range(120):
        faults.failed("a")
        clock.now += 1
    assert caplog.messages == ["it fails: a", "it works again; failures: 1, the last one: a", "it fails: a"]
    faults.worked()
    assert caplog.messages[3:] == ["it works again; failures: 120, the last one: a"]


def test_a_cause_that_comes_back_within_the_minute_and_stays_is_told_after_it(faults, clock, caplog):
    for cause in ("a", "b", "a", "b", *["a"] * 50):
        faults.failed(cause)
        clock.now += 2
    assert caplog.messages == ["it fails: a", "it fails: b", "it fails: a"]


@pytest.mark.parametrize("cause", sorted(WRITE_CAUSES))
def test_a_read_does_not_end_what_only_writes_meet(faults, caplog, cause):
    for _ in range(3):
        faults.failed(cause)
        faults.worked(only_read=True)
    assert caplog.messages == [f"it fails: {cause}"]
    faults.worked()
    assert caplog.messages[1:] == [f"it works again; failures: 3, the last one: {cause}"]


def test_a_read_ends_other_faults(faults, caplog):
    faults.failed("connection_refused")
    faults.worked(only_read=True)
    assert caplog.messages[1:] == ["it works again; failures: 1, the last one: connection_refused"]


def test_only_listed_causes_are_taken():
    assert {provider_cause(code) for code in PROVIDER_CAUSES} == PROVIDER_CAUSES
    assert provider_cause("secret text") is provider_cause(None) is provider_cause("disk_full") is None
