"""Whether a remembered row may answer a read."""

import math

import pytest
from tests.domain.account_facts import HOUR, SECOND, START, A, R, with_values

from vault_domain.entities.account import Account
from vault_domain.entities.token import TokenStatus
from vault_domain.rules.refusals import is_counted
from vault_domain.rules.remembering import may_answer, may_be_remembered, time_left

STORED = with_values(A, R)
ROW = STORED.tokens[A]


def test_a_row_is_remembered_for_its_own_key():
    assert may_be_remembered(ROW.key, ROW)
    assert may_be_remembered(Account("t1", "google", "ann").key(A), ROW)
    assert not may_be_remembered(Account("t1", "google", "bob").key(A), ROW)


def test_neither_a_refresh_token_nor_an_invalid_value_is_remembered():
    refresh = STORED.tokens[R]
    assert not may_be_remembered(refresh.key, refresh)
    invalid = STORED.with_token(ROW, status=TokenStatus.INVALID).tokens[A]
    assert not may_be_remembered(invalid.key, invalid)


@pytest.mark.parametrize(
    ("age", "longest", "left", "expected"),
    [(1, 2, 2, True), (2, 2, 3, False), (2, 3, 2, False), (3, 2, 9, False), (3, 9, 2, False)],
)
def test_a_remembered_row_answers_until_its_age_or_the_token_ends(age, longest, left, expected):
    assert may_answer(age, longest, left) is expected


def test_the_time_that_is_left_counts_from_the_confirmation():
    assert time_left(ROW, START + HOUR - SECOND) == 1.0
    endless = STORED.with_token(ROW, expires_at=None).tokens[A]
    assert time_left(endless, START) == math.inf


def test_a_refusal_of_the_request_is_not_counted():
    assert [is_counted(each) for each in ("invalid_scope", "invalid_request", None)] == [False, True, True]
