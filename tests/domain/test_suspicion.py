"""When a second report of a rejection confirms the first."""

from datetime import UTC, datetime, timedelta

import pytest

from vault_domain.entities.suspicion import ConfirmationWindow, Report, is_suspect

NOW = datetime(2030, 1, 1, tzinfo=UTC)
STEP, LEAST, MOST = timedelta(microseconds=1), timedelta(seconds=30), timedelta(minutes=10)


@pytest.mark.parametrize(
    ("passed", "expected"),
    [
        (-STEP, Report.FIRST),
        (timedelta(0), Report.EARLY),
        (LEAST - STEP, Report.EARLY),
        (LEAST, Report.CONFIRMED),
        (MOST, Report.CONFIRMED),
        (MOST + STEP, Report.FIRST),
    ],
)
def test_a_second_report_confirms_within_the_window(passed, expected):
    assert ConfirmationWindow().judge(NOW, NOW + passed) is expected
    assert is_suspect(NOW, NOW + passed, MOST) is (expected is not Report.FIRST)


def test_without_an_earlier_report_it_is_the_first():
    assert ConfirmationWindow().judge(None, NOW) is Report.FIRST
    assert not is_suspect(None, NOW, MOST)
